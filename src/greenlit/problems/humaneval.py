"""HumanEval: https://huggingface.co/datasets/openai/openai_humaneval (MIT), and HumanEval+ in the same five columns

A row, shortened:
    task_id             HumanEval/0
    prompt              from typing import List\\n\\n\\ndef has_close_elements(numbers: ...) -> bool: ...
    canonical_solution      for idx, elem in enumerate(numbers):\\n ...        (the function's body)
    test                METADATA = {...}\\n\\ndef check(candidate):\\n    assert candidate([1.0, ...], 0.3) == True ...
    entry_point         has_close_elements

The dataset's program is prompt + completion. So `starter_code` is the prompt, and `prelude` what stands in it before
the function (imports; helpers in four tasks), for models that write the function alone. For evaluation only: all of it
is the test split.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenlit.errors import DataError
from greenlit.execution.parsing import UNPARSABLE, parsed
from greenlit.problems.plus_scripts import tests_of
from greenlit.problems.records import check_columns, plain_lines
from greenlit.types import Problem

_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "task_id": str, "prompt": str, "canonical_solution": str, "test": str, "entry_point": str,
}  # fmt: skip


def load_humaneval(rows: Iterable[Mapping[str, Any]], source: str = "humaneval") -> Iterator[Problem]:
    """Yield the problems in the file's own order; nothing is dropped.

    Args:
        source: what they are called in messages, and the problems' `source`.

    Raises:
        DataError: a row lacks a column, or its prompt holds no such function; the message names the row.
    """
    for number, row in enumerate(rows, start=1):
        place = f"{source}: row {number}"
        check_columns(place, row, _COLUMNS)
        prompt = plain_lines(row["prompt"])
        yield Problem(
            task_id=row["task_id"],
            prompt=f"Complete the function `{row['entry_point']}`.",
            entry_point=row["entry_point"],
            starter_code=prompt,
            prelude=_before(prompt, row["entry_point"], f"{place} ({row['task_id']}): column `prompt`"),
            tests=tests_of(row["test"], row["entry_point"]),
            reference=[prompt + plain_lines(row["canonical_solution"])],
            split="test",
            source=source,
        )


def _before(prompt: str, entry_point: str, place: str) -> str:
    """The lines of a prompt above the function to complete."""
    try:
        body = parsed(prompt).body
    except UNPARSABLE as error:
        raise DataError(f"{place} does not parse ({error})") from None
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == entry_point]
    if not found:
        raise DataError(f"{place} defines no {entry_point}")
    above = "".join(prompt.splitlines(keepends=True)[: found[-1].lineno - 1])
    return above if above.strip() else ""
