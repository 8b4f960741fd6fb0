"""params.yaml as typed, frozen sections: the one home of every setting that changes a result.

Where a program runs (worker processes, URIs, credentials) comes from the environment and is no part of this.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_serializer, model_validator

from greenlit.config.completion import CompletionParams
from greenlit.config.feedback import AiParams, HumanParams
from greenlit.config.judging import AdaptiveParams, AnnotateParams
from greenlit.config.rewards import RewardsParams
from greenlit.config.scraping import SCRAPED, FetchParams, ScrapeParams
from greenlit.config.section import Name, Section
from greenlit.config.training import MethodParams, RewardModelParams


class Limits(Section):
    """How many problems to keep of each split; null keeps all."""

    train: int | None = Field(default=None, ge=1)
    """Problems in the train split."""
    validation: int | None = Field(default=None, ge=1)
    """Problems in the validation split."""
    test: int | None = Field(default=None, ge=1)
    """Problems in the test split."""


class DatasetParams(Section):
    """Which problems."""

    name: Name
    """Key of problems.ADAPTERS; also the folder name under assets/."""
    path: str | None = None
    """Local file to read instead of the hub."""
    variant: str | None = None
    """Which edition of the dataset, where it has several (mbpp: full, sanitized)."""
    revision: str | None = None
    """Commit of the hub dataset; null pins the newest one when it is fetched."""
    completion: CompletionParams = CompletionParams()
    """Of `completion` alone: which source files, and where they are cut."""

    @model_serializer(mode="wrap")
    def _only_its_own(self, serialize: Any) -> dict[str, Any]:
        found = serialize(self)
        if self.name != "completion":
            found.pop("completion", None)
        return found


class BenchmarkParams(Section):
    """A benchmark that nothing may be learnt from; `name: path` and `name: null` (from the hub) are short for it."""

    dataset: Name | None = None
    """Key of problems.ADAPTERS that reads it; null: the benchmark's own name."""
    path: str | None = None
    """Local file to read instead of the hub."""
    variant: str | None = None
    """Which edition, where the dataset has several."""
    revision: str | None = None
    """Commit of the hub dataset; null takes the newest one."""
    split: Literal["test", "all"] | None = None
    """Its test problems, or all; null: test where splits are the dataset's own, all where they are drawn."""


class PrepareParams(Section):
    """From raw records to problems in train, validation and test."""

    limits: Limits = Limits()
    """Problems to keep of each split."""
    benchmarks: dict[Name, BenchmarkParams] = {}
    """What else is measured on: train problems that are in one of these are removed, see problems/contamination.py."""
    shown_tests: int = Field(default=1, ge=0)
    """Tests of each problem that its prompt shows, where the dataset gives no roles."""
    answer_format: Literal["code", "reasoning"] = "code"
    """What models are asked to answer with: a code block, or <reasoning> first and then the code block in <answer>."""
    mutants: int = Field(default=6, ge=0)
    """Wrong versions of each reference that the oracle audit runs against the tests; 0 turns that part off."""
    kill_share: float = Field(default=0.75, ge=0, le=1)
    """Share of these that the tests of a grade A problem catch; some are no worse than the reference, so below 1."""
    min_tests: int = Field(default=3, ge=1)
    """Tests that a grade A problem has at least; every assert of a script counts."""
    slow_share: float = Field(default=0.5, gt=0)
    """A problem whose reference takes more than this share of the longest CPU time allowed is marked slow."""

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _paths(cls, benchmarks: Any) -> Any:
        if not isinstance(benchmarks, dict):
            return benchmarks
        return {name: {"path": one} if one is None or isinstance(one, str) else one for name, one in benchmarks.items()}


