"""dvc.lock, read without DVC."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenlit.locked import locked_stages, stages_in_order

ORDER = """
from greenlit.locked import stages_in_order
locked = {f"s{number}": {"outs": [{"path": f"made/{number}"}]} for number in range(8)}
locked["report"] = {"deps": [{"path": "made"}], "outs": [{"path": "report.md"}]}
print(*stages_in_order(locked))
"""


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_the_order_is_the_same_in_every_process(seed: str) -> None:
    """It is written into a model's lineage and into the records of runs."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run([sys.executable, "-c", ORDER], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*(f"s{number}" for number in range(8)), "report"]


def test_a_stage_that_reads_a_folder_or_a_file_in_one_follows_who_wrote_it() -> None:
    locked = {
        "a": {"deps": [{"path": "made/by-b/file"}], "outs": [{"path": "a.txt"}]},
        "b": {"deps": [{"path": "c"}], "outs": [{"path": "made/by-b"}]},
        "c": {"outs": [{"path": "c/one"}, {"path": "c/two"}]},
    }
    assert stages_in_order(locked) == {"c": [], "b": ["c"], "a": ["b"]}
    assert list(stages_in_order(locked)) == ["c", "b", "a"]


def test_where_nothing_has_run_there_are_no_stages(tmp_path: Path) -> None:
    assert locked_stages(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text("")
    assert locked_stages(tmp_path) == {}
