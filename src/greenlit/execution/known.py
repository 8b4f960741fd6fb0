"""Problems in use, found again by the object, which is fast, or by their content."""

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass

from pydantic_core import to_jsonable_python

from greenlit.execution.pool import Task
from greenlit.types import Problem


@dataclass
class Known:
    """A problem in use."""

    problem: Problem
    key: str
    """Hash of the content."""
    content: str
    """What a worker is told of it, as JSON."""
    preparing: Task | None = None


class KnownProblems:
    """A bounded number of them, those used last."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._by_object: OrderedDict[int, tuple[Problem, Known]] = OrderedDict()
        self._by_key: OrderedDict[str, Known] = OrderedDict()

    def of(self, problem: Problem) -> Known:
        """What we keep of a problem."""
        seen = self._by_object.get(id(problem))
        if seen is not None:
            return seen[1]
        content = _content(problem)
        key = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        known = self._by_key.get(key) or Known(problem, key, content)
        self._by_object[id(problem)] = (problem, known)
        self._by_key[key] = known
        self._by_key.move_to_end(key)
        for kept in (self._by_object, self._by_key):
            if len(kept) > self.most:
                kept.popitem(last=False)
        return known


_NEEDED = (
    "task_id", "language", "profile", "entry_point", "starter_code", "setup", "reference", "time_limit_s",
    "memory_limit_mib",
)  # fmt: skip


def _content(problem: Problem) -> str:
    """What a worker needs of a problem, as it would stand in a file: with defaults, tuples as lists."""
    tests = [{name: getattr(test, name) for name in type(test).model_fields} for test in problem.tests]
    content = {**{name: getattr(problem, name) for name in _NEEDED}, "tests": tests}
    return json.dumps(to_jsonable_python(content, inf_nan_mode="constants"))
