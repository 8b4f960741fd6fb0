"""What people and AI judges say of programs, next to execution: parts of the `build` and `rewards` sections."""

from typing import Literal

from pydantic import Field, model_validator

from greenlit.config.section import Name, Section


class HumanParams(Section):
    """The files of human/<dataset>/: how much they count. Without such files nothing changes.

    TRL knows no weights of rows, so a weight is a number of rows: 2.5 means every row twice, and half of the rows,
    drawn by `seed`, once more; 0 leaves them out. A row's own `weight` multiplies it.
    """

    preferences: float = Field(default=1.0, ge=0, le=100)
    """Rows of pairs.jsonl per preference; an execution pair is one row."""
    demonstrations: float = Field(default=1.0, ge=0, le=100)
    """Entries of nbest.jsonl per demonstration; a candidate that passes is one entry."""
    check: bool = True
    """Run demonstrations of known problems against the tests; those that fail are left out and named."""


class JudgeParams(Section):
    """A language model that scores programs. Its address and key come from the environment: GREENLIT_JUDGE_URL and
    GREENLIT_JUDGE_API_KEY, or OPENAI_BASE_URL and OPENAI_API_KEY."""

    model: str = Field(min_length=1)
    """Its name at the endpoint, or the folder of a local model."""
    backend: Literal["endpoint", "transformers"] = "endpoint"
    """An OpenAI-compatible endpoint, or a model directory that runs here."""
    rubric: Name = "v1"
    """What is asked: key of feedback.RUBRICS."""
    temperature: float = Field(default=0.0, ge=0)
    """Softmax temperature; 0 takes the likeliest token."""
    max_new_tokens: int = Field(default=512, ge=16)
    """Longest answer in tokens."""
    threshold: float = Field(default=0.65, ge=0.5, le=1)
    """Low end of its AUC against execution, below which a weight above 0 is refused."""
    max_calls: int = Field(default=10_000, ge=1)
    """Requests of one process, retries among them; then no more scores. Answers from the cache are free."""
    max_tokens: int = Field(default=10_000_000, ge=1)
    """Tokens of one process, questions and answers; then no more scores."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests at once."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for one whole answer, in seconds."""
    attempts: int = Field(default=5, ge=1, le=20)
    """Requests per question where the endpoint is busy or fails; then the program has no score."""
    batch_size: int = Field(default=8, ge=1)
    """Questions generated together (transformers)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights (transformers)."""


class AiParams(Section):
    """Preference pairs by an AI judge (RLAIF, https://arxiv.org/abs/2309.00267), next to those of execution."""

    judge: JudgeParams
    """Who judges; `greenlit calibrate-judge` must have found it fit, unless `compare` is 0."""
    compare: int = Field(default=2, ge=0)
    """Comparisons per problem, each in both orders; one becomes a pair where both give the same answer."""
    among: Literal["equal", "any"] = "equal"
    """Candidates that are compared: those that execution does not tell apart, or any two."""
    revise: int = Field(default=0, ge=0)
    """Failing candidates per problem that the judge criticises and rewrites (https://arxiv.org/abs/2212.08073); one
    becomes a pair where the rewritten program passes the tests."""
    weight: float = Field(default=1.0, ge=0, le=100)
    """Rows of pairs.jsonl per such pair, as `build.human.preferences`."""

    @model_validator(mode="after")
    def _something(self) -> "AiParams":
        if not self.compare and not self.revise:
            raise ValueError("asks for nothing: set compare or revise, or ai: null")
        return self
