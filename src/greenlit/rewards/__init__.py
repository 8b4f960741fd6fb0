"""What a completion earns. One file per reward, its formula on top; `rating.REWARDS` lists them.

sample.py       what a reward is told, and what comes of it
hybrid.py       how the rewards of a sample become one number, and what counts only for programs that pass
rating.py       all rewards of a batch of samples
online.py       the reward function of the online methods; execution.py is the same for the tests alone
statistics.py   figures of what completions earned
custom.py       a reward of the user's own, run by custom_process.py

`execution` is in runs.py and `format` in form.py; the others are in files of their names.
"""
