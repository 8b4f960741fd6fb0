"""OpenAI-compatible endpoints: where they are, which of their faults heal, and how those are told."""
