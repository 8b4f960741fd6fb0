"""The annotated candidates, one problem after the other, each where it belongs and only once."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from greenlit.errors import DataError, MismatchError
from greenlit.jsonl import read_numbered_rows, shortened
from greenlit.problems.prompts import prompt_hash, render
from greenlit.types import Annotated, Problem

Prompt = str | list[dict[str, str]]
_REDO = "dvc repro annotate: candidates and problems of different runs?"


def by_problem(path: Path, problems: Mapping[str, Problem]) -> Iterator[tuple[Problem, list[Annotated]]]:
    """Stream (problem, its candidates) in the order of the file.

    Raises:
        MismatchError: a candidate of an unknown problem.
        DataError: malformed; a candidate stands twice; the candidates of a problem stand apart.
    """
    done: set[str] = set()
    for task_id, group in itertools.groupby(read_numbered_rows(path, Annotated), key=lambda row: row[1].task_id):
        numbered = list(group)
        place = f"{path}:{numbered[0][0]}: task_id"
        if task_id not in problems:
            raise MismatchError(f"{place}: {shortened(task_id)} is none of the {len(problems)} problems", hint=_REDO)
        if task_id in done:
            raise DataError(f"{place}: the candidates of {shortened(task_id)} stand apart", hint="sort by task_id")
        done.add(task_id)
        lines: dict[int, int] = {}
        for number, row in numbered:
            first = lines.setdefault(row.candidate_idx, number)
            if first != number:
                raise DataError(
                    f"{path}:{number}: candidate_idx: {row.candidate_idx} of {shortened(task_id)} "
                    f"stands on line {first} already",
                    hint=_REDO,
                )
        yield problems[task_id], [row for _, row in numbered]


def with_prompts(
    path: Path, problems: Mapping[str, Problem], chat: bool
) -> Iterator[tuple[Problem, Prompt, list[Annotated]]]:
    """As `by_problem`, each problem with its prompt.

    Args:
        chat: the model takes messages.

    Raises:
        MismatchError: the candidates were sampled with another prompt.
    """
    for problem, rows in by_problem(path, problems):
        prompt = render(problem, chat)
        if any(row.prompt_hash != prompt_hash(prompt) for row in rows):
            raise MismatchError(
                f"{path}: {problem.task_id}: sampled with another prompt than this one's", hint="dvc repro generate"
            )
        yield problem, prompt, rows


def first_round(rows: Iterable[Annotated]) -> list[Annotated]:
    """The candidates that were sampled whatever became of others; all where there were no rounds."""
    return [row for row in rows if not row.round]
