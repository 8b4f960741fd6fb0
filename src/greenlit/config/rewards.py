"""The `rewards` section of params.yaml: what a completion earns, on candidates and during online training."""

import re
from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from greenlit.config.feedback import JudgeParams
from greenlit.config.section import Section

RewardName = Literal[
    "tests", "speed", "syntax", "execution", "style", "documentation", "complexity", "format", "overlap", "length",
    "custom", "judge", "model",
]  # fmt: skip
"""Every reward there is, in the order in which figures name them."""
REWARD_NAMES: tuple[RewardName, ...] = get_args(RewardName)
PENALTY: RewardName = "length"
"""Added to the mean of the others instead of being a part of it."""
_CUSTOM = re.compile(r"[^:]+\.py:[^\W\d]\w*")
_RULE = re.compile(r"[A-Z]+[0-9]*")


class TestsParams(Section):
    """`tests`: what of a problem's shown and reward tests counts how much."""

    __test__ = False

    kind: Literal["fraction", "all_or_nothing", "weighted"] = "fraction"
    """The share of tests that pass; 1 for all of them and else 0; or the share by weight."""
    shown_weight: float = Field(default=1.0, gt=0)
    """`weighted`: weight of a test that the prompt shows; times the test's own `weight`, where it has one."""
    reward_weight: float = Field(default=1.0, gt=0)
    """`weighted`: weight of a test that the prompt does not show; times the test's own `weight`."""
    all_pass_bonus: float = Field(default=0.0, ge=0)
    """Added where all tests pass."""


class SpeedParams(Section):
    """`speed`: when a program counts as faster or slower than the reference."""

    factor: float = Field(default=2.0, gt=1)
    """Times the CPU time that a program takes less, or more, than each run of the reference."""
    least_s: float = Field(default=0.05, gt=0)
    """And the least difference in CPU seconds: what is less is noise."""
    reference_runs: int = Field(default=3, ge=1)
    """Runs of the reference to compare with; their spread is the noise."""


class StyleParams(Section):
    """`style`: which findings of ruff count."""

    select: list[str] = Field(default=["E", "F", "W", "N"], min_length=1)
    """Ruff's rules, by prefix: https://docs.astral.sh/ruff/rules."""
    line_length: int = Field(default=100, ge=1, le=320)
    """Longest line that is no finding."""

    @field_validator("select")
    @classmethod
    def _rules(cls, select: list[str]) -> list[str]:
        for rule in select:
            if not _RULE.fullmatch(rule):
                raise ValueError(f"must be prefixes of ruff's rules, like E or E501 (found {rule[:40]!r})")
        return select


class ComplexityParams(Section):
    """`complexity`: what a program is compared with where its problem has no reference."""

    cyclomatic: int = Field(default=10, ge=1)
    """Cyclomatic complexity of the most complex function."""
    nesting: int = Field(default=4, ge=1)
    """Depth of nested blocks."""


class FormatParams(Section):
    """`format`: how an answer is to be written."""

    think: Literal["none", "tags", "opened"] = "none"
    """Reasoning first: not asked for, in `<think>...</think>`, or the same where the prompt ends with `<think>`."""
    code_block: bool = True
    """Exactly one fenced code block, after the reasoning."""

    @model_validator(mode="after")
    def _something(self) -> "FormatParams":
        if self.think == "none" and not self.code_block:
            raise ValueError("asks for nothing: set think or code_block")
        return self


class LengthParams(Section):
    """`length`: where a completion gets too long, in tokens; DAPO, https://arxiv.org/abs/2503.14476."""

    max_tokens: int = Field(default=512, ge=1)
    """From here on a completion earns -1; at most the method's `max_new_tokens`."""
    buffer_tokens: int = Field(default=128, ge=1)
    """Tokens before that in which the reward falls from 0 to -1."""

    @model_validator(mode="after")
    def _buffer_fits(self) -> "LengthParams":
        if self.buffer_tokens > self.max_tokens:
            raise ValueError(f"buffer_tokens must be <= max_tokens (found {self.buffer_tokens} and {self.max_tokens})")
        return self


class RewardsParams(Section):
    """Rewards by name, and how they become one number: clip(scale * weighted mean); see rewards/hybrid.py."""

    weights: dict[RewardName, float] = Field(default={"tests": 1.0}, min_length=1)
    """Weight of each reward in the mean (of `length` beside it); 0 measures it only."""
    scale: float = Field(default=1.0, gt=0)
    """The mean is multiplied by this."""
    clip: list[float] | None = None
    """[low, high] that bound what comes of it; null: no bounds."""
    only_passing: list[RewardName] = []
    """Rewards that count only for programs that pass, beside speed, style, documentation and complexity."""
    tests: TestsParams = TestsParams()
    """Of the reward `tests`."""
    speed: SpeedParams = SpeedParams()
    """Of `speed`."""
    style: StyleParams = StyleParams()
    """Of `style`."""
    complexity: ComplexityParams = ComplexityParams()
    """Of `complexity`."""
    format: FormatParams = FormatParams()
    """Of `format`."""
    length: LengthParams = LengthParams()
    """Of `length`."""
    custom: str | None = None
    """A reward of your own, `path.py:function`; see rewards/custom.py."""
    custom_timeout_s: float = Field(default=10.0, gt=0)
    """Wall-clock seconds that function may take for a batch."""
    judge: JudgeParams | None = None
    """The AI judge, where `judge` has a weight."""
    model: str = "assets/models/base"
    """Folder of the learned reward (a result of `reward_models`); the base stands for none."""

    @field_validator("weights")
    @classmethod
    def _weights(cls, weights: dict[RewardName, float]) -> dict[RewardName, float]:
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"{name}: must be >= 0 (found {weight:g}); 0 measures it only")
        if not any(weight for name, weight in weights.items() if name != PENALTY):
            raise ValueError(f"at least one weight besides {PENALTY} must be > 0: nothing would be learnt")
        return weights

    @field_validator("clip")
    @classmethod
    def _bounds(cls, clip: list[float] | None) -> list[float] | None:
        if clip is not None and (len(clip) != 2 or clip[0] >= clip[1]):
            raise ValueError(f"must be [low, high] with low < high (found {clip})")
        return clip

    @field_validator("custom")
    @classmethod
    def _place(cls, custom: str | None) -> str | None:
        if custom is not None and not _CUSTOM.fullmatch(custom):
            raise ValueError(f"must be path.py:function (found {custom[:60]!r})")
        return custom

    @model_validator(mode="after")
    def _judge_is_used(self) -> "RewardsParams":
        if ("judge" in self.weights) != (self.judge is not None):
            raise ValueError("weights.judge and `judge: {model: ...}` go together; weight 0 measures it only")
        return self

    @model_validator(mode="after")
    def _custom_is_used(self) -> "RewardsParams":
        if "custom" in self.weights and self.custom is None:
            raise ValueError("weights.custom needs `custom: path.py:function`")
        if self.custom is not None and "custom" not in self.weights:
            raise ValueError("custom has no weight: set weights.custom, to 0 if it is to be measured only")
        return self
