"""execution: what share of a problem's tests a completion passes, as a reward function for TRL's online trainers.

    reward = tests passed / tests of the shown and reward tests, never the hidden ones; with `all_or_nothing` 1 or 0

None where the sandbox could not say, which TRL leaves out; never 0.0 for a fault of ours.

    with execution_reward(problems, params.annotate) as reward:
        GRPOTrainer(model, reward_funcs=reward, train_dataset=dataset, ...).train()

The dataset needs the columns `prompt` and `task_id`.
"""

import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from greenlit.config import AnnotateParams
from greenlit.errors import DataError
from greenlit.execution.intake import ProblemIndex, index_problems
from greenlit.execution.judgement import Judgement
from greenlit.execution.judges import Judge
from greenlit.problems.prompts import extract
from greenlit.stage import hardware
from greenlit.types import Problem


class ExecutionReward:
    """Callable as TRL calls reward functions. One judge stays open from the first call to `close`, or to the end."""

    __name__ = "execution"
    """What TRL logs it as."""

    def __init__(self, problems: ProblemIndex, params: AnnotateParams, workers: int, all_or_nothing: bool) -> None:
        self.problems = problems
        self.params = params
        self.workers = workers
        self.all_or_nothing = all_or_nothing
        self._judge: Judge | None = None

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], task_id: Sequence[str] | None = None, **columns: Any
    ) -> list[float | None]:
        """Rewards of completions, in their order.

        Args:
            completions: texts, or message lists as conversational datasets have them.
            task_id: the dataset's column, one entry per completion.

        Raises:
            DataError: no such column, or a problem that is not there.
            SandboxError: the sandbox does not judge rightly on this machine.
        """
        if task_id is None:
            raise DataError("execution reward: the dataset has no column `task_id`", hint="keep it beside `prompt`")
        jobs = [self._job(name, completion) for name, completion in zip(task_id, completions, strict=True)]
        return [self._reward(judgement) for judgement in self._opened().judge_all(jobs)]

    def _job(self, task_id: str, completion: Any) -> tuple[Problem, str]:
        problem = self.problems.find(task_id)
        if problem is None:
            raise DataError(f"execution reward: task_id: no problem {task_id!r}", hint=self.problems.hint(task_id))
        chat = not isinstance(completion, str)
        return problem, extract(_last_text(completion) if chat else completion, problem, chat)

    def _reward(self, judgement: Judgement) -> float | None:
        if judgement.passed is None or not judgement.tests_total:
            return None
        if self.all_or_nothing:
            return float(judgement.passed)
        return judgement.tests_passed / judgement.tests_total

    def _opened(self) -> Judge:
        if self._judge is None:
            self._judge = Judge(self.params, self.workers)
            self._end = weakref.finalize(self, _close, self._judge, os.getpid())  # at exit too
        return self._judge

    def close(self) -> None:
        """End the judge's processes; the next call starts new ones."""
        if self._judge is not None:
            self._judge = None
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def execution_reward(
    problems: Mapping[str, Any] | Iterable[Any],
    params: AnnotateParams,
    *,
    workers: int | None = None,
    all_or_nothing: bool = False,
) -> ExecutionReward:
    """The reward of these problems' tests.

    Args:
        problems: records or dicts of the problem format, as a list or by task_id.
        params: limits, as `annotate` has them.
        workers: processes of each trainer process; None takes GREENLIT_WORKERS or one per core.
        all_or_nothing: 1 for all tests, else 0, instead of the share that passes.
    """
    return ExecutionReward(index_problems(problems), params, workers or hardware.workers(), all_or_nothing)


def _close(judge: Judge, owner: int) -> None:
    if os.getpid() == owner:  # a fork of the trainer must not end the trainer's judge
        judge.close()


def _last_text(messages: Any) -> str:
    """The text of the last message, which is the model's; empty where that is no text (a tool call)."""
    content = messages[-1].get("content") if messages else None
    return content if isinstance(content, str) else ""
