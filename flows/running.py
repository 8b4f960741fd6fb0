"""What the flows offline, online and pipeline do: params.yaml as asked for, the stages it takes, and what came out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.exceptions import TerminationSignal
from prefect.states import State

from flows.artifacts import show_results
from flows.choices import Asked, Chosen
from flows.flow import told
from flows.graph import Graph
from flows.guard import alone
from flows.notify import tell_promotion
from flows.settings import GRACE, RETRY_DELAY, TIMEOUT, retries, seconds
from flows.stages import GRACE_S, How, run_stage
from greenlit.applying import apply
from greenlit.cli import stage_targets
from greenlit.config import MethodParams, OnlineParams, Params
from greenlit.errors import ConfigError, DataError
from greenlit.jsonl import read_json
from greenlit.paths import Paths
from greenlit.repro import require_settings
from greenlit.runs.records import record_run
from greenlit.stage.stopping import Stopped
from greenlit.stage.workspace import WORK, sweep
from greenlit.tracking.executions import execution

LAUNCHER = "GREENLIT_LAUNCHER"


class Kind(Enum):
    """The methods that a flow is for, in words."""

    ANY = ""
    OFFLINE = "learns from candidates (sft, dpo)"
    ONLINE = "samples while it trains (grpo, rloo, ppo)"

    def holds(self, method: MethodParams) -> bool:
        """Is the flow for this method?"""
        return self is Kind.ANY or isinstance(method, OnlineParams) == (self is Kind.ONLINE)


def run_pipeline(name: str, given: Mapping[str, Any], kind: Kind) -> State:
    """The flow `name` with these parameters; the state says what came out, or what went wrong."""
    return told(lambda: _pipeline(name, Chosen.of(given), kind))


def _pipeline(name: str, chosen: Chosen, kind: Kind) -> str:
    how = how_to_run(chosen)
    with in_workspace(f"flow {name}", chosen, chosen.methods) as (params, graph):
        stages, left_out = _stages(graph, params, chosen, kind)
        run_stages(stages, how, params, set(stages) if chosen.force else set(), whole=stages == graph.stages)
        said = show_results(params, stages)
    return "\n".join(filter(None, [said, left_out]))


@contextmanager
def in_workspace(who: str, asked: Asked, methods: list[str] | None = None) -> Iterator[tuple[Params, Graph]]:
    """Alone in the workspace, with params.yaml as asked for; yields what it says, and the stages it makes.

    Raises:
        WorldError: another run holds the workspace.
        ConfigError: params.yaml cannot be brought to what was asked for.
    """
    with alone(who):
        params = apply(asked.preset, asked.settings or [], methods)
        require_settings(Path())
        yield params, Graph()


def how_to_run(chosen: Asked) -> How:
    """Limits of the stages, as chosen, else as the environment says."""
    grace_s = seconds(GRACE, GRACE_S) if chosen.grace_s is None else chosen.grace_s
    timeout_s = seconds(TIMEOUT, None) if chosen.stage_timeout_s is None else chosen.stage_timeout_s
    delay_s = seconds(RETRY_DELAY, How.retry_delay_s)
    assert grace_s is not None and delay_s is not None
    environment = {LAUNCHER: chosen.launcher} if chosen.launcher else {}
    tries = retries() if chosen.retries is None else chosen.retries
    return How(grace_s, timeout_s, tries, delay_s, environment)


def run_stages(stages: Sequence[str], how: How, params: Params, forced: set[str], whole: bool = False) -> None:
    """One task run per stage, in this order, as one execution with a record.

    Args:
        whole: these are all there are.

    Raises:
        StageFailed: one failed; those after it are not run.
    """
    with _prefects_again(), record_run(params, whole), execution(params), _ours():
        if forced:
            sweep()
        for stage in stages:
            with _promotion_told(stage, params):
                run_stage(stage, how, stage in forced)
    sweep()  # DVC has it all now


@contextmanager
def _ours() -> Iterator[None]:
    """Prefect's way to say SIGTERM as ours, for those who note how a run ended."""
    try:
        yield
    except TerminationSignal as sent:
        raise Stopped(sent.signal) from sent


@contextmanager
def _prefects_again() -> Iterator[None]:
    try:
        yield
    except Stopped as stopped:
        if isinstance(stopped.__cause__, TerminationSignal):
            raise stopped.__cause__ from None
        raise


@contextmanager
def _promotion_told(stage: str, params: Params) -> Iterator[None]:
    task, _, method = stage.partition("@")
    if task != "register":
        yield
        return
    record = WORK / "register" / f"{params.experiment}_{method}.json"
    before = _record(record)
    yield
    tell_promotion(before, _record(record), f"{params.experiment}/{method}")


def _record(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path) if path.exists() else {}
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def _stages(graph: Graph, params: Params, chosen: Chosen, kind: Kind) -> tuple[list[str], str]:
    """The stages to run, and what is left out, in words."""
    left_out = ""
    if chosen.only:
        words = [_dvc_name(graph, word) for word in chosen.only]
        sources = params.scrape.sources.names()
        targets = stage_targets(",".join(words), list(params.methods), list(params.reward_models), sources)
        stages = graph.towards(targets)
    else:
        stages, left_out = _of_kind(graph, params, kind)
    if chosen.from_stage:
        stages = graph.from_stage(chosen.from_stage, stages)
        if not stages:
            raise ConfigError(f"from_stage {chosen.from_stage}: nothing of what was asked for needs it")
    return stages, left_out


def _dvc_name(graph: Graph, word: str) -> str:
    """`train-dpo` as DVC calls it; any other word as it is."""
    return next((stage for stage in graph.stages if word == stage.replace("@", "-")), word)


def _of_kind(graph: Graph, params: Params, kind: Kind) -> tuple[list[str], str]:
    """The stages towards the registry for the methods of a kind, and what has to wait, in words.

    The report is about all methods of params.yaml: where others have no figures yet, it waits for them.
    """
    if not params.methods:
        return graph.towards(["baseline"]), ""
    if kind is Kind.ANY:
        return graph.stages, ""
    names = [name for name, method in params.methods.items() if kind.holds(method)]
    if not names:
        raise ConfigError(
            f"params.yaml: methods: none of them {kind.value} (found {', '.join(params.methods)})",
            hint="the flow pipeline runs all methods, whatever they are",
        )
    mine = graph.towards([f"evaluate@{name}" for name in names])
    others = [name for name in params.methods if f"evaluate@{name}" not in mine]
    if missing := [name for name in others if not Paths.of(params).evaluation(name).exists()]:
        return mine, f"no report yet: {', '.join(missing)} of params.yaml must be measured first, by the flow pipeline"
    of_others = set(graph.towards([f"evaluate@{name}" for name in others])) - set(mine)
    if others:
        get_run_logger().info(f"taken as they lie here: {', '.join(others)}")
    final = graph.towards([f"register@{name}" for name in names])
    return [stage for stage in final if stage not in of_others], ""
