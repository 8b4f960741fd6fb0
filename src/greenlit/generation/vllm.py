"""The vllm backend: https://docs.vllm.ai, one engine in a process of its own for each copy of the model.

All outstanding problems go to `LLM.generate` in chunks, n samples each, with the prompts' shared beginnings computed
once (prefix caching). A sample's seed is decided by (seed, task_id, candidate_idx); see `seeds`. On a GPU vLLM does not
promise the same sample for the same seed in other batches.

A model directory that holds a LoRA adapter (adapter_config.json) is asked as it is: its base model is loaded, the
adapter is not merged. GREENLIT_VLLM_CPU=1 lets the package vllm-cpu generate without a GPU, which is for tests: there
it is no faster than transformers.
"""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlit.config import SamplingParams
from greenlit.config.machine import VLLM_CPU, WHY, has_cuda
from greenlit.errors import ConfigError, GreenlitError, WorldError
from greenlit.generation.backend import More, no_more
from greenlit.generation.request import Completion, Request
from greenlit.generation.runs import Run, runs_of
from greenlit.stage.entry import end_with_parent
from greenlit.stage.faults import first_line
from greenlit.stage.hardware import gpus, quiet_libraries

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

CHUNK = 4
"""Samples of one chunk, in sequences that are generated together: few enough to lose little, enough to keep the engine
full."""
LONGEST_END_S = 20.0
"""Seconds that an engine has to give its GPU back."""
_MAX_RANK = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM makes room for."""


def complete(
    model: Path, requests: list[Request], params: SamplingParams, workers: int, more: More = no_more
) -> Generator[list[Completion], None, None]:
    """Yield the completions of one chunk after the other.

    Args:
        workers: has no meaning here; `vllm.data_parallel_size` does.

    Raises:
        ConfigError: vLLM is not installed, or there is no GPU for it.
        DataError: a prompt and max_new_tokens do not fit into the model's context.
        WorldError: an engine did not start in time, or died.
    """
    chunks = _chunks(list(runs_of(requests)), CHUNK * params.vllm.max_num_seqs)
    if not chunks:
        return
    _require()
    engines = _Engines(model, params)
    try:
        engines.wait_until_ready()
        while chunks:
            yield from engines.completions(chunks)
            chunks = _chunks(list(runs_of(more())), CHUNK * params.vllm.max_num_seqs)
    finally:
        engines.close()


def _chunks(runs: list[Run], samples: int) -> list[list[Run]]:
    """Consecutive runs of together about so many samples."""
    chunks: list[list[Run]] = []
    room = 0
    for run in runs:
        if room < run.count:
            chunks.append([])
            room = samples
        chunks[-1].append(run)
        room -= run.count
    return chunks


def _require() -> None:
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        raise ConfigError(
            "backend: vllm: vLLM is not installed",
            hint="on a CUDA machine: pip install -r requirements-gpu.txt -c requirements.lock",
        )
    if not has_cuda() and os.environ.get(VLLM_CPU) != "1":
        raise ConfigError(f"backend: vllm: {WHY}", hint="backend: transformers, or openai with a vLLM server elsewhere")


class _Engines:
    """`data_parallel_size` engines, each in a process of its own on GPUs of its own."""

    def __init__(self, model: Path, params: SamplingParams) -> None:
        self.params = params
        self._processes: dict[connection.Connection, SpawnProcess] = {}
        context = get_context("spawn")  # CUDA does not survive a fork
        for devices in _devices(params):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, str(model), params, devices))
            process.start()
            theirs.close()
            self._processes[ours] = process

    def wait_until_ready(self) -> None:
        """Until every engine has loaded the model.

        Raises:
            WorldError: it takes longer than `vllm.start_timeout_s`.
        """
        limit = self.params.vllm.start_timeout_s
        until = time.monotonic() + limit
        waiting = set(self._processes)
        while waiting:
            ready = connection.wait(waiting, max(0.0, until - time.monotonic()))
            if not ready:
                raise WorldError(
                    f"vLLM did not start within {limit:g} s (vllm.start_timeout_s)",
                    hint="a large model takes minutes to load, the first time more: raise it; VLLM_LOGGING_LEVEL=INFO "
                    "shows what it does",
                )
            for one in ready:
                self._received(one)
                waiting.discard(one)  # type: ignore[arg-type]

    def completions(self, chunks: list[list[Run]]) -> Iterator[list[Completion]]:
        """Give every engine that is idle the next chunk."""
        todo, busy = deque(chunks), set()
        for one in self._processes:
            if todo:
                self._send(one, todo.popleft())
                busy.add(one)
        while busy:
            for one in connection.wait(busy):
                batch = self._received(one)
                if todo:
                    self._send(one, todo.popleft())
                else:
                    busy.discard(one)  # type: ignore[arg-type]
                yield batch

    def _send(self, one: Any, chunk: list[Run]) -> None:
        try:
            one.send(chunk)
        except ConnectionError:
            raise self._died(one) from None

    def _received(self, one: Any) -> list[Completion]:
        try:
            said = one.recv()
        except (EOFError, ConnectionError):
            raise self._died(one) from None
        if isinstance(said, GreenlitError):
            raise said
        return list(said)

    def _died(self, one: Any) -> WorldError:
        process = self._processes[one]
        process.join(LONGEST_END_S)
        return WorldError(
            f"vLLM's process died (exit code {process.exitcode}), most likely for lack of memory",
            hint="its own messages stand above; lower vllm.gpu_memory_utilization or max_num_seqs",
        )

    def close(self) -> None:
        """End the engines, in order if they can, and all that they started."""
        import psutil

        started: list[psutil.Process] = []
        for one, process in self._processes.items():
            with suppress(psutil.NoSuchProcess):
                engine = psutil.Process(process.pid)
                started += [engine, *engine.children(recursive=True)]
            one.close()
            process.terminate()
        _, left = psutil.wait_procs(started, LONGEST_END_S)
        for straggler in left:
            with suppress(psutil.NoSuchProcess):
                straggler.kill()
        for process in self._processes.values():
            process.join()


def _devices(params: SamplingParams) -> list[list[str] | None]:
    """For each copy of the model the GPUs that it has; None for all there are.

    Raises:
        ConfigError: there are not as many GPUs as the settings ask for.
    """
    each, copies = params.vllm.tensor_parallel_size, params.vllm.data_parallel_size
    if each * copies == 1 or not has_cuda():
        return [None] * copies
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = said.split(",") if said else [str(number) for number in range(len(gpus()))]
    if len(names) < each * copies:
        raise ConfigError(
            f"vllm: tensor_parallel_size {each} x data_parallel_size {copies} needs {each * copies} GPUs "
            f"(found {len(names)})",
            hint="lower one of them; CUDA_VISIBLE_DEVICES hides GPUs",
        )
    return [names[each * copy : each * (copy + 1)] for copy in range(copies)]


def _serve(pipe: connection.Connection, model: str, params: SamplingParams, devices: list[str] | None) -> None:
    """An engine's process: load, then chunk in, completions out, until the pipe closes."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # our parent's business
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # lets vLLM end its own processes
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    try:
        engine = _Engine(Path(model), params)
        pipe.send([])
        while True:
            pipe.send(engine.complete(pipe.recv()))
    except EOFError:
        return
    except GreenlitError as error:
        pipe.send(error)
    except Exception as error:
        pipe.send(_as_ours(error))


