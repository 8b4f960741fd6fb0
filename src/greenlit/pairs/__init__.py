"""From verdicts to what models learn from: ranked candidates and preference pairs."""
