"""speed: is a program that passes faster than the reference? Only in classes that are far apart.

    1     faster: it takes less than 1 / factor of the CPU time of each run of the reference, and least_s less
    0     slower: it takes more than factor times the CPU time of each run of the reference, and least_s more
    1/2   the same: everything between

None without a reference that passes. Measured times never enter: they differ from run to run, and candidates_annotated
must not. What takes milliseconds is always the same; a class can only change where a program's time is within noise of
a bound, which a whole factor of 2 away from the reference few programs are.
"""

from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.config.rewards import SpeedParams
from greenlit.execution.judgement import Judgement
from greenlit.rewards.sample import Sample
from greenlit.types import Problem

FASTER, SAME, SLOWER = 1.0, 0.5, 0.0


def speed(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """1, 1/2 or 0; counts only for programs that pass."""
    return [
        speed_class(sample.judgement.cpu_s, sample.reference_cpu_s, params.speed)
        if sample.judgement and sample.passed
        else 0.0
        for sample in samples
    ]


def speed_class(cpu_s: float | None, reference_cpu_s: Sequence[float], params: SpeedParams) -> float | None:
    """The class of a time beside those of the reference; None where one of them is missing."""
    if cpu_s is None or not reference_cpu_s:
        return None
    least, most = min(reference_cpu_s), max(reference_cpu_s)
    if cpu_s * params.factor < least and least - cpu_s > params.least_s:
        return FASTER
    if cpu_s > most * params.factor and cpu_s - most > params.least_s:
        return SLOWER
    return SAME


def runs_needed(params: RewardsParams) -> int:
    """Runs of each reference that the rewards with a weight ask for."""
    return params.speed.reference_runs if "speed" in params.weights else 0


def reference_runs(problem: Problem, runs: int) -> list[str]:
    """The problem's first reference, so often, each a program of its own: the judge runs equal ones only once."""
    return [problem.reference[0].rstrip("\n") + "\n" * (1 + run) for run in range(runs)] if problem.reference else []


def times(judgements: Sequence[Judgement]) -> tuple[float, ...]:
    """CPU seconds of the runs that pass."""
    return tuple(found.cpu_s for found in judgements if found.passed and found.cpu_s is not None)
