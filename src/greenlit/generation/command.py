"""The command behind `greenlit generate`: prompts in, samples out, without the pipeline.

Unfinished samples lie in OUT.partial/, with what they are made from; the same command goes on from there.
"""

import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from greenlit.config import EndpointParams, SamplingParams
from greenlit.config.machine import VLLM_CPU, WHY, has_cuda
from greenlit.errors import ConfigError
from greenlit.generation.prompt_files import read_prompts, sample_row
from greenlit.generation.sample import sample
from greenlit.jsonl import atomic_write, first_fault, read_json, write_json
from greenlit.models import source_of, write_pointer
from greenlit.stage.hardware import limit_threads, quiet_libraries, workers
from greenlit.stage.stopping import Stopped
from greenlit.stage.workspace import sha256_file

MADE_FROM = "made_from.json"


@dataclass(frozen=True)
class Options:
    """As they stand on the command line."""

    prompts: Path
    model: str
    out: Path
    n: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    stop: list[str]
    max_new_tokens: int
    seed: int
    backend: str
    dtype: str
    batch_size: int
    chat: bool | None


def generate_command(options: Options) -> int:
    """Sample all prompts, and write the samples where they are to be; return the exit code.

    Raises:
        GreenlitError: a prompt, flag or model that cannot be used; the endpoint failed; the budget is used up.
    """
    try:
        _generate(options)
    except Stopped as stopped:
        print(f"stopped by {stopped.name}; the same command goes on from there", file=sys.stderr)
        return stopped.exit_code
    return 0


def _generate(options: Options) -> None:
    if options.out.exists():
        raise ConfigError(f"--out: {options.out} is there already", hint="name another file, or remove this one")
    quiet_libraries()
    limit_threads(1)
    params, greedy = sampling_of(options)
    problems = {problem.task_id: problem for problem in read_prompts(options.prompts)}
    partial = options.out.with_name(f"{options.out.name}.partial")
    _take_up(partial, options)
    model = model_of(options.model, params, partial)
    rows = sample(
        model,
        list(problems.values()),
        params,
        seed=options.seed,
        greedy=greedy,
        sampled=not greedy,
        work=partial,
        workers=workers(),
        label="generate",
    )
    with atomic_write(options.out) as stream:
        count = 0
        for row in rows:
            named = row if row.served_by else row.model_copy(update={"model": source_of(model)})
            stream.write(json.dumps(sample_row(problems[row.task_id], named)) + "\n")
            count += 1
    shutil.rmtree(partial)
    print(f"{options.out}: {count} samples of {len(problems)} prompts", file=sys.stderr)


def sampling_of(options: Options) -> tuple[SamplingParams, bool]:
    """The settings, and whether only the greedy completion is wanted (`--temperature 0`).

    Raises:
        ConfigError: a flag has a value that is none; vLLM is asked for without a GPU.
    """
    greedy = options.temperature == 0
    if greedy and options.n > 1:
        raise ConfigError(f"--n: at temperature 0 there is one completion per prompt (found {options.n})")
    local = Path(options.model).is_dir()
    chat = options.chat if options.chat is not None or local else True
    named = EndpointParams(model=None if local else options.model, chat=chat)
    settings: dict[str, Any] = {
        key: getattr(options, key)
        for key in ("n", "top_p", "top_k", "min_p", "stop", "max_new_tokens", "backend", "dtype", "batch_size")
    }
    try:
        params = SamplingParams(**settings, temperature=options.temperature or 1.0, openai=named)
    except ValidationError as error:
        place, _, what = first_fault(error).partition(":")
        raise ConfigError(f"--{place.replace('_', '-')}:{what}") from None
    if params.backend == "vllm" and not has_cuda() and os.environ.get(VLLM_CPU) != "1":
        raise ConfigError(f"--backend vllm: {WHY}", hint="--backend openai reaches a vLLM server elsewhere")
    return params, greedy


def model_of(model: str, params: SamplingParams, work: Path) -> Path:
    """The model's directory; one that points to the hub for a model that is no directory here.

    Raises:
        DataError: neither a directory nor a model of the hub.
    """
    if Path(model).is_dir():
        return Path(model)
    if params.backend == "openai":  # the endpoint knows it by this name
        return Path(model)
    pointer = work / "model"
    if not (pointer / "pointer.json").exists():
        write_pointer(model, None, pointer, "--model")
    return pointer


def _take_up(partial: Path, options: Options) -> None:
    """The folder of unfinished samples: a new one, or the one that the same command left.

    Raises:
        ConfigError: it was begun with other options.
    """
    made_from = {key: value for key, value in asdict(options).items() if key not in {"prompts", "out"}}
    made_from["prompts_sha256"] = sha256_file(options.prompts)
    file = partial / MADE_FROM
    if not file.exists():
        write_json(file, made_from)
        return
    before = read_json(file)
    differing = sorted(key for key in made_from.keys() | before.keys() if made_from.get(key) != before.get(key))
    if differing:
        raise ConfigError(
            f"{partial}: unfinished samples with another {', '.join(differing)}",
            hint="name another --out, remove that folder, or give the same options to go on",
        )
