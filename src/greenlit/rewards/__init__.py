"""What a completion earns. One file per reward, its formula on top; `rating.REWARDS` lists them.

sample.py   what a reward is told, and what comes of it
hybrid.py   how the rewards of a sample become one number
rating.py   all rewards of a batch of samples
online.py   the reward function of the online methods
"""
