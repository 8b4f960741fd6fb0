"""doctor: is this machine fit for Greenlit, and what does its judge stop?

Every line is green, yellow (works, but you should know) or red (something will fail), and what is not green says what
to do. Nothing heavy is imported: versions come from the packages' metadata, torch is asked in a process of its own.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

from greenlit.config import PARAMS, AnnotateParams, Params, load_params
from greenlit.errors import ConfigError, SandboxError
from greenlit.stage.hardware import cores, workers
from greenlit.stage.secrets import without_password
from greenlit.trackers import delivery, wandb
from greenlit.trackers.mlflow_store import store_fault, tracking_uri
from greenlit.trackers.tensorboard import FOLDER as TENSORBOARD
from greenlit.tracking import spool

if TYPE_CHECKING:
    from greenlit.execution.cheats.host import Host
    from greenlit.execution.cheats.runner import Table
    from greenlit.execution.judges import Judge

State = Literal["green", "yellow", "red"]

NEEDED = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "tokenizers",
    "numpy",
    "mlflow",
    "wandb",
    "tensorboard",
    "dvc",
    "prefect",
)
OPTIONAL = ("accelerate", "vllm")
PYTHON = (3, 11)
LOCK = Path("requirements.lock")
DISK_RED_GIB, DISK_YELLOW_GIB = 1, 5
MEASURED_S = 1.0
MARKS: dict[State, str] = {"green": "ok", "yellow": "!", "red": "RED"}
COLOURS: dict[State, str] = {"green": "green", "yellow": "yellow", "red": "bold red"}
_GIB = 1 << 30
_INSTALL = "run `make setup`, which installs what requirements.lock says"


@dataclass(frozen=True)
class Line:
    """One finding."""

    section: str
    name: str
    state: State
    value: str
    fix: str | None = None
    """What to do about it; always there unless green."""


@dataclass(frozen=True)
class Report:
    """All findings."""

    lines: tuple[Line, ...]
    cheats: "Table | None" = None
    verdicts_per_s: float | None = None

    @property
    def reds(self) -> int:
        """Lines that say that something will fail."""
        return sum(line.state == "red" for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        from greenlit.execution.cheats import table

        return {
            "red": self.reds,
            "lines": [asdict(line) for line in self.lines],
            "verdicts_per_s": self.verdicts_per_s,
            "cheats": table.as_json(self.cheats) if self.cheats else None,
        }


def examine(cheats: bool = True) -> Report:
    """Look at everything; the cheats take most of the time."""
    lines = [*versions(), *project(), *machine(), *gpu(), *trackers()]
    params, _ = read_params()
    return sandbox(lines, params.annotate if params else AnnotateParams(allow_portable=True), cheats)


def read_params() -> tuple[Params | None, Line]:
    """params.yaml here, and what is to be said about it."""
    if not PARAMS.exists():
        return None, Line("project", "params.yaml", "yellow", "none in this folder", "go to your project's folder")
    try:
        params = load_params()
    except ConfigError as error:
        return None, Line("project", "params.yaml", "red", str(error.args[0]), error.hint or "correct params.yaml")
    methods = ", ".join(params.methods) or "none"
    return params, Line("project", "params.yaml", "green", f"valid: experiment {params.experiment}, methods {methods}")


def versions() -> Iterator[Line]:
    """Python and packages, against the lock where there is one."""
    running = ".".join(map(str, sys.version_info[:3]))
    right = sys.version_info[:2] == PYTHON
    wanted = ".".join(map(str, PYTHON))
    fix = None if right else f"make the virtual environment anew with Python {wanted}"
    yield Line("versions", "python", "green" if right else "red", running, fix)
    yield Line("versions", "greenlit", "green", _installed("greenlit") or "runs from its source")
    locked = _locked()
    for name in NEEDED:
        found = _installed(name)
        if found is None:
            yield Line("versions", name, "red", "not installed", _INSTALL)
        elif name in locked and found.split("+")[0] != locked[name]:
            yield Line("versions", name, "yellow", f"{found}, the lock says {locked[name]}", _INSTALL)
        else:
            yield Line("versions", name, "green", found)
    for name in OPTIONAL:
        yield Line("versions", name, "green", _installed(name) or "not installed; optional")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _locked() -> dict[str, str]:
    """Package -> version in requirements.lock of this folder."""
    if not LOCK.exists():
        return {}
    return dict(re.findall(r"^([\w.-]+)==([^\s;+]+)", LOCK.read_text(), re.MULTILINE))


def project() -> Iterator[Line]:
    """params.yaml, DVC and git."""
    yield read_params()[1]
    if not Path("dvc.yaml").exists():
        yield Line("project", "dvc", "yellow", "no dvc.yaml in this folder", "go to your project's folder")
        return
    if not Path(".dvc").is_dir():
        yield Line("project", "dvc", "red", "dvc.yaml, but no repository (.dvc)", "run `dvc init`")
    else:
        history = "has run before" if Path("dvc.lock").exists() else "has not run yet"
        yield Line("project", "dvc", "green", f"repository found; the pipeline {history}")
    commit = _output(["git", "rev-parse", "--short", "HEAD"])
    if commit:
        yield Line("project", "git", "green", f"at commit {commit}")
    else:
        fix = "install git, then `git init` and commit: versions of models name the commit they come from"
        yield Line("project", "git", "yellow", "no commit found", fix)


def machine() -> Iterator[Line]:
    """Cores, workers, threads, memory, disk."""
    yield Line("machine", "cores", "green", str(cores()))
    count = 1
    try:
        count = workers()
        yield Line("machine", "workers", "green", f"{count} (GREENLIT_WORKERS sets another number)")
    except ConfigError as error:
        yield Line("machine", "workers", "red", str(error.args[0]), "unset GREENLIT_WORKERS, or set it to 1 or more")
    threads = os.environ.get("OMP_NUM_THREADS")
    yield Line("machine", "threads", "green", f"OMP_NUM_THREADS={threads}" if threads else "set by each stage")
    yield _memory(count)
    for name, folder in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        yield _disk(name, folder)


def _memory(count: int) -> Line:
    """Enough for candidates at all workers?"""
    params, _ = read_params()
    most_mib = (params.annotate if params else AnnotateParams()).memory_mib
    memory = psutil.virtual_memory()
    text = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    if count * most_mib << 20 <= memory.available:
        return Line("machine", "memory", "green", text)
    fix = f"lower GREENLIT_WORKERS: {count} candidates of up to {most_mib} MiB may run at once"
    return Line("machine", "memory", "yellow", text, fix)


def _disk(name: str, folder: Path) -> Line:
    free = shutil.disk_usage(folder).free / _GIB
    text = f"{free:.1f} GiB free"
    if free >= DISK_YELLOW_GIB:
        return Line("machine", name, "green", text)
    fix = "make room: models, caches and results need several GiB (`dvc gc -w` frees old results)"
    return Line("machine", name, "red" if free < DISK_RED_GIB else "yellow", text, fix)


def gpu() -> Iterator[Line]:
    """The cards, by the driver's own tool, and whether torch sees them."""
    tool = shutil.which("nvidia-smi")
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    cards = _output([tool, *query]) if tool else None
    if not cards:
        yield Line("gpu", "cards", "green", "none; everything runs on the CPU")
        return
    for card in cards.splitlines():
        yield Line("gpu", "card", "green", card)
    seen = _output([sys.executable, "-c", "import torch; print(torch.cuda.device_count(), torch.version.cuda)"])
    if seen and not seen.startswith("0 "):
        yield Line("gpu", "torch", "green", f"sees {seen.split()[0]}, built for CUDA {seen.split()[-1]}")
    else:
        fix = "install torch for this driver: `make setup` without a CPU-only TORCH_ARGS"
        yield Line("gpu", "torch", "yellow", "sees no card", fix)


