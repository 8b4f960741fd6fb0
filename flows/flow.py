"""What every flow of ours has: parameters that its form explains, and a fault told in a sentence instead of a trace."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, flow, get_run_logger
from prefect.states import Completed, Failed, State
from pydantic.fields import FieldInfo

from flows.notify import on_crash, on_failure
from flows.stages import fault_of
from greenlit.repro import StageFailedError
from greenlit.stage.entry import DEBUG
from greenlit.stage.faults import as_known
from greenlit.stage.secrets import redacted

P = ParamSpec("P")
R = TypeVar("R")


def our_flow(name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Prefect's `flow`, with the descriptions of the parameters' types as the form's help.

    Prefect does not check the parameters of a call: `choices` does, with messages of ours.
    """

    def decorated(function: Callable[P, R]) -> Flow[P, R]:
        function.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n{_described(function)}"
        made = flow(name=name, validate_parameters=False, on_failure=[on_failure], on_crashed=[on_crash])
        return made(function)

    return decorated


def _described(function: Callable[..., Any]) -> str:
    lines = []
    for name, parameter in inspect.signature(function).parameters.items():
        found = [one for one in getattr(parameter.annotation, "__metadata__", ()) if isinstance(one, FieldInfo)]
        lines.append(f"    {name}: {found[0].description if found else name}")
    return "\n".join(lines)


def told(body: Callable[[], str | State]) -> State:
    """The state that the body of a flow ends in: completed with what it says, or failed with the fault's own words.

    `data` of a failed state is the fault; faults of Prefect's own, cancelling among them, go through.
    """
    try:
        ended = body()
    except StageFailedError as fault:
        return Failed(message=redacted(str(fault)), data=fault)
    except Exception as fault:
        known = as_known(fault)
        if known is None or os.environ.get(DEBUG) == "1":
            raise
        get_run_logger().error(redacted(str(known)))
        return Failed(message=redacted(str(known)), data=known)
    return ended if isinstance(ended, State) else Completed(message=ended)


def exit_code(state: State) -> int:
    """What the process of a flow run ends with: as the stage, or the fault, says."""
    if state.is_completed():
        return 0
    fault = fault_of(state)
    return getattr(fault, "exit_code", getattr(fault, "code", 1)) or 1


def main(called: Flow[Any, Any], arguments: Mapping[str, Any]) -> None:
    """Run a flow from the command line; the message goes to stderr, and the exit code is the stage's."""
    state: State = called(**arguments, return_state=True)
    print(state.message, file=sys.stderr)
    sys.exit(exit_code(state))
