"""Read what a method learns from: preference pairs for DPO, passing programs and demonstrations for SFT."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from greenlit.config import DpoParams, SftParams
from greenlit.errors import DataError
from greenlit.jsonl import read_numbered_rows, read_rows
from greenlit.types import NBest, Pair


def training_rows(params: DpoParams | SftParams, end: str) -> list[dict[str, Any]]:
    """Rows in TRL's columns.

    Args:
        end: the tokenizer's end-of-sequence token.

    Raises:
        DataError: the file is missing, malformed, or has nothing to learn from.
    """
    path = Path(params.reads)
    rows = _pairs(path) if isinstance(params, DpoParams) else _best_programs(path, end)
    if not rows:
        raise DataError(
            f"{path}: nothing to learn from (no problem has both a program that passes and one that fails)"
            if isinstance(params, DpoParams)
            else f"{path}: nothing to learn from (no program passes)",
            hint=f"{path.parent / 'manifest.json'} counts the verdicts: where none passes, sample more (generate.n) or "
            "start from a stronger model; where all pass, raise generate.temperature or give harder problems; where "
            "there are no tests, lower build.margin or build.least_reward",
        )
    return rows


class Preference(BaseModel):
    """What is read of a preference pair, ours or anyone's: TRL's columns, all else is left alone."""

    prompt: str | list[dict[str, str]]
    chosen: str | list[dict[str, str]]
    rejected: str | list[dict[str, str]]


def preference_rows(path: Path) -> list[dict[str, Any]]:
    """Preference pairs of any origin.

    Raises:
        DataError: the file is missing, malformed or empty, or both sides of a pair are the same.
    """
    rows = []
    for number, row in read_numbered_rows(path, Preference):
        if row.chosen == row.rejected:
            raise DataError(f"{path}:{number}: chosen and rejected are the same", hint="leave the pair out")
        rows.append(row.model_dump())
    if not rows:
        raise DataError(
            f"{path}: nothing to learn from (no pairs)",
            hint="a pair is a line {prompt, chosen, rejected}; `greenlit run --only rl_build` makes some by execution",
        )
    return rows


def _pairs(path: Path) -> list[dict[str, Any]]:
    return [{"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected} for row in read_rows(path, Pair)]


def _best_programs(path: Path, end: str) -> list[dict[str, Any]]:
    rows = []
    for problem in read_rows(path, NBest):
        for best in problem.best_list:
            if best.passed is not False:  # null: a demonstration, or a completion that `build` found good enough
                plain = isinstance(problem.prompt, str)
                completion = best.text + end if plain else [{"role": "assistant", "content": best.text}]
                rows.append({"prompt": problem.prompt, "completion": completion})
    return rows
