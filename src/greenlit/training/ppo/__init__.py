"""Proximal policy optimisation with a value head: https://arxiv.org/abs/1707.06347; `loop.train_ppo` is the way in."""
