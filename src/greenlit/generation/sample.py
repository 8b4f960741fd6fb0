"""Sample candidates for problems: render, complete, extract, stream to disk, resume.

Every finished problem is appended to `<work>/candidates.jsonl`; a restart with the same folder samples only the rest.
The result is in the order of the problems, and does not depend on batches, processes or interruptions.
"""

from array import array
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from greenlit.appending import Appending
from greenlit.config import GenerateParams, SamplingParams
from greenlit.errors import ConfigError, MismatchError, WorldError
from greenlit.generation import openai, vllm
from greenlit.generation import transformers as transformers_backend
from greenlit.generation.budget import Budget, caps_of
from greenlit.generation.choosing import picked
from greenlit.generation.request import Completion, Request
from greenlit.generation.rounds import GoOn, Round, most_samples, round_of, rounds
from greenlit.jsonl import to_line
from greenlit.models import is_adapter, knows_chat, load_tokenizer, resolve
from greenlit.problems.prompts import extract, has_chat_template, prompt_hash, render
from greenlit.problems.strategies import strategy_of
from greenlit.stage.progress import Progress, progress
from greenlit.types import Candidate, Problem

_NOWHERE = -1

BACKENDS: Mapping[str, Callable[..., Generator[list[Completion], None, None]]] = {
    "transformers": transformers_backend.complete,
    "vllm": vllm.complete,
    "openai": openai.complete,
}
"""What generates, each a `backend.Generator`; `auto` is one of these (see `choosing`)."""
PAID = frozenset({"openai"})
"""Backends that ask the budget before they ask for anything."""


def sample(
    model: Path,
    problems: list[Problem],
    params: SamplingParams,
    *,
    seed: int,
    greedy: bool,
    work: Path,
    workers: int,
    label: str,
    sampled: bool = True,
    go_on: GoOn | None = None,
) -> Iterator[Candidate]:
    """Sample, then return `params.n` candidates per problem, preceded by the greedy one if asked for.

    Args:
        model: model directory.
        seed: with task_id and candidate_idx, decides every sample.
        work: folder for unfinished results.
        workers: processes.
        label: name of the stage, for the progress bar.
        sampled: false leaves the greedy candidates alone.
        go_on: decides, after each round of adaptive sampling, which problems are in the next one; see `rounds`. There
            are up to `adaptive.max_n` candidates per problem then.

    Raises:
        ValueError: `params.adaptive` without `go_on`.
        GreenlitError: as the backend, or the budget is used up.
    """
    if most_samples(params) > params.n and go_on is None:
        raise ValueError("adaptive sampling without anyone who decides: go_on is missing")
    params = picked(params)
    weights, chat = _weights_and_chat(model, params)
    first = [*([-1] if greedy else []), *(range(params.n) if sampled else [])]
    further = range(params.n, most_samples(params)) if go_on else ()
    with (
        Appending(work / "candidates.jsonl") as file,
        Budget(caps_of(), work / "spent.json") as budget,
        progress(label, len(problems) * len(first), "programs") as bar,
    ):
        collected = _Collected(file, problems, [*first, *further], params.backend)
        decide = partial(go_on, bar) if go_on else None
        asked = rounds(problems, first, params, decide, collected.read, work / "rounds.jsonl")
        paid = params.backend in PAID
        under_way = _UnderWay(_Asked(model, problems, params, chat, seed), asked, collected, budget, bar, paid)
        generate: Callable[..., Generator[list[Completion], None, None]] = BACKENDS[params.backend]
        if paid:
            generate = partial(generate, budget=budget)
        with closing(asked):
            if requests := under_way.more():
                with closing(generate(weights, requests, params, workers, under_way.more)) as batches:
                    for batch in batches:
                        under_way.take(batch)
        if bar.done < bar.total:
            raise WorldError(f"{label}: {bar.total - bar.done} programs did not come", hint="the same command goes on")
    return (row for problem in problems for row in collected.read(problem.task_id))


def _weights_and_chat(model: Path, params: SamplingParams) -> tuple[Path, bool]:
    """What the backend loads, and whether the model is asked by messages."""
    if params.backend != "openai":
        weights = model if is_adapter(model) else resolve(model)
        return weights, has_chat_template(load_tokenizer(weights))
    chat = knows_chat(model) if params.openai.chat is None else params.openai.chat
    if chat is None:
        raise ConfigError(
            f"{model}: no tokenizer here, which would say whether the endpoint is asked by messages or by text",
            hint="openai: {chat: true} or {chat: false} in the settings of the sampling",
        )
    return model, chat


