"""The `methods` and `reward_models` of params.yaml: settings of each training method.

A setting that a method has no use for is not there, so that params.yaml can't ask for it in vain.
"""

from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from greenlit.config.section import Section


class LoraParams(Section):
    """Low-rank adapter: https://arxiv.org/abs/2106.09685."""

    r: int = Field(default=16, ge=1)
    """Rank."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: str | list[str] = "all-linear"
    """`all-linear`, `attention`, or names of linear modules, which every architecture calls differently."""

    @field_validator("target_modules")
    @classmethod
    def _not_the_head(cls, targets: str | list[str]) -> str | list[str]:
        if targets == "lm_head" or "lm_head" in targets:
            raise ValueError("must be without lm_head: TRL reads its weights past any adapter, which would never learn")
        return targets


class TrainingParams(Section):
    """What every method has."""

    reads: str
    """File to learn from."""
    start: str
    """Model directory to start from."""
    lora: LoraParams | None = LoraParams()
    """Adapter settings; null trains all weights."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """Learning-rate schedule."""
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps that warm up."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradient clipping."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the data."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps to stop after, whatever `epochs` says; null: as many as these give."""
    batch_size: int = Field(default=32, ge=1)
    """Rows (pairs, programs) per optimizer step and process."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per optimizer step."""
    max_length: int = Field(default=1024, ge=16)
    """Longest prompt + completion in tokens; longer rows are left out and counted."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation (bfloat16: autocast)."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, more time, the same result."""
    quantize: Literal["4bit"] | None = None
    """Keep the start model's weights in 4 bits (QLoRA, https://arxiv.org/abs/2305.14314); needs `lora` and CUDA."""
    eval_rows: int = Field(default=0, ge=0)
    """Rows (pairs, programs, problems) held out of training to measure on; 0: none."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between two measurements on the rows held out; null: at the end only."""
    save_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between two checkpoints, beside those that time asks for; null: only those."""
    keep_checkpoints: int = Field(default=1, ge=0)
    """Last checkpoints, with the optimizer's state, to keep beside the result."""

    @model_validator(mode="after")
    def _adapter_on_quantized(self) -> Self:
        if self.quantize and self.lora is None:
            raise ValueError("quantize needs lora: weights in 4 bits can't be trained themselves (found lora: null)")
        return self

    @model_validator(mode="after")
    def _rows_to_measure_on(self) -> Self:
        if self.eval_steps and not self.eval_rows and type(self).model_fields["eval_rows"].default == 0:
            raise ValueError(
                f"eval_steps needs eval_rows > 0: rows to measure on (found eval_steps: {self.eval_steps})"
            )
        return self


class SftParams(TrainingParams):
    """Supervised fine-tuning on the best candidates."""

    method: Literal["sft"]
    """Key of training.METHODS."""


DPO_LOSSES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip
"""TRL's names; the papers: https://huggingface.co/docs/trl/dpo_trainer#loss-functions."""
_SMOOTHED = {"exo_pair", "robust", "aot", "aot_unpaired"}
"""Losses that `label_smoothing` is a part of."""


