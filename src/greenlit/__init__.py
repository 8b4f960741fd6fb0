"""Greenlit: reinforcement learning for code models, graded by execution."""

__version__ = "0.1.0"
