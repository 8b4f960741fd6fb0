"""An adapter and its start model become one directory, with a card."""
