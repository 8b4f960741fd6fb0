"""What every dataset is, for `greenlit data list`: facts that its file does not hold."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from greenlit.config import read_yaml
from greenlit.paths import Paths
from greenlit.presets import presets
from greenlit.problems.adapters import ADAPTERS
from greenlit.types import SPLITS

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class About:
    """One dataset, in words."""

    what: str
    size: str
    language: str
    licence: str
    origin: str
    """Where it is downloaded, or how it comes to be."""


_HUB = "huggingface.co/datasets/"
ABOUT = {
    "starter": About("compositions such as the sum of the even numbers, for the embedded model",
                     "made: 490 train, 100 validation, 200 test as in the preset", "python", "Apache-2.0", "made here"),
    "file": About("your own problems", "yours", "python, javascript, q", "yours", "a local file"),
    "mbpp": About("short programming tasks of crowd workers, three asserts each",
                  "974 (full), 427 (sanitized)", "python", "CC-BY-4.0", f"{_HUB}google-research-datasets/mbpp"),
    "humaneval": About("functions to complete from signature and docstring", "164", "python", "MIT",
                       f"{_HUB}openai/openai_humaneval"),
    "humanevalplus": About("HumanEval with about 760 tests each", "164", "python", "Apache-2.0",
                           f"{_HUB}evalplus/humanevalplus"),
    "mbppplus": About("MBPP with about 110 tests each; of all its splits", "378", "python", "Apache-2.0",
                      f"{_HUB}evalplus/mbppplus"),
    "apps": About("problems of contest sites, stdin and calls, few tests", "5000 train, 5000 test", "python",
                  "MIT; statements belong to their sites", f"{_HUB}codeparrot/apps (download train.jsonl)"),
    "taco": About("problems of contest sites with verified solutions, many tests", "about 12900", "python",
                  "Apache-2.0; statements belong to their sites", f"{_HUB}likaixin/TACO-verified"),
    "leetcode": About("LeetCode problems with about a hundred asserts each (v0.3.1)", "2641 train, 228 test", "python",
                      "Apache-2.0; statements belong to LeetCode", f"{_HUB}newfacade/LeetCodeDataset"),
    "completion": About("source files to complete; no tests", "a sample of your size", "python and others",
                        "by file; filtered", f"{_HUB}codeparrot/codeparrot-clean, {_HUB}bigcode/the-stack-smol"),
    "q": About("problems solved in q (kdb+)", "542 train, 136 test; 162 native", "q", "Apache-2.0; native MIT",
               f"{_HUB}morganstanley/sft-python-q-problems"),
}  # fmt: skip
"""By the names of ADAPTERS; a name that has no adapter is not listed."""


def entries() -> Iterator[dict[str, Any]]:
    """Every dataset there is an adapter for, with what uses it and what of it lies here."""
    users: dict[str, list[str]] = {}
    for name, path in presets().items():
        users.setdefault(read_yaml(path)["dataset"]["name"], []).append(name)
    for name, adapter in ADAPTERS.items():
        yield {
            "name": name,
            **asdict(ABOUT[name]),
            "evaluation_only": adapter.evaluation_only,
            "presets": users.get(name, []),
            "here": _here(name),
        }


def _here(name: str) -> str:
    """What of a dataset lies in this project."""
    paths = Paths(name, "")
    if any(paths.problems(split).is_file() for split in SPLITS):
        return "prepared"
    return "fetched" if paths.raw.is_dir() else ""


def table() -> "Table":
    """A row per dataset, most of it in words."""
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, expand=True, show_lines=True)
    for column in ("dataset", "what, and where from", "size", "language", "licence", "presets", "here"):
        drawn.add_column(column, overflow="fold", ratio=None if column == "dataset" else 3 if "what" in column else 1)
    for row in entries():
        only = "; evaluation only" if row["evaluation_only"] else ""
        what = f"{row['what']}{only}\n{row['origin']}"
        used = ", ".join(row["presets"]) or "-"
        drawn.add_row(row["name"], what, row["size"], row["language"], row["licence"], used, row["here"])
    return drawn
