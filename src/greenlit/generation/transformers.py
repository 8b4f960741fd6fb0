"""The transformers backend: one model per process, several processes, batches of whole requests.

On a CPU the processes are forked after the weights are loaded, so that they share them, and run one thread each; on an
accelerator there is one process.
"""

import ctypes
import math
import multiprocessing
import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.config import SamplingParams
from greenlit.errors import ConfigError, DataError, WorldError
from greenlit.generation.backend import Completion, Request
from greenlit.generation.sampling import GumbelMax, candidate_stream
from greenlit.models import load_model, load_tokenizer
from greenlit.problems.prompts import prompt_ids
from greenlit.stage.hardware import limit_threads, quiet_libraries
from greenlit.stage.stopping import leave_signals_alone


@dataclass(frozen=True)
class _Loaded:
    model: Any
    tokenizer: Any
    params: SamplingParams
    end_tokens: frozenset[int]


_loaded: _Loaded | None = None


def complete(
    model: Path | str, requests: list[Request], params: SamplingParams, workers: int
) -> Iterator[list[Completion]]:
    """Yield the completions of one batch after the other, in the order in which batches finish.

    A batch of which all is done is left out.

    Args:
        workers: processes on a CPU; the results do not depend on it.

    Raises:
        DataError: a prompt and max_new_tokens do not fit into the model's context; the model computes NaN.
        WorldError: a process died, e.g. for lack of memory.
    """
    batches = [batch for batch in _batches(requests, params.batch_size) if not all(request.done for request in batch)]
    if not batches:
        return
    on_accelerator = _prepare(model, params)
    if on_accelerator or workers == 1 or len(batches) == 1:
        yield from map(_generate, batches)
        return
    yield from _in_processes(model, batches, params, min(workers, len(batches)))


def _prepare(model: Path | str, params: SamplingParams) -> bool:
    """Load in this process; True when generation runs on an accelerator."""
    limit_threads(1)
    _load(str(model), params)
    assert _loaded is not None
    return _loaded.model.device.type != "cpu"


def _load(model: str, params: SamplingParams) -> None:
    global _loaded
    quiet_libraries()
    tokenizer = load_tokenizer(model)
    weights = load_model(model, params.dtype)
    ends = weights.generation_config.eos_token_id
    named = ends if isinstance(ends, list) else [ends]
    end_tokens = frozenset(token for token in [*named, tokenizer.eos_token_id] if token is not None)
    _loaded = _Loaded(weights, tokenizer, params, end_tokens)


def _start_worker(model: str, params: SamplingParams) -> None:
    _die_with_parent()
    leave_signals_alone()
    if _loaded is None:  # spawned, not forked
        limit_threads(1)
        _load(model, params)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _in_processes(
    model: Path | str, batches: list[list[Request]], params: SamplingParams, workers: int
) -> Iterator[list[Completion]]:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    before = multiprocessing.active_children()
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(str(model), params))
    try:
        for future in as_completed([pool.submit(_generate, batch) for batch in batches]):
            yield future.result()
    except BrokenProcessPool:
        raise WorldError(
            "a generating process died, most likely for lack of memory", hint="lower batch_size or GREENLIT_WORKERS"
        ) from None
    except BaseException:
        for process in multiprocessing.active_children():
            if process not in before:
                process.kill()  # a batch may take minutes
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(requests: list[Request], size: int) -> list[list[Request]]:
    """Batches of requests with prompts of like length, the longest first, so that the last batches are short ones."""
    ordered = sorted(requests, key=lambda request: -_prompt_length(request))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _prompt_length(request: Request) -> int:
    if isinstance(request.prompt, str):
        return len(request.prompt)
    return sum(len(message["content"]) for message in request.prompt)


def _generate(batch: list[Request]) -> list[Completion]:
    """Complete one batch in this process."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    assert _loaded is not None
    model, tokenizer, params = _loaded.model, _loaded.tokenizer, _loaded.params
    ids = [prompt_ids(tokenizer, request.prompt) for request in batch]
    _check_context(model, batch, ids, params.max_new_tokens)
    inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
    streams = [None if r.greedy else candidate_stream(r.seed, r.task_id, r.candidate_idx) for r in batch]
    sampler = GumbelMax(streams, params.temperature, params.top_k, params.top_p, _loaded.end_tokens)
    settings = GenerationConfig(
        max_new_tokens=params.max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(_loaded.end_tokens),
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        output = model.generate(**inputs, generation_config=settings, logits_processor=LogitsProcessorList([sampler]))
    written = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [_completion(*row) for row in zip(batch, written, sampler.logprobs_B, strict=True)]


def _completion(request: Request, tokens: list[int], logprob: float) -> Completion:
    assert _loaded is not None
    if math.isnan(logprob):
        raise DataError(
            f"{request.task_id}: the model computes NaN", hint="dtype: float32; a model that diverged is trained anew"
        )
    end = next((place for place, token in enumerate(tokens) if token in _loaded.end_tokens), None)
    kept = tokens if end is None else tokens[:end]
    text = _loaded.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    count = len(kept) + (end is not None)
    return Completion(request.task_id, request.candidate_idx, text, count, end is not None, round(float(logprob), 3))


def _check_context(model: Any, batch: Iterable[Request], ids: list[list[int]], max_new_tokens: int) -> None:
    context = getattr(model.config, "max_position_embeddings", None)
    if context is None:
        return
    if max_new_tokens >= context:
        raise ConfigError(f"max_new_tokens: must be below the model's context of {context} (found {max_new_tokens})")
    for request, tokens in zip(batch, ids, strict=True):
        if len(tokens) + max_new_tokens > context:
            raise DataError(
                f"{request.task_id}: prompt of {len(tokens)} tokens + max_new_tokens {max_new_tokens} "
                f"exceed the model's context of {context}",
                hint="lower max_new_tokens, or leave the problem out",
            )