def trackers() -> Iterator[Line]:
    """Those that `tracking.report_to` names (MLflow keeps the models too), and what waits. Secrets are never shown."""
    params, _ = read_params()
    chosen = params.tracking.report_to if params else ["mlflow"]
    yield _mlflow()
    if "wandb" in chosen:
        yield _wandb()
    if "tensorboard" in chosen:
        shown = f"tensorboard --logdir {TENSORBOARD}"
        missing = _installed("tensorboard") is None
        yield Line(
            "trackers",
            "tensorboard",
            "red" if missing else "green",
            "not installed" if missing else shown,
            _INSTALL if missing else None,
        )
    waiting = delivery.undelivered()
    if waiting:
        text = (
            f"{len(waiting)} runs wait in {spool.SPOOL} ({', '.join(waiting[:3])}{', ...' if len(waiting) > 3 else ''})"
        )
        fix = (
            "see that the trackers answer; then `greenlit run` delivers them, or `python -m greenlit.trackers.delivery`"
        )
        yield Line("trackers", "undelivered", "yellow", text, fix)


def _mlflow() -> Line:
    uri = tracking_uri()
    shown = without_password(uri)
    fault = store_fault(uri)
    if not fault:
        return Line("trackers", "mlflow", "green", shown)
    fix = "check MLFLOW_TRACKING_URI; unset it to use mlflow.db in the project"
    return Line("trackers", "mlflow", "red", f"{shown}: {fault}", fix)


def _wandb() -> Line:
    if _installed("wandb") is None:
        return Line("trackers", "wandb", "red", "not installed", _INSTALL)
    why = wandb.why_offline()
    if why is None:
        return Line("trackers", "wandb", "green", f"online, {without_password(wandb.server())}")
    if why.startswith("WANDB_MODE"):
        return Line("trackers", "wandb", "green", why)
    fix = f"set WANDB_API_KEY (.env will do), or upload later: `wandb sync {wandb.FOLDER}/offline-run-*`"
    return Line("trackers", "wandb", "yellow", f"offline: {why}", fix)


