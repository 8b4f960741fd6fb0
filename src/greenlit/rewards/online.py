"""The reward function of the online methods: TRL's signature, judged in the executor's processes.

    with OnlineReward(problems, params.annotate, params.rewards) as reward:
        GRPOTrainer(model, reward_funcs=reward, train_dataset=dataset, ...).train()     # columns prompt and task_id
        future = reward.submit(prompts, completions, task_id)                           # own loops: go on meanwhile
        ...
        future.result(), reward.measured()

Hidden tests are run, and never enter a reward: `measured()["gap"]` says how far the two lie apart.
"""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from types import TracebackType
from typing import Any, Self

from greenlit.config import AnnotateParams, RewardsParams
from greenlit.errors import ConfigError, DataError, SandboxError, WorldError
from greenlit.execution.intake import index_problems
from greenlit.execution.judgement import Judgement
from greenlit.execution.judges import Judge
from greenlit.execution.untested import Untested, judge_for
from greenlit.problems.files import kind_of
from greenlit.problems.prompts import extract
from greenlit.rewards.rating import rate, require_rewards
from greenlit.rewards.sample import Rated, Sample
from greenlit.rewards.speed import reference_runs, runs_needed, times
from greenlit.rewards.statistics import Statistics, row, tell_faults
from greenlit.stage import hardware
from greenlit.types import AssertTest, Kind, Problem


