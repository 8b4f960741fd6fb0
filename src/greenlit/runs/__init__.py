"""Records of runs, and their repetition: `records` writes them, `reproduce` runs one again and says what differs."""
