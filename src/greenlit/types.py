"""The records of the pipeline's JSONL files: Problem, Candidate, Annotated, Pair, NBest.

Each is frozen and keeps the keys it does not know, so that a file may carry more than Greenlit reads.
"""

from typing import Annotated as Typed
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_serializer

Role = Literal["shown", "reward", "hidden"]
Checker = Literal["exact", "float", "unordered", "case_insensitive"]
Split = Literal["train", "validation", "test"]
Verdict = Literal["passed", "failed", "error", "timeout", "memory", "syntax", "no_code", "infra"]

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


class Problem(Record):
    """What a program is asked to do, and the tests that decide whether it does."""

    task_id: str = Field(min_length=1)
    tests: list[Test] = Field(min_length=1)
    prompt: str = ""
    language: str = "python"
    """What programs are written in: a name in `greenlit.execution.languages.LANGUAGES`."""
    profile: Literal["plain", "science"] = "plain"
    """What a Python program finds beside the standard library: nothing, or numpy, pandas and sympy."""
    entry_point: str | None = None
    starter_code: str = ""
    """Where the program starts: shown in the prompt."""
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


class Annotated(Candidate):
    """A candidate with its verdict. Booleans are null where we could not find out."""

    passed: bool | None
    """All shown and reward tests pass."""
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
    """null: nobody could run it (a demonstration of a prompt without tests)."""
    score: dict[str, float | None]


class NBest(Record):
    """A problem's candidates, best first: passing ones, then unlike failures."""

    id: str
    entry_point: str | None
    prompt: str | list[dict[str, str]]
    best_list: list[Best]
    num_pass: int
    num_uniq: int
    num_fail: int
    fail_uniq: int
