"""judge: how good an AI judge finds a completion, as a reward function for TRL's online trainers (RLAIF,
https://arxiv.org/abs/2309.00267).

    reward = weighted mean of the rubric's criteria, in [0, 1]

None where the judge has no clear answer (see `judge.AiJudge`), which TRL leaves out; never 0.0 for a fault of ours.

    with judge_reward(problems, params.build.ai.judge, dataset="mbpp") as reward:
        GRPOTrainer(model, reward_funcs=[execution, reward], ...).train()

The dataset needs the columns `prompt` and `task_id`. Whether a program passes is for execution to say: combine the two.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from greenlit.config import JudgeParams
from greenlit.errors import DataError
from greenlit.execution.intake import ProblemIndex, index_problems
from greenlit.feedback.judge import AiJudge
from greenlit.feedback.permit import FOLDER, require_calibrated
from greenlit.problems.prompts import extract
from greenlit.types import Problem


class JudgeReward:
    """Callable as TRL calls reward functions. A context manager."""

    __name__ = "judge"
    """What TRL logs it as."""

    def __init__(self, problems: ProblemIndex, judge: AiJudge) -> None:
        self.problems, self.judge = problems, judge

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], task_id: Sequence[str] | None = None, **columns: Any
    ) -> list[float | None]:
        """Rewards of completions, in their order.

        Args:
            completions: texts, or message lists as conversational datasets have them.
            task_id: the dataset's column, one entry per completion.

        Raises:
            DataError: no such column, or a problem that is not there.
        """
        if task_id is None:
            raise DataError("judge reward: the dataset has no column `task_id`", hint="keep it beside `prompt`")
        return self.judge.scores(
            [self._program(name, completion) for name, completion in zip(task_id, completions, strict=True)]
        )

    def _program(self, task_id: str, completion: Any) -> tuple[Problem, str]:
        problem = self.problems.find(task_id)
        if problem is None:
            raise DataError(f"judge reward: task_id: no problem {task_id!r}", hint=self.problems.hint(task_id))
        chat = not isinstance(completion, str)
        text = (completion[-1].get("content") if completion else None) if chat else completion
        return problem, extract(text if isinstance(text, str) else "", problem, chat)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.judge.close()


def judge_reward(
    problems: Mapping[str, Any] | Iterable[Any],
    params: JudgeParams,
    *,
    dataset: str,
    weight: float = 1.0,
    place: str = "rewards.judge",
    calibrations: Path = FOLDER,
) -> JudgeReward:
    """The reward of one judge.

    Args:
        problems: records or dicts of the problem format, as a list or by task_id.
        dataset: whose calibration is asked for.
        weight: what it is to count; 0 measures it only.
        place: of the judge's settings in params.yaml, for messages.

    Raises:
        ConfigError: its weight is above 0, and it is not calibrated well enough; or it has no address.
    """
    if weight > 0:
        require_calibrated(params, dataset, place, calibrations)
    return JudgeReward(index_problems(problems), AiJudge(params))
