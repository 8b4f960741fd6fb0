"""Adaptive sampling, round by round: which samples of which problems are asked for.

    round 0      samples 0 .. n-1 of every problem, which is what sampling without rounds asks for
    round r      the next `adaptive.round` samples of the problems that are not done, `adaptive.max_n` at most

Who is not done is decided once, and kept beside the unfinished results: a run that goes on asks for the same samples,
even where a verdict (a timeout on a busy machine) would come out otherwise today.
"""

import json
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenlit.appending import Appending
from greenlit.config import GenerateParams, SamplingParams
from greenlit.stage.progress import Progress
from greenlit.types import Candidate, Problem

RowsOf = Callable[[str], Iterator[Candidate]]
"""task_id -> all its candidates so far."""
Decide = Callable[[int, Sequence[Problem], RowsOf], list[str]]
"""(number of the round that is finished, the problems in it, their candidates) -> task_ids of those that go on."""
GoOn = Callable[[Progress, int, Sequence[Problem], RowsOf], list[str]]
"""As `Decide`, beside a progress bar."""


@dataclass(frozen=True)
class Round:
    """What is asked for together."""

    number: int
    problems: Sequence[Problem]
    indices: Sequence[int]
    """Of the candidates of each problem."""


def most_samples(params: SamplingParams) -> int:
    """Samples that a problem may have."""
    adaptive = params.adaptive if isinstance(params, GenerateParams) else None
    return adaptive.max_n if adaptive else params.n


def round_of(params: SamplingParams, candidate_idx: int) -> int | None:
    """The round that a candidate is of; None where there are no rounds."""
    adaptive = params.adaptive if isinstance(params, GenerateParams) else None
    if adaptive is None:
        return None
    return 0 if candidate_idx < params.n else 1 + (candidate_idx - params.n) // adaptive.round


def rounds(
    problems: Sequence[Problem],
    first: Sequence[int],
    params: SamplingParams,
    decide: Decide | None,
    rows_of: RowsOf,
    note: Path,
) -> Generator[Round, None, None]:
    """Yield one round after the other; whoever asks for the next one has sampled all of the last.

    Args:
        first: indices of the candidates in the first round.
        decide: None: there is one round.
        note: file of what was decided.
    """
    yield Round(0, problems, first)
    if decide is None:
        return
    assert isinstance(params, GenerateParams)
    assert params.adaptive is not None
    by_id = {problem.task_id: problem for problem in problems}
    with Appending(note) as file:
        known = [json.loads(line) for _, line in file.lines()]
        start, number = params.n, 0
        while problems and start < params.adaptive.max_n:
            if number == len(known):
                known.append(decide(number, problems, rows_of))
                file.append([json.dumps(known[-1]).encode() + b"\n"])
            left = [by_id[task_id] for task_id in known[number]]
            _tell(number, problems, left)
            number, problems = number + 1, left
            stop = min(start + params.adaptive.round, params.adaptive.max_n)
            if problems:
                yield Round(number, problems, range(start, stop))
            start = stop


def _tell(number: int, problems: Sequence[Problem], left: Sequence[Problem]) -> None:
    done = len(problems) - len(left)
    print(f"adaptive: round {number}: {done} of {len(problems)} problems are done, {len(left)} go on", file=sys.stderr)
