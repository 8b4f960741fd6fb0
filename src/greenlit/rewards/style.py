"""style: how clean is a program that passes?  reward = max(0, 1 - findings of ruff / lines of code)

One ruff process for all programs of a batch. Findings count wherever they stand, but not in the dataset's own prelude;
comments that silence ruff (`# noqa`) silence nothing here, and no configuration file is read. None for languages other
than Python; NaN, went wrong, where ruff dies of a program.
"""

import json
import math
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from greenlit.config import RewardsParams
from greenlit.config.rewards import StyleParams
from greenlit.errors import ConfigError
from greenlit.program_metrics import lines_of_code
from greenlit.rewards.sample import Sample

TIMEOUT_S = 60.0
"""For a batch; ruff takes 0.2 ms a program."""


def style(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [0, 1]; counts only for programs that pass."""
    python = {place for place, sample in enumerate(samples) if sample.problem.language == "python"}
    passing = {place: samples[place] for place in python if samples[place].passed}
    rows = dict(zip(passing, findings([sample.code for sample in passing.values()], params.style), strict=True))
    return [
        _of(samples[place], rows[place]) if place in passing else 0.0 if place in python else None
        for place in range(len(samples))
    ]


def _of(sample: Sample, rows: Sequence[int] | None) -> float:
    if rows is None:
        return math.nan
    given = _prelude_lines(sample)
    lines = lines_of_code(sample.code) - (lines_of_code(sample.problem.prelude) if given else 0)
    return max(0.0, 1.0 - sum(row not in given for row in rows) / max(1, lines))


def _prelude_lines(sample: Sample) -> range:
    """Lines, from 1, that the dataset wrote."""
    prelude = sample.problem.prelude.rstrip()
    start = sample.code.find(prelude) if prelude else -1
    if start < 0:
        return range(1, 1)
    first = 1 + sample.code.count("\n", 0, start)
    return range(first, first + 1 + prelude.count("\n"))


def findings(programs: Sequence[str], params: StyleParams) -> list[list[int] | None]:
    """The lines, from 1, of ruff's findings in each program; None where ruff died of it.

    Raises:
        ConfigError: ruff is not installed, or does not know a rule.
    """
    if not programs:
        return []
    with tempfile.TemporaryDirectory(prefix="greenlit-style-") as folder:
        names = [f"p{place}.py" for place in range(len(programs))]
        for name, program in zip(names, programs, strict=True):
            (Path(folder) / name).write_bytes(program.encode("utf-8", "replace"))
        found = _checked(Path(folder), ["."], params)
        if found is not None:
            return [found.get(name, []) for name in names]
        alone = [_checked(Path(folder), [name], params) for name in names]
        return [None if one is None else one.get(name, []) for name, one in zip(names, alone, strict=True)]


def _checked(folder: Path, what: list[str], params: StyleParams) -> dict[str, list[int]] | None:
    """Lines by file; None where ruff came to no end."""
    command = [
        _ruff(), "check", "--isolated", "--no-cache", "--ignore-noqa", "--exit-zero", "--quiet",
        "--target-version=py311", "--output-format=json-lines", f"--select={','.join(params.select)}",
        f"--config=line-length={params.line_length}", *what,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 2 and "rule selector" in done.stderr:
        raise ConfigError(f"params.yaml: rewards.style.select: {done.stderr.strip().splitlines()[-1].strip()}")
    if done.returncode:
        return None
    lines: dict[str, list[int]] = {}
    for name, row in _told(done.stdout):
        lines.setdefault(name, []).append(row)
    return lines


def _told(output: str) -> Iterator[tuple[str, int]]:
    for line in output.splitlines():
        finding = json.loads(line)
        yield Path(finding["filename"]).name, finding["location"]["row"]


def _ruff() -> str:
    try:
        import ruff

        return ruff.find_ruff_bin()
    except (ImportError, FileNotFoundError):
        raise ConfigError("the reward `style` needs ruff", hint="pip install ruff -c requirements.lock") from None
