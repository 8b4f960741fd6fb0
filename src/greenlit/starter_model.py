"""The starter model: a tiny Llama built from scratch and warm-started on programs of mixed quality.

A compact loop instead of transformers' Trainer: it computes logits only where a completion is predicted, packs rows of
like length into a batch without an attention mask (right padding under causal attention needs none), and starts
without Trainer's imports; on this model size those three decide the time.

The tokenizer is byte-level BPE, so any text goes through. Its merges may span words of a line (`x for x in nums if `
becomes few tokens), which more than halves the length of rows; they never span a line's end, a number's edge or the
edge of a name with an underscore, so that prompt and completion meet at a token boundary and a function's name has the
same tokens in the prompt and in the program.
"""

import io
import itertools
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from greenlit.config import StarterModelParams
from greenlit.jsonl import atomic_write
from greenlit.problems.starter import corpus
from greenlit.problems.starter.corpus import Row

Progress = Callable[[int, int, float], None]
Encoded = tuple[list[int], int]
"""Token ids of prompt, completion and EOS, and how many of them are prompt."""

EOS, PAD = "<|end|>", "<|pad|>"
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.05
SAVE_EVERY_S = 5.0
"""Seconds between the states that an interrupted warm start goes on from."""
WARMUP, HOLD = 0.05, 0.30
"""Shares of the steps at which the warm-up and the plateau end (warm-up, stable, decay)."""
_TOKENIZER_ROWS = 4000
_LONGEST_TOKEN = 24
_BATCHES_SORTED_TOGETHER = 16
_PIECES = r"\n *|(?:assert|def) |[a-z]+(?:_[a-z]+)+|\d+|(?:(?!(?:assert|def) |\b[a-z]+_[a-z])[^\n\d])+"


def build_starter(
    params: StarterModelParams, seed: int, out: Path, progress: Progress | None = None, work: Path | None = None
) -> dict[str, float | int]:
    """Build, warm-start and save the starter model; `out` appears whole, or not at all.

    Args:
        progress: called after each step with (step from 1, steps, loss in nats per token).
        work: folder for the unfinished model; one that is found there is finished, to the same bytes.

    Returns:
        Facts: parameters, vocabulary, tokens seen, and the loss of the last tenth of the steps.
    """
    import torch

    rows = list(corpus(seed, params.rows))
    tokenizer = train_tokenizer(rows, params)
    sequences = encode(tokenizer, rows)
    with torch.random.fork_rng(), _one_thread():
        torch.manual_seed(seed)
        model = make_model(params, tokenizer)
        losses, tokens = _warm_start(model, sequences, params, seed, progress, work and work / "warm_start.pt")
    _save(model, tokenizer, out)
    tail = losses[-max(1, len(losses) // 10) :]
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "vocabulary": len(tokenizer),
        "rows": len(rows),
        "tokens": tokens,
        "loss": sum(tail) / len(tail),
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread: the same bytes on any number of cores, and no spinning barriers on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_tokenizer(rows: Sequence[Row], params: StarterModelParams) -> Any:
    """Byte-level BPE on the corpus, as a PreTrainedTokenizerFast without a BOS token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=params.vocabulary,
        min_frequency=8,
        max_token_length=_LONGEST_TOKEN,
        special_tokens=[EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (row.prompt + row.completion for row in rows[:_TOKENIZER_ROWS])
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=params.context,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def make_model(params: StarterModelParams, tokenizer: Any) -> Any:
    """A LlamaForCausalLM with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=params.hidden,
            intermediate_size=params.intermediate,
            num_hidden_layers=params.layers,
            num_attention_heads=params.heads,
            num_key_value_heads=params.heads,
            max_position_embeddings=params.context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def learning_rate_share(step: int, steps: int) -> float:
    """Share of the peak learning rate at a step (from 0): warm-up, plateau, linear decay to zero."""
    warm, hold = max(1, math.ceil(WARMUP * steps)), HOLD * steps
    if step < warm:
        return (step + 1) / warm
    return 1.0 if step < hold else (steps - step) / (steps - hold)


def encode(tokenizer: Any, rows: Sequence[Row]) -> list[Encoded]:
    """Token ids of the rows, each ended by EOS."""
    prompts = tokenizer([row.prompt for row in rows])["input_ids"]
    completions = tokenizer([row.completion for row in rows])["input_ids"]
    return [
        (prompt + completion + [tokenizer.eos_token_id], len(prompt))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _batches(sequences: Sequence[Encoded], size: int, steps: int, seed: int) -> Iterator[list[Encoded]]:
    """Yield `steps` batches of rows of like length, in random order; each pass over the rows is shuffled anew."""
    random = Random(f"{seed}/batches")
    ready: list[list[Encoded]] = []
    queue: list[Encoded] = []
    for _ in range(steps):
        if not ready:
            while len(queue) < size * _BATCHES_SORTED_TOGETHER:
                queue += random.sample(sequences, len(sequences))
            window = sorted(queue[: size * _BATCHES_SORTED_TOGETHER], key=lambda sequence: len(sequence[0]))
            queue = queue[size * _BATCHES_SORTED_TOGETHER :]
            ready = [window[start : start + size] for start in range(0, len(window), size)]
            random.shuffle(ready)
        yield ready.pop()


def _warm_start(
    model: Any,
    sequences: Sequence[Encoded],
    params: StarterModelParams,
    seed: int,
    progress: Progress | None,
    unfinished: Path | None,
) -> tuple[list[float], int]:
    """Cross-entropy on completions; returns the loss of every step and the number of tokens seen."""
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=params.learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )
    losses: list[float] = []
    tokens = 0
    if unfinished and unfinished.exists():
        state = torch.load(unfinished, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        losses, tokens = state["losses"], state["tokens"]
    model.train()
    saved_at = time.monotonic()
    batches = itertools.islice(_batches(sequences, params.batch_size, params.steps, seed), len(losses), None)
    for step, batch in enumerate(batches, start=len(losses)):
        for group in optimizer.param_groups:
            group["lr"] = params.learning_rate * learning_rate_share(step, params.steps)
        loss = completion_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        tokens += sum(len(ids) for ids, _ in batch)
        if progress:
            progress(step + 1, params.steps, losses[-1])
        if unfinished and time.monotonic() - saved_at >= SAVE_EVERY_S:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            packed = io.BytesIO()
            torch.save({**state, "losses": losses, "tokens": tokens}, packed)
            with atomic_write(unfinished) as stream:
                stream.buffer.write(packed.getbuffer())
            saved_at = time.monotonic()
    return losses, tokens


def completion_loss(model: Any, batch: Sequence[Encoded]) -> Any:
    """Mean cross-entropy in nats over the completions' tokens."""
    import torch

    width = max(len(ids) for ids, _ in batch)
    pad = model.config.pad_token_id
    ids_B_T = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in batch])
    predicts_B_T = torch.tensor([[prompt - 1 <= at < len(ids) - 1 for at in range(width)] for ids, prompt in batch])
    hidden_B_T_H = model.model(input_ids=ids_B_T).last_hidden_state
    logits_N_V = model.lm_head(hidden_B_T_H[predicts_B_T])
    return torch.nn.functional.cross_entropy(logits_N_V, ids_B_T.roll(-1, dims=1)[predicts_B_T])


def _save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write to a temporary sibling, then move it into place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        part.chmod(0o755)
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        if out.exists():
            shutil.rmtree(out)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
