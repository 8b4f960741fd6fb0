"""Cheats: programs that want a verdict they did not earn, or more from the machine than a candidate may have.

cheat.py          what a cheat is, and the problems cheats are tried on
answers.py ...    the cheats themselves, by class; suite.py lists them all
controls.py       right programs that look odd
host.py           something on this machine worth stealing
runner.py         all of them against a judge, as a table
gate.py           the short form that stands before rewards

After sandbox.md and field.md of our notes (what fooled the judges of the field), and more. That all are stopped is no
proof: it is one list, by its authors.
"""
