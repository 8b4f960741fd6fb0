"""From problems to candidates: `sample` streams every problem's completions to disk as they finish."""
