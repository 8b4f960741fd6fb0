"""The records of the pipeline's JSONL files: Problem, Candidate, Annotated, Pair, NBest.

Each is frozen and keeps the keys it does not know, so that a file may carry more than Greenlit reads.
"""

from typing import Annotated as Typed
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_serializer, model_validator
from pydantic_core import PydanticCustomError

Role = Literal["shown", "reward", "hidden"]
Checker = Literal["exact", "float", "unordered", "case_insensitive"]
Split = Literal["train", "validation", "test"]
Kind = Literal["program", "completion"]
Verdict = Literal["passed", "failed", "error", "timeout", "memory", "syntax", "no_code", "untested", "infra"]
"""`untested`: there is a program, and no test to run it against."""

SPLITS: tuple[Split, ...] = get_args(Split)
FORMAT_VERSION = 1
"""Version of the file formats, stored in every manifest."""


class Record(BaseModel):
    """A row of a JSONL file."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants", allow_inf_nan=False)


class _Test(Record):
    role: Role = "reward"
    """`shown`: in the prompt, and reward; `reward`: reward only; `hidden`: never reward, only evaluation."""
    checker: Checker = "exact"

    @model_serializer(mode="wrap")
    def _only_what_was_said(self, serialize: Any) -> dict[str, Any]:
        said = self.model_fields_set | {"kind"}
        return {key: value for key, value in serialize(self).items() if key in said}


class AssertTest(_Test):
    """One assert statement, as MBPP writes them."""

    kind: Literal["assert"] = "assert"
    code: str


class CallTest(_Test):
    """Call the entry point with positional arguments `input` and compare what it returns with `output`."""

    kind: Literal["call"] = "call"
    input: list[Any]
    output: Any


class StdioTest(_Test):
    """Run the program with `input` on standard input and compare its standard output with `output`."""

    kind: Literal["stdio"] = "stdio"
    input: str
    output: str


class ScriptTest(_Test):
    """A script of asserts: `def check(candidate): ...` (HumanEval), or statements at top level."""

    kind: Literal["script"] = "script"
    code: str


Test = Typed[AssertTest | CallTest | StdioTest | ScriptTest, Field(discriminator="kind")]


_NOT_GIVEN: list[Any] = []


class Problem(Record):
    """What a program is asked to do, and what decides whether it does.

    Of a `program` that is its tests. A `completion` has none: `starter_code` is the head of a file, to be gone on with
    as it stands, and each `reference` a file that begins with it; what follows there is held back, and completions
    are compared with it. Whether they pass is never known.
    """

    task_id: str = Field(min_length=1)
    kind: Kind = Field(default="program", exclude_if=lambda kind: kind == "program")
    tests: list[Test] = Field(default_factory=lambda: _NOT_GIVEN, validate_default=True)
    prompt: str = ""
    language: str = "python"
    """What programs are written in: a name in `greenlit.execution.languages.LANGUAGES`."""
    profile: Literal["plain", "science"] = "plain"
    """What a Python program finds beside the standard library: nothing, or numpy, pandas and sympy."""
    entry_point: str | None = None
    starter_code: str = ""
    """Where the program starts: shown in the prompt."""
    answer_format: Literal["code", "reasoning"] = Field(default="code", exclude_if=lambda value: value == "code")
    """What a model is asked to answer with: a code block, or <reasoning> and then a code block in <answer>."""
    prelude: str = ""
    """What the dataset puts in front of every program (imports, classes), not shown; part of each candidate's code."""
    setup: str = ""
    """Test set-up code: runs after the program, before its tests."""
    reference: list[str] = []
    """Known good solutions."""
    split: Split | None = None
    difficulty: str | None = None
    source: str = ""
    tags: list[str] = []
    time_limit_s: float | None = Field(default=None, gt=0)
    memory_limit_mib: int | None = Field(default=None, gt=0)

    @field_validator("tests", mode="before")
    @classmethod
    def _tests_by_kind(cls, tests: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("kind")
        if kind == "program" and tests is _NOT_GIVEN:
            raise PydanticCustomError("missing", "Field required")
        if kind == "program" and tests == []:
            raise PydanticCustomError("too_short", "List should have at least 1 item after validation, not 0")
        if kind == "completion" and tests:
            raise PydanticCustomError("no_tests", "Must be empty: completions are compared with the reference")
        return tests

    @model_validator(mode="after")
    def _something_held_back(self) -> "Problem":
        if self.kind == "completion" and not (self.starter_code.strip() and self.reference):
            raise PydanticCustomError(
                "held_back", "A completion needs a `starter_code` (the head of a file) and a `reference` (the file)"
            )
        if self.kind == "completion" and not all(
            known.startswith(self.starter_code) and known[len(self.starter_code) :].strip() for known in self.reference
        ):
            raise PydanticCustomError(
                "held_back", "Each `reference` of a completion must begin with its `starter_code`, and go on"
            )
        return self

    @property
    def held_back(self) -> list[str]:
        """What a completion is compared with: each reference behind the starter code; empty for other problems."""
        return [known[len(self.starter_code) :] for known in self.reference] if self.kind == "completion" else []


_WHERE_THERE_IS = frozenset({"round", "match"})
"""Keys of a candidate that are not written where they are null."""


class Candidate(Record):
    """One program a model wrote for one problem. `(task_id, candidate_idx)` is unique in a file."""

    task_id: str
    candidate_idx: int
    """0, 1, ... for samples; -1 for the greedy one."""
    decoding: Literal["sampled", "greedy"] = "sampled"
    text: str
    """What the model wrote, without the end-of-sequence token."""
    code: str
    solution: str
    """The program to run, taken from `text` by the one extractor; the key evalplus and lm-eval read."""
    tokens: int
    finish_reason: Literal["eos", "stop", "length"]
    """By the end-of-sequence token, by a stop text, or cut off at max_new_tokens."""
    logprob: float | None = None
    """Sum of the token log-probabilities in nats; null when the backend does not tell."""
    seed: int
    prompt_hash: str
    """Of the prompt without the strategy's hint: the one that training and measuring use."""
    model: str
    backend: str | None = None
    """What generated; null in files of older versions."""
    dtype: str | None = None
    """Precision of the weights; null where an endpoint does not tell."""
    served_by: str | None = None
    """The model that an endpoint says it is."""
    strategy: str | None = None
    """The hint that this candidate's prompt had besides."""
    round: int | None = None
    """Of adaptive sampling. From 1 on it was sampled because of what became of the others: such candidates are in no
    share or mean over samples. null, which is not written: not sampled in rounds."""

    @model_serializer(mode="wrap")
    def _only_what_there_is(self, serialize: Any) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None or key not in _WHERE_THERE_IS}


