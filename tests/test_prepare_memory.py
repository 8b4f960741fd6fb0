"""The memory of `prepare` does not grow with the dataset; the full size is benchmarks/prepare_memory.py's."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from prepare_memory import prepare_peak, write_problems

SMALL_MIB, LARGE_MIB = 4, 44


def test_ten_times_the_problems_take_no_more_memory(tmp_path: Path) -> None:
    peaks = []
    for mib in (SMALL_MIB, LARGE_MIB):
        folder = tmp_path / str(mib)
        folder.mkdir()
        write_problems(folder / "problems.jsonl", mib << 20, 16 << 10)
        most, _ = prepare_peak(folder, limit=4, workers=1)
        peaks.append(most)
    assert peaks[1] - peaks[0] < (LARGE_MIB - SMALL_MIB) / 4
