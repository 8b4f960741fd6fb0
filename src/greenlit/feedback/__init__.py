"""AI feedback: a language model scores, compares and rewrites programs, after it was calibrated against execution."""
