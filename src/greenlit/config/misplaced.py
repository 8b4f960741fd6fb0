"""A setting that a method does not have: why not, which methods do, and what it is called here."""

from typing import get_args

from greenlit.config.section import Section
from greenlit.config.training import MethodParams, RewardModelParams

REWARD_MODEL = "reward_model"
KINDS: dict[str, type[Section]] = {
    get_args(kind.model_fields["method"].annotation)[0]: kind for kind in get_args(get_args(MethodParams)[0])
} | {REWARD_MODEL: RewardModelParams}
"""The classes that stand under `methods`, by their `method`, and the one under `reward_models`."""

ELSEWHERE = {
    "alpha": "lora: {alpha: ...}",
    "base_model": "base.model at the top level, and `start` for one method",
    "bf16": "dtype: bfloat16",
    "cliprange": "clip_range",
    "data_path": "reads",
    "dropout": "lora: {dropout: ...}",
    "episodes": "epochs, or max_steps",
    "epsilon": "clip_range",
    "eval_strategy": "eval_steps",
    "exec_timeout": "annotate: {timeout_s: ...} at the top level",
    "gae_lambda": "lam",
    "generation_temp": "temperature",
    "gradient_accumulation_steps": "accumulate",
    "kl_coef": "beta",
    "load_in_4bit": "quantize: 4bit",
    "logging_steps": "nothing: every step is logged",
    "lora_alpha": "lora: {alpha: ...}",
    "lora_dropout": "lora: {dropout: ...}",
    "lora_r": "lora: {r: ...}",
    "lora_rank": "lora: {r: ...}",
    "lr": "learning_rate",
    "lr_scheduler_type": "schedule",
    "max_completion_length": "max_new_tokens",
    "max_prompt_length": "max_length, which bounds prompt + completion",
    "max_seq_length": "max_length",
    "max_tokens": "max_new_tokens",
    "mixed_precision": "dtype",
    "model": "base.model at the top level, and `start` for one method",
    "num_generations": "group_size",
    "num_return_sequences": "group_size",
    "num_train_epochs": "epochs",
    "output_dir": "nothing: results lie in results/<experiment>/<method>/",
    "per_device_train_batch_size": "batch_size",
    "r": "lora: {r: ...}",
    "reward_scale": "rewards: {scale: ...} at the top level",
    "save_total_limit": "keep_checkpoints",
    "seed": "seed at the top level",
    "target_modules": "lora: {target_modules: ...}",
    "use_lora": "lora: {} for an adapter, lora: null for all weights",
    "use_qlora": "quantize: 4bit",
    "use_vllm": "vllm: {}, on a CUDA GPU",
    "value_loss_coef": "value_coef",
    "vf_coef": "value_coef",
    "warmup_steps": "warmup_ratio",
}
"""What other tools, and the four earlier projects, call a setting of a method → what it is here."""

ELSEWHERE_SAMPLING = {
    "do_sample": "nothing: the greedy completion is made besides the samples",
    "generation_temp": "temperature",
    "max_tokens": "max_new_tokens",
    "model": "base.model at the top level; at an endpoint openai: {model: ...}",
    "num_candidates": "n",
    "num_return_sequences": "n",
    "num_samples": "n",
    "provider": "backend",
    "stop_sequences": "stop",
    "tensor_parallel_size": "vllm: {tensor_parallel_size: ...}",
    "torch_dtype": "dtype",
    "use_vllm": "backend: vllm, on a CUDA GPU; or backend: auto, which takes vLLM where it can",
}
"""What other tools call a setting of `generate` and `evaluate` → what it is here."""

_SAMPLES = "it learns from the rows of a file and samples nothing itself"
_ONE_STEP = "it learns from each batch once, so that there is no older policy to stay near"
_BASELINE = "it has no value function: the other completions of a group are its baseline"
_NO_PAIRS = "it learns from no preference pairs"
_OFFLINE = ("sft", "dpo", REWARD_MODEL)
_WHY_NOT: dict[str, dict[str, str]] = {
    "beta": {
        "sft": "it has no reference model to stay near",
        REWARD_MODEL: "it has no reference model to stay near",
    },
    "entropy_coef": {"": "its loss has no entropy term in TRL", **dict.fromkeys(_OFFLINE, _SAMPLES)},
    "center": {"": "it trains no reward"},
    "loss_type": {"": "it has one loss"},
    "loss_weights": {"": "it has one loss"},
    "sft_weight": {"sft": "likelihood is its whole loss", "": _NO_PAIRS, REWARD_MODEL: "it is no language model"},
    "label_smoothing": {"": _NO_PAIRS, REWARD_MODEL: "TRL's loss of reward models has none"},
    "clip_range": dict.fromkeys(_OFFLINE, _ONE_STEP),
    "clip_range_high": {"": "it clips both ways alike (clip_range)", **dict.fromkeys(_OFFLINE, _ONE_STEP)},
    "iterations": dict.fromkeys(_OFFLINE, "its passes over the data are `epochs`"),
    "scale_rewards": {"rloo": "see normalize_advantages", "ppo": "see whiten"},
    "normalize_advantages": {"grpo": "see scale_rewards", "ppo": "see whiten"},
    "whiten": {"grpo": "see scale_rewards", "rloo": "see normalize_advantages"},
    "minibatch_size": {"": "a batch is one optimizer step (batch_size, accumulate)"},
    "kl": {"": "the weight of its KL divergence stays what it is (beta)"},
    "kl_target": {"": "the weight of its KL divergence stays what it is (beta)"},
    **{key: {"": _BASELINE} for key in ("gamma", "lam", "value_coef", "value_clip", "value_learning_rate")},
}
"""Setting → method → why it has none; "" stands for every method that is not named."""


def why_not(key: str, kind: str) -> tuple[str, str] | None:
    """In words why a method has no such setting, and a hint; None for a name that means nothing here.

    Args:
        kind: a key of KINDS.
    """
    own = KINDS[kind].model_fields
    here = ELSEWHERE.get(key, key)
    if here in own or (key in ELSEWHERE and not _having(here)):
        return "unknown key", f"here it is {here}"
    having = _having(here)
    if not having:
        return None
    also = f", which is `{key}` elsewhere" if here != key else ""
    return f"{kind} has no `{here}`{also}: {_reason(here, kind)}", f"{_listed(having)} {_have(having)} it"


def _reason(key: str, kind: str) -> str:
    reasons = _WHY_NOT.get(key, {})
    if kind in _OFFLINE and not any(key in KINDS[one].model_fields for one in _OFFLINE) and kind not in reasons:
        return _SAMPLES
    return reasons.get(kind) or reasons.get("") or "its trainer has no such thing"


def _having(key: str) -> list[str]:
    return [name for name, kind in KINDS.items() if key in kind.model_fields and key != "method"]


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _have(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"
