"""Languages that programs may be written in, and what each of them gets.

    language.py    what a language is to the judge
    python.py      the judge's own path: split tests, one fork per candidate
    command.py     languages with an interpreter of their own: one process for all calls, one for each input
    javascript.py  node; harness.js and program.js run inside it
    q.py           kdb+'s q; q_asserts.py reads tests written in q

In every language the candidate's process sends values, and they are compared outside it.
"""

from typing import TYPE_CHECKING

from greenlit.execution import profiles
from greenlit.execution.findings import Limits
from greenlit.execution.languages.javascript import JAVASCRIPT
from greenlit.execution.languages.language import Language
from greenlit.execution.languages.python import PYTHON
from greenlit.execution.languages.q import Q
from greenlit.execution.plan import Plan, TestPlan
from greenlit.execution.verdicts import Judging

if TYPE_CHECKING:
    from greenlit.types import Problem

LANGUAGES: dict[str, Language] = {"python": PYTHON, "javascript": JAVASCRIPT, "q": Q}


def plan_of(problem: "Problem") -> Plan:
    """A problem's tests as its language has them; where nobody knows the language, none can be judged."""
    language = LANGUAGES.get(problem.language)
    if language:
        return language.plan(problem)
    refusal = f"no language {problem.language!r} here: one of {', '.join(LANGUAGES)}"
    tests = [
        TestPlan(index, test.kind, test.role, test.checker, refusal=refusal) for index, test in enumerate(problem.tests)
    ]
    return Plan(problem.task_id, None, tuple(tests))


def judging(plan: Plan, code: str, limits: Limits) -> Judging:
    """Judge a program in its plan's language."""
    return LANGUAGES[plan.language].judging(plan, code, limits)


def missing(plan: Plan) -> str:
    """Why no program of this plan can run here; empty when it can."""
    return LANGUAGES[plan.language].missing() or profiles.missing(plan.profile)