def _as_ours(error: Exception) -> GreenlitError:
    told = f"vLLM: {first_line(error)}"
    if isinstance(error, ValueError | TypeError):  # what it was asked for
        return ConfigError(told, hint="its own messages stand above")
    return WorldError(told, hint="its own messages stand above; what was sampled is kept")


class _Engine:
    """vLLM with one model."""

    def __init__(self, model: Path, params: SamplingParams) -> None:
        from greenlit.models import is_adapter, load_tokenizer, start_of

        quiet_libraries()
        for name, value in _quiet().items():
            os.environ.setdefault(name, value)
        from vllm import LLM

        self.params, self.adapter = params, model if is_adapter(model) else None
        self.tokenizer = load_tokenizer(model)
        start = start_of(model) if self.adapter else model
        self.llm = LLM(model=str(start), **engine_arguments(params, self.adapter))
        self.context = self.llm.model_config.max_model_len

    def complete(self, runs: list[Run]) -> list[Completion]:
        """All samples of the runs."""
        from vllm.lora.request import LoRARequest

        from greenlit.problems.prompts import prompt_ids

        ids = [prompt_ids(self.tokenizer, run.prompt) for run in runs]
        for run, tokens in zip(runs, ids, strict=True):
            _check_context(run, len(tokens), self.params.max_new_tokens, self.context)
        outputs = self.llm.generate(
            [{"prompt_token_ids": tokens} for tokens in ids],
            [self._sampling(run) for run in runs],
            use_tqdm=False,
            lora_request=LoRARequest("adapter", 1, str(self.adapter)) if self.adapter else None,
        )
        found = zip(runs, outputs, strict=True)
        return [_completion(run, one, self.tokenizer) for run, output in found for one in output.outputs]

    def _sampling(self, run: Run) -> Any:
        from vllm import SamplingParams as Sampling

        params = self.params
        shared = {"max_tokens": params.max_new_tokens, "logprobs": 0, "stop": params.stop or None}
        if run.greedy:
            return Sampling(temperature=0.0, **shared)
        return Sampling(
            n=run.count,
            seed=run.request_seed,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            min_p=params.min_p,
            **shared,
        )


