"""The judge on this machine: its level, what it stops, how fast it is."""

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from greenlit.config import AnnotateParams
from greenlit.doctor.lines import Line, Report
from greenlit.errors import ConfigError, SandboxError
from greenlit.stage.hardware import cores, workers

if TYPE_CHECKING:
    from greenlit.execution.cheats.host import Host
    from greenlit.execution.cheats.runner import Table
    from greenlit.execution.judges import Judge

MEASURED_S = 1.0


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
