"""Python: https://www.python.org - the interpreter that Greenlit itself runs on."""

from greenlit.execution.languages.language import Language
from greenlit.execution.split import plan_tests
from greenlit.execution.verdicts import judging

PYTHON = Language(
    isolation="a fork of an interpreter in a jail built once per lane: no network, no files, no new programs",
    kinds=("assert", "call", "stdio", "script"),
    missing=lambda: "",
    plan=plan_tests,
    judging=judging,
)
