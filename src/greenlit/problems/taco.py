"""TACO: https://huggingface.co/datasets/likaixin/TACO-verified (as BAAI/TACO, Apache-2.0), solutions run by its makers

A row, shortened:
    id            4 (place in TACO's train split; rows of BAAI/TACO have none)
    question      As most of you might know already, a prime number is an integer `n` with ...
    solutions     ["primes = [2, 3, 5, 7]\\n\\ndef is_prime(n):\\n    ...", ...]        BAAI/TACO: the same as JSON text
    starter_code  def is_prime(n):\\n\\t
    input_output  JSON text: {"fn_name": "is_prime", "inputs": [[1], [2], ...], "outputs": [[false], [true], ...]}
    difficulty    EASY | MEDIUM | MEDIUM_HARD | HARD | VERY_HARD
    source        codewars (or codeforces, codechef, atcoder, leetcode, hackerearth, geeksforgeeks, ...)
    url           https://www.codewars.com/kata/58603c898989d15e9e000475, or null
    time_limit    2.0 seconds, or null          memory_limit  256.0 megabytes, or null
and raw_tags, tags, skill_types (lists as text), name, date, picture_num, Expected Auxiliary Space, Expected Time ...

`contest.py` says how the tests read. Left out, with the reason: problems of geeksforgeeks, whose inputs read
`n = 5\\narr[] = {5,10}` and fit no program; statements that need a picture; problems where several answers may be
right: the test split has a list of those (`special_judge_case`: 1 many answers, 2 case does not matter, 3 floats),
elsewhere the statement's words decide.
"""

import re
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenlit.problems.contest import Unusable, checker_of, fields_of
from greenlit.problems.own import official_split
from greenlit.problems.records import Dropped, check_columns
from greenlit.types import Checker, Problem

PYTHON_FACTOR = 5.0
"""Time limits are meant for C++; graders of the field give Python three to five times as much."""
LEAST_MEMORY_MIB = 512
"""Memory limits are meant for what C++ touches; ours is on address space, of which Python takes more."""
_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "question": str, "solutions": (list, str, type(None)), "starter_code": str, "input_output": str,
}  # fmt: skip
_SPECIAL: dict[int, Checker | None] = {1: None, 2: "case_insensitive", 3: "float"}
_PICTURE = re.compile(r"<image>|!\[")
_AMOUNT = re.compile(
    r"(\d+(?:\.\d+)?)\s*(?:(ms|millisec\w*)|(?:s|sec\w*)|(kb|kilo\s?bytes)|(gb|giga\s?bytes)|mi?b|mega\s?bytes)?"
)


def load_taco(rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem | Dropped]:
    """Yield the problems in the file's own order, or why a row gives none.

    Rows of BAAI/TACO that tell their half (`split`) keep to it, with a tenth of train for validation. TACO-verified,
    whose rows have an `id`, is all train: it gets splits by the hash of the id, as a file that tells nothing does.

    Raises:
        DataError: a row lacks a column; the message names the row and the column.
    """
    for number, row in enumerate(rows, start=1):
        check_columns(f"taco: row {number}", row, _COLUMNS)
        task_id = f"taco/{row['id'] if 'id' in row else number - 1}"
        try:
            yield _problem(task_id, row)
        except Unusable as why:
            yield Dropped(task_id, *why.args)


def _problem(task_id: str, row: Mapping[str, Any]) -> Problem:
    source = str(row.get("source") or "").lower()
    if source == "geeksforgeeks":
        raise Unusable("its inputs fit no program (geeksforgeeks)")
    if _PICTURE.search(row["question"]):
        raise Unusable("its statement needs a picture")
    fields = fields_of(task_id, row, _checker(row), wrapped=source == "codewars")
    fields["split"] = official_split(task_id, None if "id" in row else row.get("split"))
    time_s, memory_mib = _limit(row, "time_limit"), _limit(row, "memory_limit")
    return Problem(
        **{**fields, "tags": [*_tags(row.get("tags")), *fields["tags"]]},
        source=f"taco/{source}" if source else "taco",
        time_limit_s=PYTHON_FACTOR * time_s if time_s else None,
        memory_limit_mib=max(LEAST_MEMORY_MIB, round(memory_mib)) if memory_mib else None,
    )


def _checker(row: Mapping[str, Any]) -> Checker | None:
    if "special_judge_case" in row:
        return _SPECIAL.get(row["special_judge_case"], None if row.get("special_judge") else "exact")
    return checker_of(row["question"])


def _limit(row: Mapping[str, Any], column: str) -> float | None:
    """`2.0 seconds` in seconds, `256.0 megabytes` in MiB; of a range the larger end; None where there is none."""
    said = row.get(column)
    if said is None or not str(said).strip():
        return None
    amounts = [
        float(found[1]) * (0.001 if found[2] else 1 / 1024 if found[3] else 1024 if found[4] else 1)
        for found in _AMOUNT.finditer(str(said).lower())
    ]
    if not amounts:
        raise Unusable("its limits cannot be read", f"{column}: {said}")
    return max(amounts)


def _tags(said: Any) -> list[str]:
    """A list written as Python text; other texts are no tags."""
    try:
        found = literal_eval(said) if isinstance(said, str) else said
    except (ValueError, SyntaxError):
        return []
    return [str(tag) for tag in found] if isinstance(found, list) else []
