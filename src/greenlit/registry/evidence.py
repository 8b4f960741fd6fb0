"""What a version carries: where it came from, what was measured, and what speaks against trusting it."""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from greenlit.jsonl import read_json_lines, read_rows
from greenlit.problems.prompts import prompt_hash, render
from greenlit.registry.lineage import Link
from greenlit.stage.workspace import sha256_path
from greenlit.tracking.origin import git_commit
from greenlit.types import Kind, Problem

MEASURED_BY: Mapping[Kind, str] = {
    "program": "execution: tests decide what passes",
    "completion": "likeness to the held-back text: no tests, nothing was run, passed is null",
}
_NAMED = 5


def lineage_tags(
    inputs: Mapping[str, Path],
    base: str,
    seed: int,
    figures: Mapping[str, Any],
    root: Path,
    kind: Kind = "program",
    **facts: Any,
) -> dict[str, str]:
    """The tags every version carries: git commit, hash of each input, base model, seed and figures.

    Args:
        inputs: what the model was made from, e.g. {"pairs": assets/rl/starter/pairs.jsonl}; files or folders.
        figures: pass@k and greedy with their intervals, or what stands for them where there are no tests, stored as
            JSON.
        root: the project's folder, for the git commit.
        kind: of the problems; `completion` says that nothing was run.
        facts: more of them, stored as JSON where they are no strings; null is left out.
    """
    return {
        "git_commit": git_commit(root),
        **{f"{name}_sha256": sha256_path(path) for name, path in inputs.items()},
        "base": base,
        "seed": str(seed),
        "kind": kind,
        "measured_by": MEASURED_BY[kind],
        "figures": json.dumps(figures, sort_keys=True),
        **{key: _as_tag(value) for key, value in facts.items() if value is not None},
    }


def _as_tag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def data_hashes(chain: Iterable[Link]) -> dict[str, str]:
    """DVC's hash of everything on the way that is data: path -> md5, as `dvc.lock` has it."""
    return {path: md5 for link in chain for path, md5 in sorted({**link.reads, **link.writes}.items())}


def audit_summary(audit: Mapping[str, Any]) -> dict[str, Any]:
    """What audit.json says of the problems, in numbers."""
    keys = ("kept", "grades", "quarantined_by_split", "dropped_by_reason", "mutants", "sandbox_level")
    return {key: audit[key] for key in keys if key in audit}


def leak_summary(audit: Mapping[str, Any]) -> dict[str, Any]:
    """What leaks were looked for, found and removed, in numbers."""
    leaks = audit.get("leaks", {})
    return {key: leaks[key] for key in ("checks", "against", "removed_from", "by_check", "not_checked") if key in leaks}


def open_leaks(audit: Mapping[str, Any], reads: Path, test: Path) -> list[str]:
    """Why a model might have seen its test: a sentence each, none when nobody found anything.

    `prepare` removes the train problems that repeat a test problem. What a method reads need not come from there.

    Args:
        reads: JSONL that the method learned from: pairs, nbest or problems.
        test: its test problems.
    """
    found = []
    if "test" not in audit.get("leaks", {}).get("against", {}):
        found.append("audit.json does not say that train was checked against test")
    ids: set[str] = set()
    prompts: set[str] = set()
    for problem in read_rows(test, Problem):
        ids.add(problem.task_id)
        prompts |= {prompt_hash(render(problem, chat)) for chat in (False, True)}
    same = (row for _, row in read_json_lines(reads) if _is_of(row, ids, prompts))
    if named := [str(row.get("task_id", row.get("id", "a row"))) for row in islice(same, _NAMED)]:
        found.append(f"{reads.as_posix()} holds test problems, {', '.join(named)} among them")
    return found


def _is_of(row: Any, ids: set[str], prompts: set[str]) -> bool:
    if not isinstance(row, dict):
        return False
    prompt = row.get("prompt")
    known = isinstance(prompt, (str, list)) and prompt_hash(prompt) in prompts
    return known or row.get("task_id", row.get("id")) in ids
