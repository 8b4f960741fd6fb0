"""syntax: is there a program, and does it compile?  reward = 1 if so, else 0.

None for a language that only its own interpreter can parse, where nobody ran the program.
"""

from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.program_metrics import parse
from greenlit.rewards.sample import Sample


def syntax(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """1, 0 or None."""
    return [_of(sample) for sample in samples]


def _of(sample: Sample) -> float | None:
    if not sample.code.strip():
        return 0.0
    if sample.judgement is not None and sample.judgement.verdict != "infra":
        return float(sample.judgement.verdict not in {"syntax", "no_code"})
    return float(parse(sample.code) is not None) if sample.problem.language == "python" else None