class StarterModelParams(Section):
    """The tiny Llama that `base` builds and warm-starts when `base.model` is `starter`."""

    hidden: int = Field(default=96, ge=32)
    """Width of the model."""
    layers: int = Field(default=2, ge=1)
    """Decoder layers."""
    heads: int = Field(default=3, ge=1)
    """Attention heads."""
    intermediate: int = Field(default=288, ge=32)
    """Width of the feed-forward layers."""
    vocabulary: int = Field(default=1024, ge=300)
    """Upper bound on the byte-level BPE vocabulary."""
    context: int = Field(default=2048, ge=256)
    """Longest sequence in tokens."""
    rows: int = Field(default=12000, ge=100)
    """Programs of mixed quality in the warm-start corpus."""
    steps: int = Field(default=1000, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(default=32, ge=1)
    """Programs per step."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """Peak learning rate; 5 % warm-up, held to 30 %, then linear to zero."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "StarterModelParams":
        if self.hidden % self.heads:
            raise ValueError(f"heads must divide hidden (found {self.heads} and {self.hidden})")
        return self


class BaseParams(Section):
    """The model to start from."""

    model: str
    """`starter`, a hub id, or a local directory."""
    revision: str | None = None
    """Commit of the hub model; null pins the newest one."""
    starter: StarterModelParams = StarterModelParams()
    """Settings of the starter model."""


class EndpointParams(Section):
    """The openai backend. Its address, key and requests at once come from the environment: GREENLIT_ENDPOINT_*."""

    model: str | None = Field(default=None, min_length=1)
    """Its name at the endpoint; null: the model's directory or hub id, as a vLLM server names it."""
    chat: bool | None = None
    """Ask with messages (/v1/chat/completions), else with text; null: as the model's tokenizer has a chat template."""


class VllmSamplingParams(Section):
    """The vllm backend: https://docs.vllm.ai/en/latest/configuration/engine_args/."""

    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory for weights and cache."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one copy of the model."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Copies of the model, each on GPUs of its own."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Longest prompt + completion in tokens; null: the model's own."""
    max_num_seqs: int = Field(default=256, ge=1)
    """Sequences generated together."""
    enforce_eager: bool = False
    """No CUDA graphs: starts sooner, samples slower."""
    start_timeout_s: float = Field(default=900.0, gt=0)
    """Longest wait until the model is loaded, in seconds."""


class SamplingParams(Section):
    """How completions are sampled."""

    backend: Literal["transformers", "vllm", "openai", "auto"] = "transformers"
    """What generates: key of generation.BACKENDS; `auto` takes vLLM where it is installed and there is a CUDA GPU, else
    transformers, and says so. Backends draw different samples: before and after must use the same."""
    n: int = Field(default=8, ge=1)
    """Samples per problem."""
    temperature: float = Field(default=1.0, gt=0)
    """Softmax temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus: smallest set of tokens with at least this probability."""
    top_k: int = Field(default=0, ge=0)
    """Keep the k likeliest tokens; 0 keeps all."""
    min_p: float = Field(default=0.0, ge=0, lt=1)
    """Leave out tokens less likely than this share of the likeliest one (https://arxiv.org/abs/2407.01082); 0 = off."""
    stop: list[str] = []
    """Texts that end a completion; not part of it."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Longest completion in tokens."""
    batch_size: int = Field(default=64, ge=1)
    """Most sequences generated together; in fp32 on a CPU it changes at most the last digit of a logprob."""
    batch_tokens: int = Field(default=65_536, ge=1)
    """Most tokens held together, prompts and max_new_tokens counted: lowers the sequences of a batch where it must."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights while generating; at an endpoint its own."""
    openai: EndpointParams = EndpointParams()
    """The endpoint of the backend openai."""
    vllm: VllmSamplingParams = VllmSamplingParams()
    """The engine of the backend vllm."""

    @field_validator("stop")
    @classmethod
    def _stop_texts_have_text(cls, stop: list[str]) -> list[str]:
        if not all(stop):
            raise ValueError("an empty text would end every completion before it starts")
        return stop


class GenerateParams(SamplingParams):
    """Candidates on the train split."""

    strategies: list[Annotated[str, Field(min_length=1)]] = []
    """Hints on how to solve a problem, one per candidate in turn: names of problems.STRATEGIES, or words of your own.
    They are not part of the prompt that is trained on."""
    adaptive: AdaptiveParams | None = None
    """Sample in rounds, n first, and then more where passing or failing programs are still missing; null: n, once."""

    @model_validator(mode="after")
    def _more_than_the_first_round(self) -> "GenerateParams":
        if self.adaptive is not None and self.adaptive.max_n <= self.n:
            raise ValueError(
                f"adaptive.max_n must be above n = {self.n}, the samples of the first round "
                f"(found {self.adaptive.max_n})"
            )
        return self


class EvaluateParams(SamplingParams):
    """Samples and statistics of baseline and evaluate, which are always made alike."""

    ks: list[int] = Field(default=[1, 8], min_length=1)
    """k of each pass@k; none may exceed n."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of every interval."""
    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap resamples over problems."""
    test: bool = True
    """Measure the test split too; false: validation only, so that test stays unseen while choices are made."""

    @model_validator(mode="after")
    def _enough_samples(self) -> "EvaluateParams":
        if min(self.ks) < 1 or max(self.ks) > self.n:
            raise ValueError(f"ks must lie between 1 and n = {self.n}: pass@k is undefined for n < k (found {self.ks})")
        return self


class BuildParams(Section):
    """Ranked candidates and preference pairs."""

    n_best: int = Field(default=3, ge=1)
    """Passing candidates kept per problem in nbest.jsonl."""
    n_fails: int = Field(default=5, ge=0)
    """Unlike failures kept per problem in nbest.jsonl."""
    max_pairs: int = Field(default=4, ge=0)
    """Pairs per problem by execution; by reward, where problems have no tests."""
    margin: float = Field(default=0.1, gt=0)
    """Least difference of the rewards in a pair, where problems have no tests."""
    least_reward: float = Field(default=0.2, ge=0)
    """Least reward of a completion that is imitated (n_best of a problem at most), where problems have no tests."""
    shuffle_verdicts: bool = False
    """Placebo: deal each problem's verdicts out among its candidates at random; people and AI judges are left out."""
    human: HumanParams = HumanParams()
    """Weights of what people say, in human/<dataset>/."""
    ai: AiParams | None = None
    """Pairs by an AI judge; null: none."""


class ReportParams(Section):
    """The before/after report."""

    examples: int = Field(default=3, ge=0)
    """Won and lost problems printed with their programs."""


class RegisterParams(Section):
    """The MLflow registry."""

    model: Name = "greenlit"
    """Registered model name; each method's merged model becomes a version of it."""
    margin: float = Field(default=0.0, ge=0, lt=1)
    """`champion` moves when the gain's whole interval lies above this."""
    push_to_hub: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Hub repository, e.g. my-name/my-model, that every new champion is pushed to; null pushes nothing."""
    private: bool = True
    """Is that repository created private?"""


Tracker = Literal["mlflow", "wandb", "tensorboard"]


class TrackingParams(Section):
    """Where runs are shown; changes no result, so no stage depends on it."""

    report_to: list[Tracker] = ["mlflow"]
    """Keys of trackers.REPORTERS, any of them or none; their URIs and keys come from the environment."""


class Params(Section):
    """params.yaml: one experiment."""

    experiment: Name
    """Name of the experiment; its results lie in results/<experiment>/."""
    seed: int = Field(ge=0, lt=2**31)
    """Seed of everything: problems, starter model, sampling, pairs, training, bootstrap."""
    dataset: DatasetParams
    scrape: ScrapeParams = ScrapeParams()
    fetch: FetchParams = FetchParams()
    prepare: PrepareParams = PrepareParams()
    base: BaseParams
    generate: GenerateParams = GenerateParams()
    annotate: AnnotateParams = AnnotateParams()
    build: BuildParams = BuildParams()
    methods: dict[Name, MethodParams]
    """Training runs from the same candidates, by name; each gets train, merge and evaluate. `{}`: none, and only
    the base model is measured."""
    rewards: RewardsParams = RewardsParams()
    reward_models: dict[Name, RewardModelParams] = {}
    """Learned rewards, by name, from the same pairs; `rewards.model` says which one online methods use."""
    evaluate: EvaluateParams = EvaluateParams()
    report: ReportParams = ReportParams()
    registration: RegisterParams = Field(default=RegisterParams(), alias="register")
    tracking: TrackingParams = TrackingParams()

    @model_validator(mode="after")
    def _fetch_waits_for_scrape(self) -> "Params":
        path = self.dataset.path or ""
        if path.startswith(f"{SCRAPED}/"):
            folder = "/".join(path.split("/")[:4])
            if self.fetch.reads not in {folder, path}:
                raise ValueError(
                    f"fetch.reads: must be {folder}, because dataset.path is a file in it: that is how DVC knows "
                    f"that fetch comes after scrape (found {self.fetch.reads!r})"
                )
        return self

    @model_validator(mode="after")
    def _adaptive_sampling_judges_as_annotate(self) -> "Params":
        adaptive = self.generate.adaptive
        if adaptive is None:
            return self
        if self.dataset.name == "completion":
            raise ValueError("generate.adaptive: completion has no tests, so that nothing passes: set it to null")
        if unlike := adaptive.unlike(self.annotate):
            raise ValueError(
                f"generate.adaptive.limits: must be the same as annotate (found {unlike}); "
                "`limits: &limits {...}` there and `annotate: *limits` below say it once"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_reason(self) -> "Params":
        if self.prepare.answer_format == "reasoning" and self.rewards.format.think != "none":
            raise ValueError(
                "prepare.answer_format asks for <reasoning>, rewards.format.think for <think>: set one of them "
                f"(found reasoning and {self.rewards.format.think})"
            )
        return self


def json_schema() -> dict[str, Any]:
    """JSON schema of params.yaml, for editors."""
    return Params.model_json_schema()