class OnlineReward:
    """Callable as TRL calls reward functions. One judge stays open from the first batch to `close`, or to the end.

    Batches are judged one after the other by a thread of ours, so that `submit` may be called while one is under way.
    """

    __name__ = "reward"
    """What TRL logs it as."""

    def __init__(
        self,
        problems: Mapping[str, Any] | Iterable[Any],
        limits: AnnotateParams,
        rewards: RewardsParams,
        *,
        workers: int | None = None,
        chat: bool = False,
        max_new_tokens: int | None = None,
        eos_ids: Iterable[int] = (),
    ) -> None:
        """
        Args:
            problems: records or dicts of the problem format, as a list or by task_id.
            limits: on running programs, as `annotate` has them.
            workers: processes of each trainer process; None takes GREENLIT_WORKERS or one per core.
            chat: the model is asked by messages, also where completions come as text.
            max_new_tokens: longest completion; with `eos_ids` it tells which completions were cut off.
            eos_ids: tokens that end a completion.

        Raises:
            ConfigError: `length` would never tell long completions from those that were cut off; a reward asks for
                tests, and the problems have none.
            DataError: problems with tests and without.
        """
        longest = rewards.length.max_tokens
        if "length" in rewards.weights and max_new_tokens is not None and longest > max_new_tokens:
            raise ConfigError(
                f"params.yaml: rewards.length.max_tokens: must be <= max_new_tokens {max_new_tokens} (found {longest})"
            )
        self.problems = index_problems(problems)
        self.kind = kind_of(self.problems)
        require_rewards(self.kind, rewards)
        self.limits = limits
        self.rewards = rewards
        self.workers = workers or hardware.workers()
        self.chat = chat
        self.max_new_tokens = max_new_tokens
        self.eos_ids = frozenset(eos_ids)
        self.last: list[dict[str, Any]] = []
        """The completions of the last batch, a row for each: task_id, text, verdict, every reward."""
        self._statistics = Statistics()
        self._faults: Counter[str] = Counter()
        self._completions = 0
        self._lock = threading.Lock()
        self._desk: _Desk | None = None

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        task_id: Sequence[str] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Rewards of completions, in their order; None where one could not be found out.

        Args:
            completions: texts, or message lists as conversational datasets have them.
            completion_ids: their tokens.
            task_id: the dataset's column, one entry per completion.

        Raises:
            DataError: no such column, or a problem that is not there.
            ConfigError: a reward cannot be had with these settings.
            SandboxError: the sandbox does not judge rightly on this machine, or no longer.
        """
        if task_id is None:
            raise DataError(
                f"{self.__name__} reward: the dataset has no column `task_id`", hint="keep it beside `prompt`"
            )
        return self.submit(prompts, completions, task_id, completion_ids).result()

    def submit(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        task_id: Sequence[str],
        completion_ids: Sequence[Sequence[int]] | None = None,
    ) -> Future[list[float | None]]:
        """The same, found out while the caller goes on. Batches are judged in the order they come.

        Raises:
            DataError: a problem that is not there; the future raises the other errors.
        """
        ids = completion_ids if completion_ids is not None else repeat(None, len(completions))
        samples = [
            self._sample(name, completion, tokens)
            for name, completion, tokens in zip(task_id, completions, ids, strict=True)
        ]
        desk = self._opened()
        return desk.thread.submit(self._rewards, samples, desk)

    def measured(self) -> dict[str, float]:
        """Figures of all completions since this was last asked; see `statistics.Statistics.figures`."""
        with self._lock:
            statistics, self._statistics = self._statistics, Statistics()
        return statistics.figures()

    def close(self) -> None:
        """End the judge's processes, with what they are at, and tell what went wrong; the next call starts new ones."""
        if self._desk is not None:
            self._desk = None
            self._end()
        tell_faults(self._faults, self._completions)
        self._faults, self._completions = Counter(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sample(self, task_id: str, completion: Any, ids: Sequence[int] | None) -> Sample:
        """Not judged yet."""
        problem = self.problems.find(task_id)
        if problem is None:
            raise DataError(
                f"{self.__name__} reward: task_id: no problem {task_id!r}", hint=self.problems.hint(task_id)
            )
        messages = not isinstance(completion, str)
        text, chat = last_text(completion) if messages else completion, self.chat or messages
        tokens = None if ids is None else len(ids)
        return Sample(
            problem, text, extract(text, problem, chat), tokens=tokens, truncated=self._truncated(ids), chat=chat
        )

    def _truncated(self, ids: Sequence[int] | None) -> bool | None:
        if ids is None or (not self.eos_ids and self.max_new_tokens is None):
            return None
        if self.eos_ids:
            return not ids or ids[-1] not in self.eos_ids
        return len(ids) >= (self.max_new_tokens or 0)

    def _rewards(self, samples: list[Sample], desk: "_Desk") -> list[float | None]:
        """In the thread: judge and rate each distinct completion once."""
        places: dict[tuple[Any, ...], int] = {}
        keys = [(sample.problem.task_id, sample.text, sample.tokens, sample.truncated) for sample in samples]
        distinct: list[Sample] = []
        for key, sample in zip(keys, samples, strict=True):
            if key not in places:
                places[key] = len(distinct)
                distinct.append(sample)
        judged = desk.judged(distinct, runs_needed(self.rewards))
        rated = rate(judged, self.rewards)
        chosen = [places[key] for key in keys]
        self._count([judged[place] for place in chosen], [rated[place] for place in chosen])
        return [rated[place].reward for place in chosen]

    def _count(self, samples: list[Sample], rated: list[Rated]) -> None:
        with self._lock:
            self._statistics.add(samples, rated)
            self._completions += len(samples)
            self._faults.update(name for one in rated for name in one.faults)
            self.last = [row(sample, found) for sample, found in zip(samples, rated, strict=True)]

    def _opened(self) -> "_Desk":
        if self._desk is None or self._desk.owner != os.getpid():  # a fork has none of our threads
            self._lock = threading.Lock()
            self._desk = _Desk(self.kind, self.limits, self.workers)
            self._end = weakref.finalize(self, self._desk.close)  # at exit too
        return self._desk


class _Desk:
    """The thread that judges, and its judge."""

    def __init__(self, kind: Kind, limits: AnnotateParams, workers: int) -> None:
        self.owner = os.getpid()
        self.kind = kind
        self.limits, self.workers = limits, workers
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="greenlit-reward")
        self.judge: Judge | Untested | None = None
        self.closing = False
        self.probes = 0

    def close(self) -> None:
        """Ends with the judgement under way; a fork of the trainer must not end the trainer's judge."""
        if os.getpid() != self.owner:
            return
        self.closing = True
        self.thread.shutdown(wait=True, cancel_futures=True)
        if self.judge is not None:
            self.judge.close()
            self.judge = None

    def judged(self, samples: Sequence[Sample], runs: int) -> list[Sample]:
        """In the thread: the samples with their judgements.

        Args:
            runs: of each problem's reference, to compare times with.

        Raises:
            SandboxError: nothing at all can be judged any more.
        """
        if self.judge is None:
            self.judge = judge_for(self.kind, self.limits, self.workers)
        problems = {id(sample.problem): sample.problem for sample in samples} if runs else {}
        jobs = [(place, code) for place, problem in problems.items() for code in reference_runs(problem, runs)]
        programs = [(problems[place], code) for place, code in jobs]
        found = self._judgements([*programs, *((sample.problem, sample.code) for sample in samples)])
        of_reference: dict[int, list[Judgement]] = {}
        for (place, _), judgement in zip(jobs, found[: len(jobs)], strict=True):
            of_reference.setdefault(place, []).append(judgement)
        judged = [
            replace(sample, judgement=judgement, reference_cpu_s=times(of_reference.get(id(sample.problem), [])))
            for sample, judgement in zip(samples, found[len(jobs) :], strict=True)
        ]
        if judged and isinstance(self.judge, Judge) and all(judgement.verdict == "infra" for judgement in found):
            self._probe(self.judge, found[-1])
        return judged

    def _judgements(self, jobs: Sequence[tuple[Problem, str]]) -> list[Judgement]:
        found = []
        for judgement in self.judge.judge_all(jobs) if self.judge else ():
            if self.closing:
                raise WorldError("the reward was closed while completions were being judged")
            found.append(judgement)
        return found

    def _probe(self, judge: Judge, last: Judgement) -> None:
        """No program of a batch could be judged: is it the programs, or the judge?"""
        self.probes += 1
        problem = Problem(task_id="greenlit/probe", entry_point="f", tests=[AssertTest(code="assert f(20) == 400")])
        if judge.judge(problem, f"def f(x): return x * x  # {self.probes}").passed is not True:
            raise SandboxError(
                f"the sandbox no longer judges any program, at the {judge.level} level ({last.error})",
                hint="`greenlit doctor` says what is missing; training goes on from its last checkpoint",
            )


def last_text(messages: Any) -> str:
    """The text of the last message, which is the model's; empty where that is no text (a tool call)."""
    content = messages[-1].get("content") if messages else None
    return content if isinstance(content, str) else ""
