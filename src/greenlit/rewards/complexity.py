"""complexity: is a program that passes as simple as the reference?

    reward = 1/2 min(1, C / c) + 1/2 min(1, (1 + N) / (1 + n))

c: cyclomatic complexity (McCabe, by radon) of its most complex function; n: depth of its nested blocks. C and N are the
least of the problem's references, or, where it has none, what `complexity` in params.yaml says. 0 for what is too
deeply nested to be measured; None for languages other than Python.
"""

from collections.abc import Sequence
from functools import lru_cache

from greenlit.config import RewardsParams
from greenlit.config.rewards import ComplexityParams
from greenlit.program_metrics import complexity_and_depth
from greenlit.rewards.sample import Sample


def complexity(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [0, 1]; counts only for programs that pass."""
    return [
        None if sample.problem.language != "python" else _of(sample, params.complexity) if sample.passed else 0.0
        for sample in samples
    ]


def _of(sample: Sample, params: ComplexityParams) -> float:
    found = _measured(sample.code)
    if found is None:
        return 0.0
    known = [one for code in sample.problem.reference if (one := _measured(code))]
    most, deepest = (
        (min(column) for column in zip(*known, strict=True)) if known else (params.cyclomatic, params.nesting)
    )
    return 0.5 * min(1.0, most / found[0]) + 0.5 * min(1.0, (1 + deepest) / (1 + found[1]))


@lru_cache(maxsize=4096)
def _measured(code: str) -> tuple[int, int] | None:
    return complexity_and_depth(code)
