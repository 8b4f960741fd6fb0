"""How every process of ours starts and ends: signals, one clear message per fault, the right exit code.

    exit code    0 done · 1 a fault of Greenlit's own · 2 yours to fix · 75 try again · 130 Ctrl-C · 143 SIGTERM

GREENLIT_DEBUG=1 (`--debug`) shows the whole trace of a fault; without it, the trace of a fault nobody foresaw lies in
`.work/last_error.txt`.
"""

import argparse
import ctypes
import fcntl
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from greenlit.errors import GreenlitError, WorldError
from greenlit.stage.faults import GO_ON, as_known, first_line
from greenlit.stage.launching import LAUNCHER, hand_over
from greenlit.stage.secrets import redacted
from greenlit.stage.stopping import Stopped, stoppable
from greenlit.stage.workspace import ANSWERS, WORK

EXIT_CODE_FILE = "GREENLIT_EXIT_CODE_FILE"
"""Environment variable: where to leave the exit code, for a caller that DVC hides it from."""
NOTHING_NEW = "nothing new: "
"""How a stage that DVC runs every time begins the line that says it had nothing to do."""
DEBUG = "GREENLIT_DEBUG"
"""Environment variable: 1 shows the traces of faults."""
LAUNCHED = "GREENLIT_LAUNCHED"
"""Environment variable of the processes that a stage started to run on several, and whose lock it holds."""
TRACE = WORK / "last_error.txt"
WORKSPACE = "greenlit run"
"""Lock of everything that brings this folder's experiment up to date: the command, and every flow."""
_STAGE_OF_DVC, _ROOT_OF_DVC = "DVC_STAGE", "DVC_ROOT"
_COPIES_OF_DVC = Path(".dvc/tmp/exps")


def run_stage(main: Callable[[], None], option: str | None = None) -> None:
    """Run a stage's `main` as a process: alone, stoppable, and not longer than the DVC that started it.

    Args:
        option: of a stage that is there several times, which `main` reads from the command line: `--method`, `--name`.
    """
    given = _arguments(sys.modules[main.__module__].__doc__ or "", option)
    if given.debug:
        os.environ[DEBUG] = "1"
    if given.launcher:
        os.environ[LAUNCHER] = given.launcher
    _end_with_dvc()
    _settle_in_copy()
    source = str(Path(__file__).resolve().parents[2])  # what the stage starts runs the code that it runs itself
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    stage = Path(sys.argv[0]).stem
    name = stage + (f"@{given.name}" if option else "")
    sys.argv[1:] = [option, given.name] if option else []

    def alone() -> None:
        if LAUNCHED not in os.environ and "RANK" not in os.environ:
            hand_over(stage, sys.argv[1:])
        with nullcontext() if LAUNCHED in os.environ or _rank() else only_one(f"stage {name}"):
            main()

    exit_cleanly(alone)


def _arguments(description: str, option: str | None) -> argparse.Namespace:
    """The command line of a stage; anything it does not know ends here, before the stage touches a file."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tasks.{Path(sys.argv[0]).stem}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if option:
        parser.add_argument(option, dest="name", required=True, metavar="NAME", help="as params.yaml names it")
    parser.add_argument("--debug", action="store_true", help="show the traces of faults")
    parser.add_argument("--launcher", help="where it runs: local or sagemaker; else GREENLIT_LAUNCHER, settings.yaml")
    return parser.parse_args()


def _end_with_dvc() -> None:
    """SIGTERM for us when DVC dies: killed, it would leave us running beside whoever starts next."""
    if _STAGE_OF_DVC in os.environ or LAUNCHED in os.environ:
        end_with_parent()


def _rank() -> int:
    """Which of several processes this is."""
    return int(os.environ.get("RANK", "0"))


def _settle_in_copy() -> None:
    """In DVC's copy for a queued experiment: settings, runs and verdicts of the checkout that it was made from.

    Untracked files are not in the copy, and what a stage leaves there besides its outs is deleted with it.
    """
    home, here = Path(os.environ.get(_ROOT_OF_DVC, ".")).resolve(), Path.cwd()
    if home / _COPIES_OF_DVC not in here.parents:
        return
    from dotenv import load_dotenv

    load_dotenv(home / ".env")
    for kept in (WORK / "tracking", ANSWERS):
        if not kept.exists():  # what a tracker could not be told yet, and what a site answered, outlive the copy
            kept.parent.mkdir(parents=True, exist_ok=True)
            (home / kept).mkdir(parents=True, exist_ok=True)
            kept.symlink_to(home / kept)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    os.environ.setdefault("GREENLIT_CACHE", str(home / WORK / "verdicts.sqlite"))
    os.environ.setdefault("GREENLIT_JUDGE_CACHE", str(home / WORK / "judge" / "answers.jsonl"))


def end_with_parent() -> None:
    """SIGTERM for this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


