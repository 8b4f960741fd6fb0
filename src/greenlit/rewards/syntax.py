"""syntax: is there a program, and does it compile?  reward = 1 if so, else 0.

Of a problem without tests, the same times `overlap`: a file whose head compiles still does with `pass` behind it, or a
comment, so that compiling by itself says nothing there, and would pay.

None for a language that only its own interpreter can parse, where nobody ran the program.
"""

from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.program_metrics import parse
from greenlit.rewards.overlap import overlap_of
from greenlit.rewards.sample import Sample


def syntax(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """1, 0 or None; a part of 1 where there are no tests."""
    return [_of(sample) for sample in samples]


def _of(sample: Sample) -> float | None:
    compiles = _compiles(sample)
    if compiles is None or sample.problem.kind == "program":
        return compiles
    return compiles * (overlap_of(sample.code, sample.problem) or 0.0)


def _compiles(sample: Sample) -> float | None:
    if not sample.code.strip():
        return 0.0
    if sample.judgement is not None and sample.judgement.verdict not in {"infra", "untested"}:
        return float(sample.judgement.verdict not in {"syntax", "no_code"})
    return float(parse(sample.code) is not None) if sample.problem.language == "python" else None