class DpoParams(TrainingParams):
    """Direct preference optimisation: https://arxiv.org/abs/2305.18290."""

    method: Literal["dpo"]
    """Key of training.METHODS."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the start model."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of a likelihood term on the chosen completions, next to the preference loss."""
    loss_type: str | list[str] = "sigmoid"
    """The preference loss by TRL's name, or several that are added up: sigmoid (DPO's own), hinge, ipo, exo_pair,
    nca_pair, robust, bco_pair, sppo_hard, aot, aot_unpaired, apo_zero, apo_down, discopop, sft, sigmoid_norm."""
    loss_weights: list[float] | None = None
    """Weight of each of several losses; null: 1 each."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of pairs taken to be the wrong way round, for robust, exo_pair (1e-3 is usual), aot and aot_unpaired."""

    @property
    def losses(self) -> dict[str, float]:
        """Each loss and its weight, the likelihood term last."""
        names = [self.loss_type] if isinstance(self.loss_type, str) else self.loss_type
        weights = self.loss_weights or [1.0] * len(names)
        return dict(zip(names, weights, strict=True)) | ({"sft": self.sft_weight} if self.sft_weight > 0 else {})

    @field_validator("loss_type")
    @classmethod
    def _known_losses(cls, losses: str | list[str]) -> str | list[str]:
        names = [losses] if isinstance(losses, str) else losses
        if not names:
            raise ValueError("must name a loss (found an empty list)")
        for name in names:
            if name not in DPO_LOSSES:
                close = get_close_matches(name, DPO_LOSSES, n=1)
                also = f"; did you mean {close[0]}?" if close else ""
                raise ValueError(f"must be of {', '.join(DPO_LOSSES)} (found {name[:60]!r}){also}")
        if len(set(names)) < len(names):
            raise ValueError(f"names a loss twice (found {', '.join(names)}); give it a weight instead")
        return losses

    @model_validator(mode="after")
    def _losses_fit_together(self) -> Self:
        names = [self.loss_type] if isinstance(self.loss_type, str) else self.loss_type
        if self.loss_weights is not None:
            if len(self.loss_weights) != len(names):
                raise ValueError(
                    f"loss_weights must be one per loss of loss_type (found {len(self.loss_weights)} for {len(names)})"
                )
            if min(self.loss_weights) <= 0:
                raise ValueError(f"loss_weights must be > 0 (found {min(self.loss_weights):g}); leave the loss out")
        if "sft" in names and self.sft_weight:
            raise ValueError(f"sft stands in loss_type and as sft_weight: {self.sft_weight:g}; keep one of them")
        if "exo_pair" in names and not self.label_smoothing:
            raise ValueError("exo_pair needs label_smoothing > 0: its loss has a log of it (1e-3 is usual; found 0)")
        if self.label_smoothing and not _SMOOTHED & set(names):
            raise ValueError(
                f"label_smoothing is a part of {', '.join(sorted(_SMOOTHED))} only "
                f"(found {self.label_smoothing:g} with {', '.join(names)})"
            )
        return self


class VllmParams(Section):
    """vLLM generates while training, on GPUs; null: the trainer's own model does."""

    mode: Literal["colocate", "server"] = "colocate"
    """`colocate`: on the training GPUs; `server`: `trl vllm-serve` elsewhere, whose address is VLLM_SERVER_BASE_URL."""
    gpu_memory_utilization: float = Field(default=0.3, gt=0, le=1)
    """Share of each GPU's memory for vLLM (colocate)."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one copy of the model (colocate)."""
    sleep: bool = False
    """Give that memory back between generations (colocate)."""


class OnlineParams(TrainingParams):
    """What the online methods have: they sample from the model they train, and `reads` is a file of problems.

    `batch_size` counts completions here.
    """

    group_size: int = Field(default=8, ge=1)
    """Completions per problem and step; divides `batch_size` * `accumulate`."""
    iterations: int = Field(default=1, ge=1)
    """Passes over each batch of completions."""
    temperature: float = Field(default=1.0, gt=0)
    """Softmax temperature of sampling, and of the log-probabilities."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus: smallest set of tokens with at least this probability."""
    top_k: int = Field(default=0, ge=0)
    """Keep the k likeliest tokens; 0 keeps all."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Longest completion in tokens; `max_length` bounds prompt + completion."""
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence from the start model."""
    clip_range: float = Field(default=0.2, gt=0)
    """The probability ratio is clipped to 1 - clip_range ... 1 + clip_range."""
    zero_variance: Literal["keep", "skip", "resample"] = "keep"
    """Groups whose completions all earn the same and teach nothing: keep them in the batch's mean, leave them out of
    it, or sample other problems in their place."""
    curriculum: Literal["none", "easy_first"] = "none"
    """Order of problems: shuffled, or by falling reward of the start model, which is measured on all of them first
    (`group_size` completions each)."""
    gap_alarm: float | None = Field(default=0.1, gt=0)
    """Say so when the share of completions that pass what is rewarded, less the share that pass hidden tests too,
    stays above this for 5 steps, beyond their spread; null: never."""
    gap_stops: bool = False
    """End the training on that alarm."""
    patience: int | None = Field(default=None, ge=1)
    """End the training after so many measurements on held-out problems without a new best, and keep the best one's
    weights; null: never, and keep the last ones."""
    vllm: VllmParams | None = None
    """How vLLM generates while training; null: the model that is trained does."""

    @model_validator(mode="after")
    def _whole_groups(self) -> "OnlineParams":
        completions = self.batch_size * self.accumulate
        if completions % self.group_size:
            raise ValueError(
                f"group_size must divide batch_size * accumulate (found {self.group_size} and {completions})"
            )
        if self.max_new_tokens >= self.max_length:
            raise ValueError(
                "max_new_tokens must leave room for a prompt within max_length "
                f"(found {self.max_new_tokens} and {self.max_length})"
            )
        return self


class GrpoParams(OnlineParams):
    """Group relative policy optimisation: https://arxiv.org/abs/2402.03300."""

    method: Literal["grpo"]
    """Key of training.METHODS."""
    group_size: int = Field(default=8, ge=2)
    """Completions per problem and step, compared with each other; divides `batch_size` * `accumulate`."""
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"
    """How token losses become one number: https://huggingface.co/docs/trl/grpo_trainer."""
    clip_range_high: float | None = Field(default=None, gt=0)
    """Upper clip (DAPO's clip-higher); null: `clip_range`."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Divide advantages by the standard deviation of the group, of the batch, or not (Dr. GRPO)."""
    mask_truncated: bool = False
    """Leave completions that ran out of tokens out of the loss."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of an entropy bonus, the mean over tokens in nats."""


