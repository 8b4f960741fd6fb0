"""serve: all flows from one process on one laptop, one run at a time; stopped, it pauses their schedules.

python -m flows.serve            (`make up` starts it together with its servers)
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Iterable

from prefect import Flow, serve
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from flows import FLOWS
from flows.leftovers import settle_leftovers
from flows.schedules import SLUG, require_known, schedule_of
from greenlit.errors import ConfigError
from greenlit.stage.entry import exit_cleanly, only_one


def flow_named(name: str) -> Flow:
    """The flow object."""
    return getattr(importlib.import_module(f"flows.{name}"), name)


def deployments() -> list[RunnerDeployment]:
    """A deployment per flow, under the flow's name; its parameters are the form that Prefect's pages show.

    Raises:
        ConfigError: a schedule in the settings is none.
    """
    require_known(list(FLOWS))
    return [_deployment(flow_named(name)) for name in FLOWS]


def _deployment(flow: Flow) -> RunnerDeployment:
    return flow.to_deployment(
        flow.name,
        description=(flow.description or "").partition("\n\nArgs:")[0],
        schedule=schedule_of(flow.name),
        tags=["greenlit"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def drop_old_schedules(served: Iterable[RunnerDeployment]) -> None:
    """Forget schedules of ours that the settings no longer have; registering a deployment only adds and changes."""
    with get_client(sync_client=True) as client:
        registered = {(one.name, one.id): one.schedules for one in client.read_deployments()}
        kept = {one.name for one in served if one.schedules}
        for (name, identity), schedules in registered.items():
            for schedule in schedules:
                if schedule.slug == SLUG and name in FLOWS and name not in kept:
                    client.delete_deployment_schedule(identity, schedule.id)


def serve_flows() -> None:
    """Serve them until a signal comes.

    Raises:
        ConfigError: there is no server, or a schedule is none.
        WorldError: another process serves them here.
    """
    if not PREFECT_API_URL.value():
        raise ConfigError("no Prefect server: PREFECT_API_URL is not set", hint="`make up` starts one and serves")
    served = deployments()
    with only_one("flows.serve"):
        for line in settle_leftovers():
            print(line)
        drop_old_schedules(served)
        for one in served:
            print(f"serving {one.name}: {_when(one)}")
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on Prefect stops in order
        serve(*served, pause_on_shutdown=True, print_starting_message=False, limit=1)


def _when(deployment: RunnerDeployment) -> str:
    if not deployment.schedules:
        return "when started"
    schedule = deployment.schedules[0].schedule
    shown = schedule.model_dump(exclude_none=True, include={"cron", "interval", "rrule", "timezone"})
    return " ".join(f"{key} {value}" for key, value in shown.items())


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m flows.serve", description=__doc__.partition("\n")[0]).parse_args()
    exit_cleanly(serve_flows)
