"""The transformers backend: one model per process, several processes, batches written token by token.

On a CPU the processes are forked after the weights are loaded, so that they share them, and run one thread each; on an
accelerator there is one process. A model that our loop (`decoding`) does not fit is asked by its own `generate`, with
the same sampler and the same batches.
"""

import math
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.cluster import session
from greenlit.cluster.sampling import on_cluster
from greenlit.config import SamplingParams
from greenlit.errors import ConfigError, DataError
from greenlit.generation import decoding, fitting
from greenlit.generation.backend import More, no_more
from greenlit.generation.batches import Batch, batches
from greenlit.generation.own_generate import write_by_generate
from greenlit.generation.processes import in_processes
from greenlit.generation.request import Completion, Request
from greenlit.generation.sampling import Sampler, candidate_stream
from greenlit.generation.stop_texts import StopTexts
from greenlit.models import is_adapter, load_model, load_tokenizer, start_of
from greenlit.problems.prompts import prompt_ids
from greenlit.stage.hardware import limit_threads, quiet_libraries

__all__ = ["Completion", "Request", "complete"]


@dataclass(frozen=True)
class _Loaded:
    lm: Any
    tokenizer: Any
    params: SamplingParams
    end_tokens: frozenset[int]
    stop_texts: StopTexts | None
    why_not: str | None
    """Why our loop does not fit."""


_loaded: _Loaded | None = None


def complete(
    model: Path | str, requests: list[Request], params: SamplingParams, workers: int, more: More = no_more
) -> Generator[list[Completion], None, None]:
    """Yield the completions of problems, each problem's as soon as all of it that shares a batch is finished.

    A batch of which all is done is left out.

    Args:
        workers: processes on a CPU; the results do not depend on it.

    Raises:
        DataError: a prompt and max_new_tokens do not fit into the model's context; the model computes NaN.
        WorldError: a process died, e.g. for lack of memory.
    """
    if all(request.done for request in requests):
        return
    limit_threads(1)
    if session.wanted():
        while requests:
            yield from _complete_on_cluster(Path(model), requests, params)
            requests = more()
        return
    loaded = _load(str(model), params)
    if loaded.why_not is not None:
        told = f"generation: {type(loaded.lm).__name__}: by its own `generate`, which is slower: {loaded.why_not}"
        print(told, file=sys.stderr)
    while requests:
        yield from _all_written(loaded, str(model), requests, params, workers)
        requests = more()


def _all_written(
    loaded: _Loaded, model: str, requests: list[Request], params: SamplingParams, workers: int
) -> Iterator[list[Completion]]:
    """The completions of one round of requests."""
    made = batches(requests, params, lambda prompt: prompt_ids(loaded.tokenizer, prompt))
    left = [batch for batch in made if not all(request.done for request in batch.requests)]
    _check_context(loaded.lm.config, left, params.max_new_tokens)
    if loaded.lm.device.type != "cpu" or workers == 1 or len(left) == 1:
        for batch in left:
            yield from _write(batch)
        return
    yield from in_processes(min(workers, len(left)), _start_worker, (model, params), _write, left)


def _complete_on_cluster(model: Path, requests: list[Request], params: SamplingParams) -> Iterator[list[Completion]]:
    """The same batches, written by workers on the cluster; here no weights are loaded."""
    from transformers import AutoConfig

    quiet_libraries()
    tokenizer = load_tokenizer(model)
    made = batches(requests, params, lambda prompt: prompt_ids(tokenizer, prompt))
    left = [batch for batch in made if not all(request.done for request in batch.requests)]
    config = AutoConfig.from_pretrained(str(start_of(model) if is_adapter(model) else model))
    _check_context(config, left, params.max_new_tokens)
    yield from on_cluster(model, _start_worker, (params,), _write, left)


def _load(model: str, params: SamplingParams) -> _Loaded:
    global _loaded
    quiet_libraries()
    tokenizer = load_tokenizer(model)
    lm = load_model(model, params.dtype)
    ends = lm.generation_config.eos_token_id
    named = ends if isinstance(ends, list) else [ends]
    end_tokens = frozenset(token for token in [*named, tokenizer.eos_token_id] if token is not None)
    stop_texts = StopTexts(params.stop, tokenizer) if params.stop else None
    _loaded = _Loaded(lm, tokenizer, params, end_tokens, stop_texts, fitting.why_not(lm))
    return _loaded


def _start_worker(model: str, params: SamplingParams) -> None:
    if _loaded is None:  # spawned or on a cluster, not forked
        limit_threads(1)
        _load(model, params)


def _write(batch: Batch) -> Iterator[list[Completion]]:
    """Write one batch in this process."""
    open_of = Counter(request.task_id for request in batch.requests)
    finished: dict[str, list[Completion]] = {task_id: [] for task_id in open_of}
    for some in _written(batch):
        for one in some:
            request = batch.requests[one.place]
            finished[request.task_id].append(_completion(request, one))
            open_of[request.task_id] -= 1
        complete = [task_id for task_id in finished if not open_of[task_id]]
        if complete:
            yield [row for task_id in complete for row in finished.pop(task_id)]


def _written(batch: Batch) -> Iterator[list[decoding.Written]]:
    assert _loaded is not None
    params = _loaded.params
    streams = [None if r.greedy else candidate_stream(r.seed, r.task_id, r.candidate_idx) for r in batch.requests]
    sampler = Sampler(streams, params.temperature, params.top_k, params.top_p, params.min_p)
    pad = _loaded.tokenizer.pad_token_id
    model = decoding.Model(_loaded.lm, fitting.layers(_loaded.lm), _loaded.end_tokens, pad)
    write = decoding.write if _loaded.why_not is None else write_by_generate
    return write(model, batch.prompts, batch.prompt_of, sampler, params.max_new_tokens, _loaded.stop_texts)


def _completion(request: Request, written: decoding.Written) -> Completion:
    assert _loaded is not None
    if math.isnan(written.logprob):
        raise DataError(
            f"{request.task_id}: the model computes NaN", hint="dtype: float32; a model that diverged is trained anew"
        )
    tokens = written.tokens
    ended = tokens[-1] in _loaded.end_tokens
    text = _loaded.tokenizer.decode(
        tokens[:-1] if ended else tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    text, stopped = _loaded.stop_texts.cut(text) if _loaded.stop_texts else (text, False)
    logprob = round(written.logprob, 3)
    return Completion(request.task_id, request.candidate_idx, text, len(tokens), ended or stopped, logprob, stopped)


def _check_context(config: Any, left: Iterable[Batch], max_new_tokens: int) -> None:
    context = getattr(config, "max_position_embeddings", None)
    if context is None:
        return
    if max_new_tokens >= context:
        raise ConfigError(f"max_new_tokens: must be below the model's context of {context} (found {max_new_tokens})")
    for batch in left:
        for request, place in zip(batch.requests, batch.prompt_of, strict=True):
            length = len(batch.prompts[place])
            if length + max_new_tokens > context:
                raise DataError(
                    f"{request.task_id}: prompt of {length} tokens + max_new_tokens {max_new_tokens} "
                    f"exceed the model's context of {context}",
                    hint="lower max_new_tokens, or leave the problem out",
                )
