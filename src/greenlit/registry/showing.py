"""Versions as people read them."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from greenlit.evaluation.report import change_text, figure_text
from greenlit.registry.promotion import DECISION, LOOKS, OPEN_LEAKS, ROLLED_BACK, earlier_decision
from greenlit.registry.versions import Version

if TYPE_CHECKING:
    from rich.console import Console

_JSON_TAGS = (DECISION, ROLLED_BACK, OPEN_LEAKS, "figures", "params", "dataset", "data_md5", "audit", "leaks")
_SHORT = 12


def as_json(version: Version) -> dict[str, Any]:
    """A version with its JSON tags opened."""
    tags = {key: version.json_tag(key) if key in _JSON_TAGS else value for key, value in version.tags.items()}
    return {**asdict(version), "tags": tags}


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def print_table(name: str, found: Sequence[Version]) -> None:
    """A line per version."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=name, title_justify="left")
    for column in ("version", "experiment", "method", "figure", "test", "against", "difference", "n", "decision"):
        table.add_column(column)
    for version in found:
        figures = version.json_tag("figures") or {}
        decision = earlier_decision(version)
        metric = decision.metric if decision else "pass@1"
        after = figures.get("after_test", {}).get(metric)
        delta = decision.delta if decision else None
        told = ", ".join([*version.aliases, *(["rolled back"] if ROLLED_BACK in version.tags else [])])
        cells = (
            f"{version.label} {told}".strip(),
            version.tags.get("experiment", ""),
            version.tags.get("method", ""),
            metric,
            figure_text(after) if after else "",
            decision.incumbent if decision else "",
            change_text(delta) if delta else "",
            str(delta["n"]) if delta else "",
            "" if decision is None else "promoted" if decision.promoted else "; ".join(decision.reasons),
        )
        table.add_row(*map(Text, cells), style="bold green" if "champion" in version.aliases else "")
    _console().print(table)


def print_version(version: Version) -> None:
    """Everything that stands on a version, the hashes last."""
    from rich.table import Table
    from rich.text import Text

    console = _console()
    console.print(Text(f"{version.name} {version.label} {', '.join(version.aliases)}".strip(), "bold"))
    decision = earlier_decision(version)
    console.print(Text(decision.sentence() if decision else "the gate has not decided about it"))
    if (back := version.json_tag(ROLLED_BACK)) is not None:
        console.print(Text(f"rolled back to {back['to']}: {back['reason']} ({back['at']})", "red"))
    figures = version.json_tag("figures") or {}
    table = Table("figure", "test", "difference to the base model", "n")
    for metric, found in figures.get("after_test", {}).items():
        delta = figures["delta"][metric]
        table.add_row(metric, figure_text(found), change_text(delta), str(delta["n"]))
    console.print(table)
    shown = {key: value for key, value in version.tags.items() if key not in {DECISION, ROLLED_BACK, "figures"}}
    facts = Table("tag", "value", show_lines=False)
    for key in sorted(shown, key=lambda key: (key.endswith(("_sha256", "_md5")), key)):
        facts.add_row(Text(key), Text(shown[key]))
    console.print(facts)


def print_comparison(old: Version, new: Version, found: Mapping[str, Any]) -> None:
    """The paired differences, and which problems changed."""
    from rich.table import Table

    table = Table(
        "figure", f"{new.label} - {old.label}", "n", "p", title=f"{old.name}: {old.label} → {new.label}, test"
    )
    for metric, delta in found.items():
        if metric not in {"wins", "losses"}:
            p = "" if delta["p"] is None else f"{delta['p']:.4f}"
            table.add_row(metric, change_text(delta), str(delta["n"]), p)
    console = _console()
    console.print(table)
    console.print(f"greedy: {len(found['wins'])} problems won, {len(found['losses'])} lost")


def print_lineage(version: Version, chain: Sequence[Mapping[str, Any]]) -> None:
    """From the model back to its datasets, stage by stage."""
    from rich.text import Text
    from rich.tree import Tree

    looks = version.tags.get(LOOKS, "?")
    tree = Tree(
        Text(
            f"{version.name} {version.label} {', '.join(version.aliases)} (commit {version.tags['git_commit'][:19]}, "
        ).append(f"test looks {looks})")
    )
    read = {path for link in chain for path in link["reads"]}
    for index, link in enumerate(chain):
        node = tree.add(Text(link["stage"], "bold").append(f"  code {link['code'][:_SHORT]}", "dim"))
        wrote = {path: md5 for path, md5 in link["writes"].items() if path in read or not index}
        for title, paths in (("wrote", wrote), ("read", link["reads"])):
            for path, md5 in sorted(paths.items()):
                node.add(Text(f"{title:5} {path}  ").append(f"md5 {md5}", "cyan"))
    _console().print(tree, soft_wrap=True)
