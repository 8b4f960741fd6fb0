"""One way to sample for generation.py, as a process of its own.

    python generation_run.py WAY SETTINGS.json OUT.json

Every way gets the same prompts and the same model, samples n completions of each, and then writes one greedily. What is
measured is the sampling alone: the model is loaded and has written before. All tokens count, end tokens included.
"""

import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from greenlit.config import GenerateParams
from greenlit.generation import transformers as backend
from greenlit.generation.request import Request
from greenlit.stage.hardware import limit_threads, quiet_libraries

Settings = dict[str, Any]
Rows = list[list[int]]
"""Token ids of completions, prompt by prompt, with their end tokens."""
Write = Callable[[int, bool, int], Rows]
"""(n, greedy, count): n completions, sampled or greedy, of each of the first `count` prompts."""


def loaded(settings: Settings) -> tuple[Any, Any, Rows]:
    """Model, tokenizer and the prompts' token ids, the longest first as all ways want them."""
    from greenlit.models import load_model, load_tokenizer
    from greenlit.problems.prompts import prompt_ids

    tokenizer = load_tokenizer(settings["model"])
    ids = [prompt_ids(tokenizer, prompt) for prompt in settings["prompts"]]
    return load_model(settings["model"], "float32"), tokenizer, ids


def by_generate(settings: Settings, size: int) -> Write:
    """transformers' `generate`, `size` completions together, sampled by torch."""
    import torch
    from transformers import GenerationConfig

    lm, tokenizer, ids = loaded(settings)

    def write(n: int, greedy: bool, count: int) -> Rows:
        config = GenerationConfig(
            max_new_tokens=settings["max_new_tokens"], do_sample=not greedy, temperature=1.0, top_k=0, top_p=1.0,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        order = sorted(range(count), key=lambda place: -len(ids[place]))
        places = [place for place in order for _ in range(n)]
        rows: dict[int, Rows] = {place: [] for place in order}
        for batch in batched(places, size):
            inputs = tokenizer.pad({"input_ids": [ids[place] for place in batch]}, return_tensors="pt")
            with torch.inference_mode():
                output = lm.generate(**inputs, generation_config=config)
            for place, row in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
                rows[place].append(to_end(row, tokenizer.eos_token_id))
        return list(itertools.chain.from_iterable(rows[place] for place in range(count)))

    return write


def by_trl(settings: Settings) -> Write:
    """What GRPOTrainer calls for its completions."""
    from datasets import Dataset
    from transformers import GenerationConfig
    from trl import GRPOConfig, GRPOTrainer

    lm, tokenizer, ids = loaded(settings)
    n, folder = settings["n"], tempfile.mkdtemp(prefix="greenlit-generation-")
    arguments = GRPOConfig(
        output_dir=folder, use_cpu=True, bf16=False, report_to=[], num_generations=n, per_device_train_batch_size=n,
        max_completion_length=settings["max_new_tokens"], temperature=1.0, gradient_checkpointing=False, beta=0.0,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=lm, args=arguments, processing_class=tokenizer,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in settings["prompts"]]),
    )  # fmt: skip
    lm.eval()
    sampled = trainer.generation_config
    greedily = GenerationConfig(**{**sampled.to_dict(), "do_sample": False, "temperature": None, "top_k": None})

    def write(n: int, greedy: bool, count: int) -> Rows:
        trainer.generation_config = greedily if greedy else sampled
        repeated = [one for one in ids[:count] for _ in range(n)]
        return [
            list(row)
            for batch in batched(repeated, settings["batch_size"])
            for row in trainer._generate_single_turn(batch, None, {}, n)[0]
        ]

    return write


def by_ours(settings: Settings, processes: int, threads: int) -> Write:
    """The transformers backend as `generate` calls it, with sampling that repeats."""
    from greenlit.models import load_tokenizer

    backend.limit_threads = lambda _: limit_threads(threads)
    tokenizer = load_tokenizer(settings["model"])
    params = GenerateParams(
        n=settings["n"], max_new_tokens=settings["max_new_tokens"], batch_size=settings["batch_size"]
    )
    kept: dict[tuple[str, int], list[int]] = {}
    completion = backend._completion

    def noted(request: Request, written: Any) -> Any:
        kept[request.task_id, request.candidate_idx] = written.tokens
        return completion(request, written)

    def write(n: int, greedy: bool, count: int) -> Rows:
        places = [(f"{at}", index) for at in range(count) for index in ([-1] if greedy else range(n))]
        asked = [Request(name, index, settings["prompts"][int(name)], 0) for name, index in places]
        # The tokens themselves are noted in this process only; of samples their number is enough.
        backend._completion = noted if greedy else completion
        streamed = backend.complete(settings["model"], asked, params, 1 if greedy else processes)
        made = {(one.task_id, one.candidate_idx): one for some in streamed for one in some}
        return [kept[place] if greedy else [tokenizer.eos_token_id] * made[place].tokens for place in places]

    return write


def by_vllm(settings: Settings) -> Write:
    """vLLM in this process, n samples of a prompt in one request, with prefix caching."""
    from vllm import LLM, SamplingParams

    ids = loaded(settings)[2]
    engine = LLM(settings["model"], dtype="float32", enable_prefix_caching=True, disable_log_stats=True)

    def write(n: int, greedy: bool, count: int) -> Rows:
        sampling = SamplingParams(
            n=1 if greedy else n, temperature=0.0 if greedy else 1.0, max_tokens=settings["max_new_tokens"]
        )
        made = engine.generate([{"prompt_token_ids": one} for one in ids[:count]], sampling, use_tqdm=False)
        return [list(one.token_ids) for answer in made for one in answer.outputs]

    return write


WAYS: dict[str, Callable[[Settings], Write]] = {
    "one by one": lambda settings: by_generate(settings, 1),
    "batched": lambda settings: by_generate(settings, settings["batch_size"]),
    "trl": by_trl,
    "ours": lambda settings: by_ours(settings, 1, 1),
    "ours, 2 processes": lambda settings: by_ours(settings, 2, 1),
    "ours, 2 threads": lambda settings: by_ours(settings, 1, 2),
    "vllm": by_vllm,
}


def batched(rows: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Lists of `size` rows."""
    stream = iter(rows)
    while batch := list(itertools.islice(stream, size)):
        yield batch


def to_end(row: list[int], end: int) -> list[int]:
    """Up to and with the end token."""
    return row[: row.index(end) + 1] if end in row else row


def cpu_s() -> float:
    """CPU seconds of this process, and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    way, source, out = sys.argv[1:]
    settings = json.loads(Path(source).read_text())
    quiet_libraries()
    limit_threads(1)
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    write = WAYS[way](settings)
    greedy = write(1, True, len(settings["prompts"]))  # also warms up
    before = time.perf_counter(), cpu_s()
    rows = write(settings["n"], False, settings["sampled"])
    wall, cpu = time.perf_counter() - before[0], cpu_s() - before[1]
    assert len(rows) == settings["n"] * settings["sampled"]
    Path(out).write_text(
        json.dumps({"way": way, "tokens": sum(map(len, rows)), "wall_s": wall, "cpu_s": cpu, "greedy": greedy})
    )


if __name__ == "__main__":
    main()