@contextmanager
def only_one(name: str, who: str | None = None, patience_s: float = 0.0) -> Iterator[int]:
    """Hold the lock of this name: two runs of a stage would write the same files.

    Yields the lock's file descriptor: a process that inherits it holds the lock with us, and after us.

    Args:
        who: what holds it, for the message to others.
        patience_s: how long to wait where the holder has died, and what it started is still ending.

    Raises:
        WorldError: another process holds it.
    """
    path = WORK / "locks" / f"{name.replace('/', '_').replace(' ', '_')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience_s
    with path.open("a+") as lock:
        while not _locked(lock.fileno()):
            lock.seek(0)
            pid, _, holder = lock.read().partition(" ")
            died = pid.isdigit() and not _alive(int(pid))
            if not died or time.monotonic() >= until:
                hint = "what it started is still ending; wait a little" if died else "wait for it, or end it"
                raise WorldError(f"{holder or name} is at work here already (process {pid or 'unknown'})", hint=hint)
            time.sleep(0.2)
        lock.truncate(0)
        lock.write(f"{os.getpid()} {who or name}")
        lock.flush()
        yield lock.fileno()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def exit_cleanly(main: Callable[[], None]) -> None:
    """Run `main`; a fault is told on stderr as one message, without secrets, and decides the exit code."""
    try:
        with stoppable():
            main()
    except Stopped as stopped:
        _leave(stopped.exit_code, f"stopped by {stopped.name}; {GO_ON}")
    except KeyboardInterrupt:
        _leave(130, "interrupted")
    except BrokenPipeError:  # whoever read our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(128 + signal.SIGPIPE, None)
    except Exception as fault:
        known = as_known(fault)
        if os.environ.get(DEBUG) == "1":
            print(redacted(traceback.format_exc()), file=sys.stderr)
        if known is None:
            known = _unforeseen(fault)
        _leave(known.exit_code, f"error: {redacted(str(known))}")


def _leave(code: int, message: str | None) -> None:
    if message:
        print(f"process {_rank()}: {message}" if _rank() else message, file=sys.stderr)
    if EXIT_CODE_FILE in os.environ:
        # on a full disk the caller falls back on the code that it sees; of several processes the first one's counts
        with suppress(OSError), Path(os.environ[EXIT_CODE_FILE]).open("x") as file:
            file.write(str(code))
    sys.exit(code)


def _unforeseen(fault: BaseException) -> GreenlitError:
    """A fault nobody foresaw: told in a line, its trace kept."""
    trace = redacted("".join(traceback.format_exception(fault)))
    last = traceback.extract_tb(fault.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    hint = "a fault of Greenlit or of a library; run it again with --debug to see the trace"
    try:
        TRACE.parent.mkdir(parents=True, exist_ok=True)
        TRACE.write_text(trace, encoding="utf-8")
        hint = f"a fault of Greenlit or of a library; its trace lies in {TRACE}"
    except OSError as unwritten:
        hint += f" (no trace could be kept: {unwritten.strerror})"
    return GreenlitError(f"{type(fault).__name__}: {first_line(fault)} (at {where})", hint=hint)
