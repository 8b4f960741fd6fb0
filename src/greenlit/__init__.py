"""Greenlit: reinforcement learning for code models, graded by execution."""
