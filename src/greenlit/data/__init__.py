"""Looking at problems, checking one's own and handing them to other tools: what `greenlit data` does."""
