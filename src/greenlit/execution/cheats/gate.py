"""Before rewards are made: does any cheat forge a verdict at the level in use?

The short form: attacks on the verdict itself that end by themselves. What a level lets through besides (files, the
network at `portable`) is `greenlit doctor`'s to tell.
"""

import hashlib
import os
import platform
import sys
from pathlib import Path

from greenlit.errors import SandboxError
from greenlit.execution.cheats.cheat import Cheat
from greenlit.execution.cheats.host import Host
from greenlit.execution.cheats.runner import passes
from greenlit.execution.cheats.suite import CHEATS
from greenlit.execution.judgement import AnyJudge
from greenlit.execution.judges import Judge
from greenlit.execution.untested import Untested
from greenlit.jsonl import write_json
from greenlit.stage.workspace import WORK, sha256_tree

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def forging(cheats: tuple[Cheat, ...] = CHEATS) -> list[Cheat]:
    """Cheats of the short form."""
    return [
        cheat
        for cheat in cheats
        if cheat.goal == "forge" and not (cheat.needs_jail or cheat.before or cheat.ends_by_a_limit)
    ]


def refuse_forgeable(judge: AnyJudge, cheats: tuple[Cheat, ...] = CHEATS) -> int:
    """Run the short form once per machine, level and state of this code; the result is kept in `.work/cheats/`.

    A judge on a cluster asks its nodes itself, as they start.

    Returns:
        how many are tried, all in vain; 0 where nothing is run, so that there is no verdict to forge.

    Raises:
        SandboxError: a wrong program passes; training on such verdicts would teach the model to cheat.
    """
    if isinstance(judge, Untested):
        return 0
    chosen = forging(cheats)
    if getattr(judge, "nodes_try_cheats", False):
        return len(chosen)
    kept = WORK / "cheats" / f"{_key(judge, cheats)}.json"
    if kept.exists():
        return len(chosen)
    with Host() as host:
        problems = host.problems()
        jobs = [(problems[cheat.problem], cheat.programs(host.places)[-1]) for cheat in chosen]
        found = list(judge.judge_all(jobs))
    forged = [cheat.name for cheat, judgement in zip(chosen, found, strict=True) if passes(judgement)]
    if forged:
        raise SandboxError(
            f"sandbox level {judge.level}: {len(forged)} of {len(chosen)} known cheats get a verdict they did not earn "
            f"({'; '.join(forged[:5])})",
            hint="do not train on such verdicts; see `greenlit doctor` and report its output",
        )
    write_json(kept, {"level": judge.level, "cheats": len(chosen)})
    return len(chosen)


def _key(judge: Judge, cheats: tuple[Cheat, ...]) -> str:
    """Everything the result depends on."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    parts = [
        judge.level,
        *judge.notes,
        *(cheat.name for cheat in cheats),
        platform.platform(),
        boot,
        sys.version,
        str(os.geteuid()),
        sha256_tree(Path(__file__).resolve().parents[1]),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
