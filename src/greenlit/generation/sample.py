"""Sample candidates for problems: render, complete, extract, stream to disk, resume.

Every finished problem is appended to `<work>/candidates.jsonl`; a restart with the same folder samples only the rest.
The result is in the order of the problems, and does not depend on batches, processes or interruptions.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from greenlit.appending import Appending
from greenlit.config import GenerateParams, SamplingParams
from greenlit.errors import ConfigError, MismatchError
from greenlit.generation import openai, vllm
from greenlit.generation import transformers as transformers_backend
from greenlit.generation.backend import Generator
from greenlit.generation.budget import Budget, caps_of
from greenlit.generation.choosing import picked
from greenlit.generation.request import Completion, Prompt, Request
from greenlit.jsonl import to_line
from greenlit.models import is_adapter, knows_chat, load_tokenizer, resolve
from greenlit.problems.prompts import extract, has_chat_template, prompt_hash, render
from greenlit.problems.strategies import strategy_of
from greenlit.stage.progress import progress
from greenlit.types import Candidate, Problem

_NOWHERE = -1

BACKENDS: Mapping[str, Callable[..., Iterator[list[Completion]]]] = {
    "transformers": transformers_backend.complete,
    "vllm": vllm.complete,
    "openai": openai.complete,
}
"""What generates, each a `Generator`; `auto` is one of these (see `choosing`)."""
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
) -> Iterator[Candidate]:
    """Sample, then return `params.n` candidates per problem, preceded by the greedy one if asked for.

    Args:
        model: model directory.
        seed: with task_id and candidate_idx, decides every sample.
        work: folder for unfinished results.
        workers: processes.
        label: name of the stage, for the progress bar.
        sampled: false leaves the greedy candidates alone.
    """
    params = picked(params)
    weights, chat = _weights_and_chat(model, params)
    prompts = {problem.task_id: render(problem, chat) for problem in problems}
    indices = [*([-1] if greedy else []), *(range(params.n) if sampled else [])]
    by_id = {problem.task_id: problem for problem in problems}
    strategies = params.strategies if isinstance(params, GenerateParams) else []

    def candidate(completion: Completion) -> Candidate:
        problem = by_id[completion.task_id]
        code = extract(completion.text, problem, chat)
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
            seed=seed,
            prompt_hash=prompt_hash(prompts[completion.task_id]),
            model=model.as_posix(),
            backend=params.backend,
            dtype=None if params.backend == "openai" else params.dtype,
            served_by=completion.served_by,
            strategy=strategy_of(strategies, completion.candidate_idx),
        )

    def prompt(problem: Problem, index: int) -> Prompt:
        strategy = strategy_of(strategies, index)
        return prompts[problem.task_id] if strategy is None else render(problem, chat, strategy)

    with Appending(work / "candidates.jsonl") as file, Budget(caps_of(), work / "spent.json") as budget:
        collected = _Collected(file, problems, indices, params.backend)
        requests = [
            Request(problem.task_id, index, prompt(problem, index), seed, (problem.task_id, index) in collected)
            for problem in problems
            for index in indices
        ]
        with progress(label, len(requests), "programs") as bar:
            bar.advance(sum(request.done for request in requests))
            generate: Generator = BACKENDS[params.backend]
            if params.backend in PAID:
                generate = partial(generate, budget=budget)
            elif bar.done < len(requests):
                budget.require()
            for batch in generate(weights, requests, params, workers):
                new = [one for one in batch if (one.task_id, one.candidate_idx) not in collected]
                collected.add([candidate(completion) for completion in new])
                tokens = sum(completion.tokens for completion in new)
                bar.advance(len(new), tokens=tokens)
                if params.backend not in PAID:
                    budget.spend(0, tokens)
                    if bar.done < len(requests):
                        budget.require()
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
        """One problem's candidates, in the order of their index."""
        with self._file.path.open("rb") as stream:
            for offset in self._offsets[task_id]:
                stream.seek(offset)
                yield Candidate.model_validate_json(stream.readline())