def _output(command: list[str]) -> str | None:
    """What a command prints; None when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def sandbox(lines: list[Line], params: AnnotateParams, cheats: bool) -> Report:
    """The level in use, what it stops, and how many verdicts it finds in a second."""
    from greenlit.execution.cheats.host import Host
    from greenlit.execution.cheats.runner import suite_params
    from greenlit.execution.judges import Judge

    try:
        with Host() as host, Judge(suite_params(params)) as judge:
            lines.append(_level(judge))
            lines += _languages(judge)
            table = _cheats(judge, host) if cheats else None
        if table:
            lines += _findings(table)
        count = _worker_count()
        rate = _verdicts_per_s(params, count)
    except (ConfigError, SandboxError) as error:
        lines.append(Line("sandbox", "level", "red", str(error.args[0]), error.hint or "see README.md"))
        return Report(tuple(lines))
    lines.append(Line("sandbox", "speed", "green", f"{rate:,.0f} verdicts/s of small programs, {count} workers"))
    return Report(tuple(lines), table, rate)


def _level(judge: "Judge") -> Line:
    from greenlit.execution.level import PORTABLE

    text = "; ".join([judge.level, *judge.notes])
    if judge.level != PORTABLE:
        return Line("sandbox", "level", "green", text)
    fix = (
        "only for programs of a model you trust; for a jail: Linux, and root or user namespaces for plain users "
        "(sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns) or bubblewrap"
    )
    return Line("sandbox", "level", "yellow", text, fix)


def _languages(judge: "Judge") -> Iterator[Line]:
    """What programs in each language run in, or why they cannot."""
    from greenlit.execution.languages import LANGUAGES
    from greenlit.execution.level import PORTABLE
    from greenlit.execution.profiles import missing

    for name, language in LANGUAGES.items():
        absent = language.missing()
        runs_in = "limits, but no jail" if judge.level == PORTABLE else language.isolation
        yield Line("sandbox", f"language {name}", "green", f"{absent}; optional" if absent else runs_in)
    absent = missing("science")
    yield Line(
        "sandbox", "profile science", "green", f"{absent}; optional" if absent else "numpy, pandas and sympy are here"
    )


def _cheats(judge: "Judge", host: "Host") -> "Table":
    from greenlit.execution.cheats.runner import run_cheats
    from greenlit.execution.cheats.suite import CHEATS
    from greenlit.stage.progress import progress

    with progress("doctor", len(CHEATS), "cheats") as bar:
        return run_cheats(judge, CHEATS, host=host, after_each=lambda _: bar.advance())


def _findings(table: "Table") -> Iterator[Line]:
    """The table in lines."""
    open_ = table.having("let through", "not run")
    unknown = table.having("unknown")
    text = f"{len(table.having('stopped'))} of {len(table.results)} stopped"
    failed = [f"{result.cheat.name} ({result.outcome})" for result in table.failures]
    if failed:
        fix = "do not train on verdicts of this machine; report this with the output of `greenlit doctor --json`"
        yield Line("sandbox", "cheats", "red", f"{text}; {'; '.join(failed)}", fix)
    elif open_ or unknown:
        text = f"{text}, no verdict forged; {len(open_)} are not stopped at this level, {len(unknown)} get no verdict"
        fix = "see `not stopped` below; programs of strangers belong in a jail"
        yield Line("sandbox", "cheats", "yellow", text, fix)
    else:
        yield Line("sandbox", "cheats", "green", text)
    if table.refused:
        fix = "report this with the output of `greenlit doctor --json`"
        yield Line("sandbox", "right programs", "red", f"refused: {'; '.join(table.refused)}", fix)


def _worker_count() -> int:
    try:
        return workers()
    except ConfigError:
        return cores()


def _verdicts_per_s(params: AnnotateParams, count: int) -> float:
    """Of right programs, all different, for about a second."""
    from greenlit.execution.cheats.cheat import RIGHT, problems
    from greenlit.execution.judges import Judge

    problem = problems("", "", "")["list"]
    with Judge(params, count) as judge:
        judge.judge(problem, RIGHT)
        began = time.monotonic()
        programs = (f"{RIGHT}\n# {number}" for number in itertools.count())
        for done, _ in enumerate(judge.judge_all((problem, code) for code in programs), 1):
            elapsed = time.monotonic() - began
            if elapsed > MEASURED_S:
                return done / elapsed
    raise AssertionError("there is always another program")


def show(report: Report) -> None:
    """On the terminal: lines with their fixes, then the cheats."""
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    from greenlit.execution.cheats import table

    console = Console(width=None if sys.stdout.isatty() else 120)
    drawn = Drawn(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    section = None
    for line in report.lines:
        heading = line.section if line.section != section else ""
        section = line.section
        value = line.value if line.fix is None else f"{line.value}\nfix: {line.fix}"
        drawn.add_row(Text(heading, "bold"), Text(MARKS[line.state], COLOURS[line.state]), line.name, Text(value))
    console.print(drawn)
    if report.cheats:
        console.print()
        console.print(table.as_rich(report.cheats))
        for group, names in table.not_stopped(report.cheats).items():
            console.print(Text(f"not stopped: {group}: {'; '.join(names)}"))
