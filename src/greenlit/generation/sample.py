"""Sample candidates for problems: render, complete, extract, stream to disk, resume.

Finished problems are appended to `<work>/candidates.jsonl`; a restart with the same work folder samples only the rest.
The result is in the order of the problems, and does not depend on batches, processes or interruptions.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from greenlit.config import SamplingParams
from greenlit.generation import transformers as transformers_backend
from greenlit.generation.transformers import Completion, Request
from greenlit.jsonl import to_line
from greenlit.models import load_tokenizer, resolve
from greenlit.problems.prompts import extract, has_chat_template, prompt_hash, render
from greenlit.progress import progress
from greenlit.types import Candidate, Problem

BACKENDS: Mapping[str, Callable[..., Iterator[list[Completion]]]] = {"transformers": transformers_backend.complete}


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
) -> Iterator[Candidate]:
    """Sample, then return `params.n` candidates per problem, preceded by the greedy one if asked for.

    Args:
        model: model directory.
        seed: with task_id and candidate_idx, decides every sample.
        work: folder for unfinished results.
        workers: processes.
        label: name of the stage, for the progress bar.
    """
    weights = resolve(model)
    chat = has_chat_template(load_tokenizer(weights))
    prompts = {problem.task_id: render(problem, chat) for problem in problems}
    indices = [*([-1] if greedy else []), *range(params.n)]
    finished = _Finished(work / "candidates.jsonl", len(indices))
    open_problems = [problem for problem in problems if problem.task_id not in finished]
    requests = [
        Request(problem.task_id, index, prompts[problem.task_id], seed)
        for problem in open_problems
        for index in indices
    ]
    by_id = {problem.task_id: problem for problem in problems}

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
            finish_reason="eos" if completion.ended else "length",
            logprob=completion.logprob,
            seed=seed,
            prompt_hash=prompt_hash(prompts[completion.task_id]),
            model=model.as_posix(),
        )

    unfinished: dict[str, list[Candidate]] = {}
    with progress(label, len(problems), "problems") as bar:
        bar.advance(len(finished))
        for batch in BACKENDS[params.backend](weights, requests, params, workers):
            before = len(finished)
            for completion in batch:
                rows = unfinished.setdefault(completion.task_id, [])
                rows.append(candidate(completion))
                if len(rows) == len(indices):
                    finished.append(unfinished.pop(completion.task_id))
            bar.advance(len(finished) - before, tokens=sum(completion.tokens for completion in batch))
    return (row for problem in problems for row in finished.read(problem.task_id))


class _Finished:
    """The finished problems on disk: only their places are kept in memory.

    A run that was killed leaves whole problems and perhaps a torn tail, which is cut off.
    """

    def __init__(self, path: Path, per_problem: int) -> None:
        self._path, self._per_problem = path, per_problem
        self._offsets: dict[str, int] = {}
        end = 0
        if path.exists():
            with path.open("rb") as stream:
                while group := list(itertools.islice(stream, per_problem)):
                    if len(group) < per_problem or not group[-1].endswith(b"\n"):
                        break
                    self._offsets[Candidate.model_validate_json(group[0]).task_id] = end
                    end += sum(map(len, group))
        with path.open("ab") as stream:
            stream.truncate(end)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, rows: list[Candidate]) -> None:
        """Store one problem's candidates, in the order of their index."""
        ordered = sorted(rows, key=lambda row: row.candidate_idx)
        with self._path.open("ab") as stream:
            offset = stream.tell()
            stream.write("".join(map(to_line, ordered)).encode())
        self._offsets[ordered[0].task_id] = offset

    def read(self, task_id: str) -> Iterator[Candidate]:
        """One problem's candidates again."""
        with self._path.open("rb") as stream:
            stream.seek(self._offsets[task_id])
            for line in itertools.islice(stream, self._per_problem):
                yield Candidate.model_validate_json(line)
