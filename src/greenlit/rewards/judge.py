"""judge: how good an AI judge finds a program (RLAIF, https://arxiv.org/abs/2309.00267).

    reward = weighted mean of the rubric's criteria, in [0, 1]

None where the judge has no clear answer (see feedback/judge.py), never 0. A weight above 0 wants a calibration, which
says how well this judge agrees with execution: `greenlit calibrate-judge`.
"""

import atexit
from collections.abc import Sequence
from functools import cache

from greenlit.config import JudgeParams, RewardsParams
from greenlit.errors import ConfigError
from greenlit.feedback.judge import AiJudge
from greenlit.feedback.permit import require_calibrated
from greenlit.rewards.sample import Sample


def judge(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """Its score of each program.

    Raises:
        ConfigError: params name no judge, or it has no address.
    """
    if params.judge is None:
        raise ConfigError("params.yaml: rewards.weights.judge: needs a judge", hint="rewards: {judge: {model: ...}}")
    return _judge(params.judge.model_dump_json()).scores([(sample.problem, sample.code) for sample in samples])


def require_permitted(params: RewardsParams, dataset: str) -> None:
    """May the judge's word count as params.yaml wants it to?

    Raises:
        ConfigError: its weight is above 0, and it is not calibrated on this dataset, or not well enough.
    """
    if params.judge is not None and params.weights.get("judge", 0) > 0:
        require_calibrated(params.judge, dataset)


@cache
def _judge(params: str) -> AiJudge:
    """One for the whole process: its budget is for all batches together."""
    opened = AiJudge(JudgeParams.model_validate_json(params))
    atexit.register(opened.close)
    return opened