@dataclass(frozen=True)
class _UnderWay:
    """Between what is asked for and what is on the disk."""

    asked: "_Asked"
    rounds: Iterator[Round]
    collected: "_Collected"
    budget: Budget
    bar: Progress
    paid: bool
    """The backend asks the budget itself."""

    def more(self) -> list[Request]:
        """What the next round asks for; empty where no round is left in which anything is to do."""
        while True:
            with self.budget.paused():
                following = next(self.rounds, None)
            if following is None:
                return []
            requests = [
                self.asked.request(problem, index, (problem.task_id, index) in self.collected)
                for problem in following.problems
                for index in following.indices
            ]
            if following.number:
                self.bar.grow(len(requests))
            self.bar.advance(sum(request.done for request in requests))
            if not all(request.done for request in requests):
                self._require_budget()
                return requests

    def take(self, batch: list[Completion]) -> None:
        """Keep what is new of it."""
        new = [one for one in batch if (one.task_id, one.candidate_idx) not in self.collected]
        self.collected.add([self.asked.candidate(completion) for completion in new])
        tokens = sum(completion.tokens for completion in new)
        self.bar.advance(len(new), tokens=tokens)
        if not self.paid:
            self.budget.spend(0, tokens)
            if self.bar.done < self.bar.total:
                self._require_budget()

    def _require_budget(self) -> None:
        if not self.paid:
            self.budget.require()


class _Asked:
    """What a model is asked for problems, and what its answers become."""

    def __init__(self, model: Path, problems: list[Problem], params: SamplingParams, chat: bool, seed: int) -> None:
        self._model, self._params, self._chat, self._seed = model.as_posix(), params, chat, seed
        self._problems = {problem.task_id: problem for problem in problems}
        self._prompts = {problem.task_id: render(problem, chat) for problem in problems}
        self._strategies = params.strategies if isinstance(params, GenerateParams) else []

    def request(self, problem: Problem, index: int, done: bool) -> Request:
        """One sample of a problem, or with the index -1 the greedy completion."""
        strategy = strategy_of(self._strategies, index)
        prompt = self._prompts[problem.task_id] if strategy is None else render(problem, self._chat, strategy)
        return Request(problem.task_id, index, prompt, self._seed, done)

    def candidate(self, completion: Completion) -> Candidate:
        """The row of candidates.jsonl."""
        code = extract(completion.text, self._problems[completion.task_id], self._chat)
        return Candidate(
            task_id=completion.task_id,
            candidate_idx=completion.candidate_idx,
            decoding="greedy" if completion.candidate_idx < 0 else "sampled",
            text=completion.text,
            code=code,
            solution=code,
            tokens=completion.tokens,
            finish_reason=completion.finish_reason,
            logprob=completion.logprob,
            seed=self._seed,
            prompt_hash=prompt_hash(self._prompts[completion.task_id]),
            model=self._model,
            backend=self._params.backend,
            dtype=None if self._params.backend == "openai" else self._params.dtype,
            served_by=completion.served_by,
            strategy=strategy_of(self._strategies, completion.candidate_idx),
            round=round_of(self._params, completion.candidate_idx),
        )


class _Collected:
    """The candidates on disk, each in a line of its own as soon as it is there; only their places are in memory."""

    def __init__(self, file: Appending, problems: list[Problem], indices: list[int], backend: str) -> None:
        self._file, self._indices = file, indices
        self._slot = {index: slot for slot, index in enumerate(indices)}
        self._offsets = {problem.task_id: array("q", [_NOWHERE]) * len(indices) for problem in problems}
        for offset, line in file.lines():
            try:
                row = Candidate.model_validate_json(line)
            except ValidationError:  # a disk that failed in the middle of the file
                file.cut(offset)
                break
            if row.backend != backend:
                raise MismatchError(
                    f"{file.path}: was begun with the backend {row.backend}, and {backend} would go on",
                    hint=f"set backend: {row.backend}, or remove the file to begin anew",
                )
            self._offsets[row.task_id][self._slot[row.candidate_idx]] = offset

    def __contains__(self, place: tuple[str, int]) -> bool:
        task_id, index = place
        return self._offsets[task_id][self._slot[index]] != _NOWHERE

    def add(self, rows: list[Candidate]) -> None:
        """Store candidates, of any problems in any order."""
        lines = [to_line(row).encode() for row in rows]
        offset = self._file.append(lines)
        for row, line in zip(rows, lines, strict=True):
            self._offsets[row.task_id][self._slot[row.candidate_idx]] = offset
            offset += len(line)

    def read(self, task_id: str) -> Iterator[Candidate]:
        """One problem's candidates so far, in the order of their index."""
        with self._file.path.open("rb") as stream:
            for offset in self._offsets[task_id]:
                if offset != _NOWHERE:
                    stream.seek(offset)
                    yield Candidate.model_validate_json(stream.readline())