class Metrics(Record):
    """Static properties of a program; null where it does not parse."""

    loc: int
    """Lines of code, without blanks and comments."""
    tokens: int
    cyclomatic_complexity: int | None
    nesting_depth: int | None
    ast_hash: str
    """Equal for programs that differ only in names of variables, comments and layout."""
    novelty: float | None
    """1 - mean similarity to the problem's other distinct candidates, in [0, 1]."""


class Match(Record):
    """How near a completion comes to the held-back text; the best over its problem's references."""

    exact: bool
    """The same, but for blanks at the ends of lines and blank lines around it."""
    edit_similarity: float
    """1 - Levenshtein distance / length of the longer, over characters, in [0, 1]."""


class Annotated(Candidate):
    """A candidate with its verdict. Booleans are null where we could not find out."""

    passed: bool | None
    """All shown and reward tests pass; null for every candidate of a problem without tests."""
    passed_hidden: bool | None
    """All hidden tests pass; null when there are none."""
    passed_all: bool | None
    verdict: Verdict
    """Of the shown and reward tests."""
    tests_passed: int
    """Of the shown and reward tests."""
    tests_total: int
    error: str | None = None
    """One line."""
    level: str = ""
    """Sandbox level the verdict was found at."""
    metrics: Metrics | None = None
    match: Match | None = None
    """Of a problem without tests; where there are some, it is not written."""
    rewards: dict[str, float | None] = {}
    reward: float | None = None


class Pair(Record):
    """A preference pair in TRL's columns: completions end with the tokenizer's EOS."""

    prompt: str | list[dict[str, str]]
    chosen: str | list[dict[str, str]]
    rejected: str | list[dict[str, str]]
    task_id: str
    """The problem; `human:...` for a prompt that a person gave."""
    chosen_idx: int | None
    """Of the candidate; null where no candidate is known to have written it (people, an AI judge's revision)."""
    rejected_idx: int | None
    reason: str


class Best(Record):
    """One entry of a problem's n-best list."""

    candidate_idx: int | None
    """null: a person's demonstration."""
    code: str
    text: str
    passed: bool | None
    """null: nobody could run it (a demonstration of a prompt without tests, a completion)."""
    score: dict[str, float | None]


class NBest(Record):
    """A problem's candidates, best first: passing ones, then unlike failures. The counts are of the candidates that
    were sampled whatever became of others: with adaptive sampling those of the first round."""

    id: str
    entry_point: str | None
    prompt: str | list[dict[str, str]]
    best_list: list[Best]
    num_pass: int | None
    """null, as `num_fail`: a problem without tests."""
    num_uniq: int
    """Unlike passing ones; without tests, unlike ones that are good enough."""
    num_fail: int | None
    fail_uniq: int
