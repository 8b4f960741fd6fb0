"""What people say, as rows to learn from: preferences become pairs, demonstrations entries of the n-best lists.

A weight is a number of rows (see `HumanParams`): floor(weight) copies, and one more with the probability of the rest,
drawn from the seed and the row itself, so that a new row changes nothing for the others.
"""

import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from greenlit.config import AnnotateParams
from greenlit.config.feedback import HumanParams
from greenlit.errors import DataError
from greenlit.jsonl import one_line
from greenlit.pairs.groups import Prompt
from greenlit.pairs.pairs import completion_of
from greenlit.pairs.runs import run_programs
from greenlit.preferences.files import Said
from greenlit.preferences.records import Demonstration, Human, Message, Preference, text_of
from greenlit.problems.prompts import extract, prompt_hash, render
from greenlit.types import Annotated, Best, NBest, Pair, Problem

REASON = "human"


class HumanRows:
    """The rows of one dataset's human files, in the form of the model that will learn from them."""

    def __init__(
        self, said: Said, params: HumanParams, train: Mapping[str, Problem], seed: int, end: str, chat: bool
    ) -> None:
        """
        Args:
            end: the tokenizer's end-of-sequence token.
            chat: its model takes messages.
        """
        self.said, self.params, self.train = said, params, train
        self._seed, self._end, self._chat = seed, end, chat
        self._seen: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._best: dict[str, list[Best]] = defaultdict(list)
        self._prompts: dict[str, Prompt] = {}
        self._preferred: dict[str | None, list[Preference]] = defaultdict(list)
        for _, row in said.preferences:
            self._preferred[row.task_id].append(row)

    def check_demonstrations(self, limits: AnnotateParams) -> None:
        """Run what can be run; what fails its problem's tests is left out, and named on stderr."""
        rows = self.said.demonstrations
        places = [place for place, row in rows if row.task_id]
        jobs = [(self.train[row.task_id], self._code(row)) for _, row in rows if row.task_id]
        found = run_programs(jobs, limits) if self.params.check else [None] * len(jobs)
        passed: dict[str, bool | None] = {}
        for place, judgement in zip(places, found, strict=True):
            passed[place] = None if judgement is None else judgement.passed
            if passed[place] is False:
                told = one_line(judgement.error or judgement.verdict)
                print(f"warning: {place}: left out: it fails its problem's tests ({told})", file=sys.stderr)
        self._counts["failing"] = sum(verdict is False for verdict in passed.values())
        self._counts["not_run"] = len(rows) - sum(verdict is not None for verdict in passed.values())
        for place, row in rows:
            if passed.get(place) is not False:
                self._keep(place, row, passed.get(place))

    def _keep(self, place: str, row: Demonstration, passed: bool | None) -> None:
        prompt = self._prompt(place, row)
        times = self._copies("demonstrations", self.params.demonstrations, row)
        self._counts["programs"] += times
        if times:
            text = self._text(row.completion, row)
            entry = Best(candidate_idx=None, code=self._code(row), text=text, passed=passed, score={})
            name = _name(row, prompt)
            self._prompts[name] = prompt
            self._best[name].extend([entry] * times)

    def best_of(self, problem: Problem) -> list[Best]:
        """The demonstrations of a problem, to stand first in its n-best list; asked for once."""
        return self._best.pop(problem.task_id, [])

    def other_best(self) -> Iterator[NBest]:
        """Those of prompts that have no candidates."""
        for name, entries in self._best.items():
            problem = self.train.get(name)
            yield NBest(
                id=name, entry_point=problem.entry_point if problem else None, prompt=self._prompts[name],
                best_list=entries, num_pass=0, num_uniq=0, num_fail=0, fail_uniq=0,
            )  # fmt: skip

    def pairs(self) -> Iterator[Pair]:
        """The preferences, in the order of their file."""
        for place, row in self.said.preferences:
            prompt = self._prompt(place, row)
            pair = Pair(
                prompt=prompt,
                chosen=completion_of(prompt, self._text(row.chosen, row), self._end),
                rejected=completion_of(prompt, self._text(row.rejected, row), self._end),
                task_id=_name(row, prompt),
                chosen_idx=None,
                rejected_idx=None,
                reason=REASON,
            )
            times = self._copies("preferences", self.params.preferences, row)
            self._counts["pairs"] += times
            yield from [pair] * times

    def compare(self, problem: Problem, rows: Sequence[Annotated]) -> None:
        """Count where people and execution agree, on pairs of this problem's candidates that execution tells apart."""
        passed = {row.text.strip(): row.passed for row in rows}
        for row in self._preferred.get(problem.task_id, []):
            verdicts = tuple(passed.get(self._text(said, row).strip()) for said in (row.chosen, row.rejected))
            self._counts["agree"] += verdicts == (True, False)
            self._counts["disagree"] += verdicts == (False, True)

    def facts(self) -> dict[str, Any]:
        """What the manifest says; nothing where there are no human files."""
        if not self.said.files:
            return {}
        told: dict[str, Any] = {"weights": self.params.model_dump()}
        if "preferences" in self.said.files:
            told["preferences"] = {
                "rows": len(self.said.preferences),
                "pairs": self._counts["pairs"],
                "without_problem": sum(row.task_id is None for _, row in self.said.preferences),
                "execution_agrees": self._counts["agree"],
                "execution_disagrees": self._counts["disagree"],
            }
        if "demonstrations" in self.said.files:
            told["demonstrations"] = {
                "rows": len(self.said.demonstrations),
                "programs": self._counts["programs"],
                "without_problem": sum(row.task_id is None for _, row in self.said.demonstrations),
                "failing": self._counts["failing"],
                "not_run": self._counts["not_run"],
            }
        return {"human": told}

    def _copies(self, kind: str, weight: float, row: Human) -> int:
        key = f"{kind}\0{row.key()}"
        self._seen[key] += 1  # who says the same again draws again
        return copies(weight * row.weight, f"{self._seed}\0{key}\0{self._seen[key]}")

    def _text(self, said: str | list[Message], row: Human) -> str:
        """An answer as the model would write it.

        Without the end token, which is put behind it where the rows are written, and, where the model goes on from the
        problem's first lines, without those: people write whole programs.
        """
        start = self.train[row.task_id].starter_code if row.task_id and not self._chat else ""
        return text_of(said).removesuffix(self._end).removeprefix(start)

    def _code(self, row: Demonstration) -> str:
        text = self._text(row.completion, row)
        return extract(text, self.train[row.task_id], self._chat) if row.task_id else text

    def _prompt(self, place: str, row: Human) -> Prompt:
        if row.task_id:
            return render(self.train[row.task_id], self._chat)
        if self._chat:
            said = row.prompt
            return (
                [{"role": "user", "content": said}]
                if isinstance(said, str)
                else [{"role": message.role, "content": message.content} for message in said]
            )
        if not isinstance(row.prompt, str):
            raise DataError(
                f"{place}: prompt: must be text: the model to be trained has no chat template (found messages)",
                hint="give the text that the model is to continue, or name the problem by task_id",
            )
        return row.prompt


def copies(weight: float, key: str) -> int:
    """floor(weight), and one more with probability weight - floor(weight); the same for the same key."""
    return math.floor(weight) + (random.Random(key).random() < weight % 1)


def _name(row: Human, prompt: Prompt) -> str:
    """The problem, or a name for a prompt of its own, so that what is held out is held out by prompt."""
    return row.task_id or f"{REASON}:{prompt_hash(prompt)}"
