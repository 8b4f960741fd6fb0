"""Where problems come from, and how they are shown to a model."""
