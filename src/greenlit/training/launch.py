"""Training on several processes: `GREENLIT_PROCESSES=2 greenlit run`, one for each GPU, or CPU cores with gloo.

    GREENLIT_PROCESSES    how many; 1
    GREENLIT_ACCELERATE   a configuration of accelerate's, e.g. presets/accelerate/fsdp.yaml; plain DDP

The stage starts them through `accelerate launch`, tells them of signals, and ends as they do. Each is the stage again,
told apart by RANK and WORLD_SIZE; the first one writes, the others only compute. `accelerate launch -m tasks.train
--method NAME`, started by hand, does the same.

How many there are is where a training runs, not what it computes: each takes its share of `batch_size`, so that a step
learns from the same rows, problems and samples; sums are taken in another order, which changes the last digits.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from greenlit.config import PpoParams, TrainingParams
from greenlit.errors import ConfigError
from greenlit.stage.entry import EXIT_CODE_FILE, LAUNCHED, end_with_parent
from greenlit.stage.stopping import postponed

PROCESSES, CONFIGURATION = "GREENLIT_PROCESSES", "GREENLIT_ACCELERATE"
Method = TypeVar("Method", bound=TrainingParams)


def processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Is this the process that writes?"""
    return os.environ.get("RANK", "0") == "0"


def to_launch() -> bool:
    """Is this a stage that is to run on several processes, and none of them itself?

    Raises:
        ConfigError: GREENLIT_PROCESSES is no positive integer, or there is no file GREENLIT_ACCELERATE.
    """
    said, file = os.environ.get(PROCESSES, ""), os.environ.get(CONFIGURATION, "")
    if said and (not said.isdecimal() or int(said) < 1):
        raise ConfigError(f"{PROCESSES}: must be an integer >= 1 (found {said!r})")
    if file and not Path(file).is_file():
        raise ConfigError(f"{CONFIGURATION}: no file {file}", hint="presets/accelerate/ has some")
    return "RANK" not in os.environ and (bool(file) or int(said or 1) > 1)


def launch(*stage: str) -> None:
    """Run a stage on several processes; returns when all came through.

    Args:
        stage: its module and arguments, e.g. "tasks.train", "--method", "dpo".

    Raises:
        SystemExit: they failed; their own message stands above, and the code is that of the first to leave.
        Stopped: a signal came; all have ended.
    """
    file, said = os.environ.get(CONFIGURATION), os.environ.get(PROCESSES)
    options = ["--config_file", file] if file else ["--multi_gpu"]
    options += ["--num_processes", said] if said else []
    with tempfile.TemporaryDirectory() as folder:
        left = Path(os.environ.get(EXIT_CODE_FILE) or Path(folder) / "exit_code")
        child = subprocess.Popen(
            [sys.executable, "-m", "greenlit.training.launch", *options, "--main_process_port", "0", "-m", *stage],
            env={**os.environ, EXIT_CODE_FILE: str(left), LAUNCHED: "1"},
            start_new_session=True,  # Ctrl-C is ours to pass on: the launcher would give them 30 s
            preexec_fn=end_with_parent,
        )
        try:
            code = child.wait()
        except BaseException:
            _stop(child)
            raise
        if code:
            sys.exit(int(left.read_text()) if left.exists() else 1)


def _stop(launcher: "subprocess.Popen[bytes]") -> None:
    """SIGTERM for the processes, and what they need to come to a good place."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(launcher.pid).children():
            child.terminate()
    launcher.wait()


def shared_out(method: Method, among: int) -> Method:
    """The method with each process's share of a batch.

    Raises:
        ConfigError: it can't be shared out evenly.
    """
    sizes = ["batch_size", "minibatch_size"] if isinstance(method, PpoParams) else ["batch_size"]
    whole = {name: getattr(method, name) for name in sizes}
    for name, size in whole.items():
        if size % among:
            raise ConfigError(f"{name} must be a multiple of the number of processes (found {size} and {among})")
    try:
        return type(method).model_validate(method.model_dump() | {name: size // among for name, size in whole.items()})
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"batch_size {method.batch_size} on {among} processes: {why}") from None


def anyone(said: bool) -> bool:
    """Did any process say so? All must ask together."""
    if processes() == 1:
        return said
    import torch
    from accelerate import PartialState
    from accelerate.utils import reduce

    return bool(reduce(torch.tensor([float(said)], device=PartialState().device)).item())


@contextmanager
def postponed_for_all() -> Iterator[Callable[[], bool]]:
    """As `stopping.postponed`, for all processes together: it says yes to all as soon as one was told to stop."""
    with postponed() as came:
        yield lambda: anyone(came())


def wait_for_all() -> None:
    """Until all processes are here."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def read_cpu_checkpoints() -> None:
    """Let torch.load take `cpu:0`, the name that accelerate gives the processor of every process, for `cpu`.

    Without it a training on several processes of a CPU can't go on: "don't know how to restore data location".
    """
    from torch.serialization import register_package

    def moved(storage: object, location: str) -> object | None:
        return storage if location.startswith("cpu:") else None

    register_package(priority=5, tagger=lambda storage: None, deserializer=moved)


def main(arguments: Sequence[str] | None = None) -> None:
    """The launcher: accelerate's, on GPUs if there are any, and silent of what the processes have said themselves."""
    import logging

    import torch
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    for name in ("torch.distributed.elastic", "accelerate.commands.launch"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except (ChildFailedError, SignalException):
        sys.exit(1)


if __name__ == "__main__":
    main()
