"""Preference pairs by an AI judge: candidates that it compares, and failing ones that it rewrites.

Comparisons (RLAIF, https://arxiv.org/abs/2309.00267) are asked in both orders, and become a pair where both give the
same answer. Rewritten programs (critique and revision, https://arxiv.org/abs/2212.08073) are judged by execution like
any candidate: one that passes is preferred to the program that it was made from, all others are dropped.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.config import AiParams, AnnotateParams
from greenlit.feedback.judge import AiJudge
from greenlit.feedback.permit import FOLDER, require_calibrated
from greenlit.pairs.groups import Prompt
from greenlit.pairs.human import copies
from greenlit.pairs.nbest import ranked
from greenlit.pairs.pairs import completion_of
from greenlit.pairs.runs import run_programs
from greenlit.problems.prompts import extract
from greenlit.stage.progress import progress
from greenlit.types import Annotated, Pair, Problem

COMPARED, REVISED = "ai", "ai revision"
Group = tuple[Problem, Prompt, list[Annotated]]


@dataclass(frozen=True)
class _Two:
    """Two candidates to compare."""

    problem: Problem
    prompt: Prompt
    rows: tuple[Annotated, Annotated]


@dataclass(frozen=True)
class _Failing:
    """A candidate to rewrite."""

    problem: Problem
    prompt: Prompt
    row: Annotated


class AiRows:
    """The pairs of one dataset, asked for once: `pairs` yields them, `facts` counts what became of the questions."""

    def __init__(self, params: AiParams, seed: int, end: str, dataset: str, calibrations: Path = FOLDER) -> None:
        """
        Args:
            end: the tokenizer's end-of-sequence token.

        Raises:
            ConfigError: pairs by comparison would count, and the judge is not calibrated well enough.
        """
        self.params, self._seed, self._end = params, seed, end
        self._counts: Counter[str] = Counter()
        self._facts: dict[str, Any] = {}
        if params.compare and params.weight > 0:
            found = require_calibrated(params.judge, dataset, "build.ai.judge", calibrations)
            self._facts["calibration"] = {name: found[name] for name in ("auc", "auc_within")}

    def pairs(self, groups: Iterable[Group], limits: AnnotateParams) -> Iterator[Pair]:
        """Ask, then yield: comparisons in the order of the problems, then revisions.

        Args:
            groups: each problem with its prompt and candidates.
            limits: of execution, for rewritten programs.

        Raises:
            WorldError: the judge answered nothing.
        """
        compared: list[_Two] = []
        failing: list[_Failing] = []
        for problem, prompt, rows in groups:
            compared += [_Two(problem, prompt, both) for both in self._to_compare(problem, rows)]
            failing += [_Failing(problem, prompt, row) for row in ranked(rows)[1][: self.params.revise]]
        questions = 2 * len(compared) + 2 * len(failing)
        with AiJudge(self.params.judge) as judge, progress("build: AI judge", questions, "questions") as bar:
            judge.advance = bar.advance
            self._facts["judge"] = judge.identity
            found = self._compare(judge, compared)
            texts = self._revise(judge, failing)
            judge.require_answers(questions, self._counts["answered"] + self._counts["written"])
        for pair in [*found, *self._passing(failing, texts, limits)]:
            key = f"{self._seed}\0{pair.reason}\0{pair.task_id}\0{pair.chosen}\0{pair.rejected}"
            times = copies(self.params.weight, key)
            self._counts["pairs"] += times
            yield from [pair] * times

    def _to_compare(self, problem: Problem, rows: list[Annotated]) -> list[tuple[Annotated, Annotated]]:
        """Some of the combinations, drawn from the seed."""
        passing, failing = ranked(rows)
        every = [
            both
            for both in itertools.combinations([*passing, *failing], 2)
            if self.params.among == "any" or _told_apart(*both) is None
        ]
        chance = random.Random(f"{self._seed}\0{problem.task_id}")
        return chance.sample(every, min(self.params.compare, len(every)))

    def _compare(self, judge: AiJudge, asked: list[_Two]) -> list[Pair]:
        found = judge.comparisons([(two.problem, *(row.solution for row in two.rows)) for two in asked])
        pairs = []
        for two, answer in zip(asked, found, strict=True):
            self._counts["compared"] += 1
            self._counts["answered"] += answer.flipped is not None
            self._counts["flips"] += answer.flipped is True
            if answer.better is None:
                continue
            chosen, rejected = two.rows[answer.better], two.rows[1 - answer.better]
            if (passes := _told_apart(chosen, rejected)) is not None:
                self._counts["execution_agrees"] += passes
                self._counts["execution_disagrees"] += not passes
            pairs.append(
                Pair(
                    prompt=two.prompt,
                    chosen=completion_of(two.prompt, chosen.text, self._end),
                    rejected=completion_of(two.prompt, rejected.text, self._end),
                    task_id=two.problem.task_id,
                    chosen_idx=chosen.candidate_idx,
                    rejected_idx=rejected.candidate_idx,
                    reason=COMPARED,
                )
            )
        return pairs

    def _revise(self, judge: AiJudge, failing: list[_Failing]) -> list[str | None]:
        texts = judge.revisions([(one.problem, one.row.solution) for one in failing])
        self._counts["to_revise"] = len(failing)
        self._counts["written"] = sum(text is not None for text in texts)
        return texts

    def _passing(self, failing: list[_Failing], texts: list[str | None], limits: AnnotateParams) -> Iterator[Pair]:
        """Pairs of the revisions that pass their problem's tests."""
        written = []
        for one, text in zip(failing, texts, strict=True):
            completion = None if text is None else as_completion(text, one.problem, not isinstance(one.prompt, str))
            if completion is not None:
                written.append((one, completion))
        jobs = [
            (one.problem, extract(completion, one.problem, not isinstance(one.prompt, str)))
            for one, completion in written
        ]
        for (one, completion), judgement in zip(written, run_programs(jobs, limits), strict=True):
            self._counts["revisions_unknown"] += judgement.passed is None
            if not judgement.passed:
                continue
            self._counts["revisions_passing"] += 1
            yield Pair(
                prompt=one.prompt,
                chosen=completion_of(one.prompt, completion, self._end),
                rejected=completion_of(one.prompt, one.row.text, self._end),
                task_id=one.problem.task_id,
                chosen_idx=None,
                rejected_idx=one.row.candidate_idx,
                reason=REVISED,
            )

    def facts(self) -> dict[str, Any]:
        """What the manifest says."""
        counts = self._counts
        return {
            "ai": {
                "settings": self.params.model_dump(),
                **self._facts,
                "compared": {
                    "asked": counts["compared"],
                    "unanswered": counts["compared"] - counts["answered"],
                    "flips": counts["flips"],
                    "execution_agrees": counts["execution_agrees"],
                    "execution_disagrees": counts["execution_disagrees"],
                },
                "revised": {
                    "asked": counts["to_revise"],
                    "written": counts["written"],
                    "passing": counts["revisions_passing"],
                    "unknown": counts["revisions_unknown"],
                },
                "pairs": counts["pairs"],
            }
        }


def _told_apart(one: Annotated, other: Annotated) -> bool | None:
    """Is the first one better, by execution? None where it does not tell."""
    found, against = ((row.passed, row.tests_passed) for row in (one, other))
    return None if found == against else found > against


def as_completion(text: str, problem: Problem, chat: bool) -> str | None:
    """A program that a judge wrote, as the model to be trained would write it; None where that cannot be.

    Chat models answer with a fenced block. Others go on from the problem's first lines, which the program must repeat.
    Where reasoning is asked for there is none, since the judge wrote none that led there.
    """
    if problem.answer_format == "reasoning":
        return None
    program = extract(text, problem.model_copy(update={"prelude": ""}), True)
    if not program.strip():
        return None
    if chat:
        return f"```{problem.language}\n{program.rstrip()}\n```"
    if not program.startswith(problem.starter_code):
        return None
    return program.removeprefix(problem.starter_code)
