"""Which two programs a person is asked to compare, and in what order.

Of each problem a few unlike candidates (equal up to renaming counts once), in all combinations; first one question per
problem, then a second one each. Order and sides are drawn from the seed, so that neither says anything about the model
or the verdict, and a later session goes on where this one stopped.
"""

import itertools
import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from greenlit.errors import MismatchError
from greenlit.pairs.pairs import completion_of
from greenlit.preferences.records import Preference
from greenlit.problems.prompts import prompt_hash, render
from greenlit.types import Annotated, Problem

PER_PROBLEM = 6
"""Candidates of a problem that take part: 15 questions."""
Key = tuple[str, frozenset[str]]
"""What makes two questions the same: the problem and the two completions, on whichever side."""


@dataclass(frozen=True)
class Question:
    """Two candidates of a problem, side by side."""

    problem: Problem
    left: Annotated
    right: Annotated

    @property
    def key(self) -> Key:
        """Equal for the same two programs."""
        return self.problem.task_id, frozenset({self.left.text.strip(), self.right.text.strip()})

    def answer(self, left_is_better: bool) -> Preference:
        """The row of preferences.jsonl, in TRL's columns; `left` says which one stood there.

        Raises:
            MismatchError: the candidates were sampled with another prompt than the problem has now.
        """
        prompt = self._prompt()
        chosen, rejected = (self.left, self.right) if left_is_better else (self.right, self.left)
        return Preference.model_validate(
            {
                "prompt": prompt,
                "chosen": completion_of(prompt, chosen.text, ""),
                "rejected": completion_of(prompt, rejected.text, ""),
                "task_id": self.problem.task_id,
                "left": "chosen" if left_is_better else "rejected",
            }
        )

    def _prompt(self) -> str | list[dict[str, str]]:
        for chat in (False, True):
            prompt = render(self.problem, chat)
            if prompt_hash(prompt) == self.left.prompt_hash:
                return prompt
        raise MismatchError(
            f"{self.problem.task_id}: its candidates were sampled with another prompt than this problem's",
            hint="dvc repro annotate",
        )


def key_of(row: Preference) -> Key:
    """The question that a row answers."""
    return row.task_id or "", frozenset(text.strip() for text in row.answers())


def questions(
    candidates: Iterable[tuple[Problem, list[Annotated]]], seed: int, done: Collection[Key] = ()
) -> Iterator[Question]:
    """The questions that are left, in their order.

    Args:
        candidates: each problem with its annotated candidates.
        done: questions that were answered or skipped.
    """
    of_problem = [
        _of_problem(problem, rows, random.Random(f"{seed}\0{problem.task_id}")) for problem, rows in candidates
    ]
    random.Random(seed).shuffle(of_problem)
    for asked in itertools.zip_longest(*of_problem):
        yield from (question for question in asked if question is not None and question.key not in done)


def _of_problem(problem: Problem, rows: Iterable[Annotated], draw: random.Random) -> list[Question]:
    unlike: dict[str, Annotated] = {}
    for row in rows:
        if row.finish_reason != "length" and row.solution.strip() and row.metrics is not None:
            unlike.setdefault(row.metrics.ast_hash, row)
    several = list(unlike.values())
    taken = draw.sample(several, min(PER_PROBLEM, len(several)))
    asked = [Question(problem, *draw.sample(two, 2)) for two in itertools.combinations(taken, 2)]
    draw.shuffle(asked)
    return asked
