"""Tell people: a run that failed or crashed, a model that was promoted.

GREENLIT_NOTIFY in the environment or `.env` says where to: an https:// address that gets `{"text": ...}` as JSON (Slack
and many others read that), or the name of a saved Prefect block, e.g. slack-webhook/team. A place that does not answer
costs a line in the log and never a run.
"""

from typing import Any
from urllib.parse import urlsplit

from prefect import Flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger
from prefect.states import State

from flows.guard import STOPPED, WHY, mark_crashed
from flows.settings import setting
from greenlit.stage.secrets import redacted

NOTIFY = "GREENLIT_NOTIFY"
_TIMEOUT_S = 10.0


def notify(text: str, **facts: str) -> bool:
    """Send a message where GREENLIT_NOTIFY says; False if that is nowhere, or failed."""
    place = setting(NOTIFY)
    if not place:
        return False
    text = redacted(text)
    try:
        if "://" in place:
            _post(place, {"text": text, **facts})
        else:
            _through_block(place, text)
    except Exception as fault:  # whatever a block or a server comes up with, a message is not worth a run
        shown = urlsplit(place).hostname if "://" in place else place
        _logger().warning(f"nobody was told, {shown} failed ({type(fault).__name__}): {text}")
        return False
    return True


def _post(address: str, content: dict[str, str]) -> None:
    import httpx

    httpx.post(address, json=content, timeout=_TIMEOUT_S).raise_for_status()


def _through_block(name: str, text: str) -> None:
    from prefect.blocks.core import Block

    block: Any = Block.load(name)
    with block.raise_on_failure():
        block.notify(text, subject="Greenlit")


def _logger() -> Any:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("greenlit")


def on_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:
    """Prefect calls it when a flow run has failed."""
    text = f"{flow.name} failed ({flow_run.name}): {state.message}"
    notify(text, event="failed", flow=flow.name, run=str(flow_run.id))


def on_crash(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:
    """Prefect calls it when a signal has stopped the run, and in the process that served it when its own is gone."""
    why = WHY if "status code" in (state.message or "") else STOPPED
    try:
        with get_client(sync_client=True) as client:
            mark_crashed(client, flow_run.id, why)
    except Exception as fault:  # the server has gone, most likely with the run
        _logger().warning(f"the server was not told why the run crashed: {type(fault).__name__}")
    notify(f"{flow.name} crashed ({flow_run.name}): {why}", event="crashed", flow=flow.name, run=str(flow_run.id))


def tell_promotion(before: dict[str, Any], after: dict[str, Any], called: str) -> None:
    """Tell it if the register stage has left a record that says so, and had not before."""
    if after.get("promoted") is True and after != before:
        text = f"promoted: {after.get('name')} version {after.get('version')} ({called}) is the champion"
        decision = after.get("decision")
        notify(f"{text}: {decision}" if decision else text, event="promoted", model=str(after.get("name")))
