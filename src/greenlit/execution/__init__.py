"""Running programs nobody trusts, and judging them from outside.

split.py        a problem's tests -> what the candidate must evaluate, and what the judge evaluates over the answers
plan.py         what comes of that
scripts.py      tests that are not split: their own code, made ready for a process of its own
names.py        which side a name of a test belongs to
parsing.py      source to syntax tree, for code nobody vouches for
expressions.py  the judge's own evaluator: a white list over plain values
values.py       how plain values are compared
level.py        what a sandbox level is: Request in, Run out
jailed*.py      the jailed levels: lane.py is one jail at work, blueprint.py its plan, cgroups.py its memory
jail.py         builds a jail; zygote.py is process 1 in it, seccomp.py its filter
precompiled.py  programs compiled before they are sent
child*.py       runs inside the candidate's process, with encoding.py and decoding.py: values across the process border
portable*.py    the portable level: a fresh limited subprocess per candidate
shipping.py     how code and task get into that process
profiles.py     what Python programs find beside the standard library
languages/      programs that are not Python, and what each language gets; q_text.py is the outer form of q
descendants.py  CPU time and the end of process trees
verdicts.py     answers -> what became of each test; findings.py and answers.py are its words
stdio.py        whole programs: several inputs in one process, where that changes nothing
dialogue.py     tests with code of their own: a process for the test, one for the program, a relay between
worker.py       one judge process: takes jobs, runs their candidates on its lanes, answers
pool.py         the worker processes, seen from the main process
link.py         messages between the two
judges.py       what the rest of Greenlit calls; known.py is what it keeps of problems, judgement.py what it answers
untested.py     what answers instead where problems have no tests
api.py          `judge(problems, candidates)`: the few lines that other people's code needs
intake.py       what people hand in -> problems and programs
cache.py        judgements found before, in a file
cheats/         programs that want a verdict they did not earn, and what becomes of them

`greenlit.execution.judge` is `api.judge`, loaded when it is first asked for: importing this package loads nothing.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "judge":
        return importlib.import_module("greenlit.execution.api").judge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