class RlooParams(OnlineParams):
    """REINFORCE, leave-one-out: https://arxiv.org/abs/2402.14740."""

    method: Literal["rloo"]
    """Key of training.METHODS."""
    group_size: int = Field(default=8, ge=2)
    """Completions per problem and step, each other's baseline; divides `batch_size` * `accumulate`."""
    normalize_advantages: bool = False
    """Divide advantages by the batch's standard deviation."""
    mask_truncated: bool = False
    """Leave completions that ran out of tokens out of the loss."""


class PpoParams(OnlineParams):
    """Proximal policy optimisation with a value head: https://arxiv.org/abs/1707.06347.

    A step is `batch_size` completions with all their `iterations`; `max_steps`, `eval_steps` and `save_steps` count
    steps. The loop is our own, so vLLM has no part in it; and completions are not compared within their group, so a
    group of equal rewards teaches as any other.
    """

    method: Literal["ppo"]
    """Key of training.METHODS."""
    batch_size: int = Field(default=256, ge=1)
    """Completions per step and process."""
    group_size: int = Field(default=4, ge=1)
    """Completions per problem and step; divides `batch_size`."""
    iterations: int = Field(default=2, ge=1)
    """Passes over each batch of completions."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of an entropy bonus."""
    minibatch_size: int = Field(default=64, ge=1)
    """Completions that go through the model together."""
    accumulate: int = Field(default=1, ge=1)
    """Minibatches per optimizer step; `minibatch_size` * `accumulate` divides `batch_size`."""
    max_steps: int | None = Field(default=None, ge=1)
    """Steps to stop after, whatever `epochs` says; null: as many as these give."""
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence from the start model, as a penalty in each token's reward (k1); 0: measured only."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of an entropy bonus, the mean over tokens in nats."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount per token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """GAE: 1 is the whole return less the value, 0 one step."""
    value_coef: float = Field(default=0.1, ge=0)
    """Weight of the value loss; 0: no value function, the advantage is the return (with `lam` 1: REINFORCE)."""
    value_clip: float | None = Field(default=0.2, gt=0)
    """The new value stays within this of the old one in the loss; null: no clipping."""
    value_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the value head; null: `learning_rate`."""
    kl: Literal["fixed", "adaptive"] = "fixed"
    """Keep `beta`, or steer it towards `kl_target` (https://arxiv.org/abs/1909.08593)."""
    kl_target: float = Field(default=6.0, gt=0)
    """KL divergence per completion, in nats, that an adaptive `beta` aims at."""
    whiten: bool = True
    """Advantages with mean 0 and variance 1 over a batch's tokens."""
    zero_variance: Literal["keep"] = "keep"
    """No other choice: the value function is the baseline, not the group."""
    vllm: None = None
    """No other choice."""

    @model_validator(mode="after")
    def _whole_minibatches(self) -> "PpoParams":
        if self.batch_size % self.group_size:
            raise ValueError(f"group_size must divide batch_size (found {self.group_size} and {self.batch_size})")
        together = self.minibatch_size * self.accumulate
        if self.batch_size % together:
            raise ValueError(
                f"minibatch_size * accumulate must divide batch_size (found {together} and {self.batch_size})"
            )
        if self.kl == "adaptive" and not self.beta:
            raise ValueError("beta must be > 0 to start from where kl is adaptive: it changes by factors (found 0)")
        return self


class RewardModelParams(TrainingParams):
    """A learned reward from preference pairs, loss -log sigmoid(r(chosen) - r(rejected))."""

    eval_rows: int | None = Field(default=None, ge=1)
    """Pairs held out, which the accuracy is measured on; null: those of every tenth problem."""
    center: float = Field(default=0.0, ge=0)
    """Weight of (r(chosen) + r(rejected))^2, which keeps rewards around 0."""


MethodParams = Annotated[SftParams | DpoParams | GrpoParams | RlooParams | PpoParams, Field(discriminator="method")]
