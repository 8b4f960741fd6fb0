"""What all languages have in common."""

import pytest

from greenlit.config import AnnotateParams
from greenlit.execution import seccomp
from greenlit.execution.judges import Judge
from greenlit.execution.languages import LANGUAGES
from greenlit.execution.split import unsplittable
from greenlit.types import CallTest, Problem


def test_an_unknown_language_is_named() -> None:
    problem = Problem(task_id="t", language="cobol", entry_point="f", tests=[CallTest(input=[3], output=9)])
    assert "no language 'cobol'" in unsplittable(problem)[0]
    with Judge(AnnotateParams(allow_portable=True), workers=1, level="portable") as judge:
        assert judge.judge(problem, "x").passed is None


def test_every_language_says_what_it_gets() -> None:
    for language in LANGUAGES.values():
        assert "jail" in language.isolation
        assert set(language.kinds) <= {"assert", "call", "stdio", "script"}


def test_the_filter_for_other_interpreters_leaves_threads_and_exec() -> None:
    plain, theirs = seccomp.program("x86_64"), seccomp.program("x86_64", ("execve", "execveat"), only_threads=True)
    assert len(plain) % 8 == len(theirs) % 8 == 0
    assert plain != theirs
    with pytest.raises(KeyError):
        seccomp.program("vax")