def engine_arguments(params: SamplingParams, adapter: Path | None) -> dict[str, Any]:
    """What vLLM's engine is told."""
    told: dict[str, Any] = {
        "dtype": params.dtype,
        "seed": 0,  # every request has its own
        "enable_prefix_caching": True,
        "tensor_parallel_size": params.vllm.tensor_parallel_size,
        "max_model_len": params.vllm.max_model_len,
        "max_num_seqs": params.vllm.max_num_seqs,
        "enforce_eager": params.vllm.enforce_eager,
        "logprobs_mode": "raw_logprobs",
    }
    if has_cuda():
        told["gpu_memory_utilization"] = params.vllm.gpu_memory_utilization
    else:  # its CPU build dies where a seeded prompt is prefilled in parts (vllm-cpu 0.32.0)
        told |= {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 32768}
    if adapter is not None:
        from greenlit.jsonl import read_json

        rank = int(read_json(adapter / "adapter_config.json")["r"])
        told |= {"enable_lora": True, "max_lora_rank": next((most for most in _MAX_RANK if most >= rank), rank)}
    return told


def _quiet() -> dict[str, str]:
    """Its environment, where the user says nothing else: no telemetry, warnings only, on stderr."""
    said = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_LOGGING_STREAM": "ext://sys.stderr", "VLLM_NO_USAGE_STATS": "1"}
    if has_cuda():
        return said
    return said | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}


def _check_context(run: Run, length: int, max_new_tokens: int, context: int) -> None:
    from greenlit.errors import DataError

    if max_new_tokens >= context:
        raise ConfigError(f"max_new_tokens: must be below the model's context of {context} (found {max_new_tokens})")
    if length + max_new_tokens > context:
        raise DataError(
            f"{run.task_id}: prompt of {length} tokens + max_new_tokens {max_new_tokens} "
            f"exceed the model's context of {context}",
            hint="lower max_new_tokens, or leave the problem out",
        )


def _completion(run: Run, output: Any, tokenizer: Any) -> Completion:
    """Args:
    output: vLLM's CompletionOutput. Its token_ids include the end token. Its text leaves that out, and the bytes of a
        character that was cut off at the end too, which transformers decodes: so the text is decoded here.
    """
    ended, stopped = output.finish_reason == "stop", isinstance(output.stop_reason, str)
    text = output.text
    if not stopped:
        tokens = output.token_ids[:-1] if ended else output.token_ids
        text = tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    logprob = output.cumulative_logprob
    return Completion(
        task_id=run.task_id,
        candidate_idx=run.first + output.index,
        text=text,
        tokens=len(output.token_ids),
        ended=ended,
        logprob=None if logprob is None else round(float(logprob), 3),
        stopped=stopped,
    )
