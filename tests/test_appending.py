"""A file of lines holds whole lines, whatever ended the one who wrote it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenlit import appending
from greenlit.appending import Appending


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40), piece=st.integers(1, 9))
def test_the_tail_that_is_no_line_is_cut_off(tmp_path: Path, content: bytes, piece: int) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "_PIECE", piece)
        with Appending(path) as file:
            whole = content[: content.rfind(b"\n") + 1]
            assert path.read_bytes() == whole
            assert [line for _, line in file.lines()] == [line + b"\n" for line in whole.split(b"\n")[:-1]]
            assert file.append([b"a\n", b"bc\n"]) == len(whole)
    assert path.read_bytes() == whole + b"a\nbc\n"


def test_offsets_lead_to_their_lines(tmp_path: Path) -> None:
    with Appending(tmp_path / "rows") as file:
        assert file.append([b"one\n", b"two\n"]) == 0
        assert file.append([b"three\n"]) == 8
        assert list(file.lines()) == [(0, b"one\n"), (4, b"two\n"), (8, b"three\n")]
        file.cut(4)
        assert file.append([b"four\n"]) == 4
    assert (tmp_path / "rows").read_bytes() == b"one\nfour\n"


def test_a_block_that_does_not_fit_is_not_there_at_all(tmp_path: Path, monkeypatch) -> None:
    real = os.write

    def short_then_full(handle: int, data: memoryview) -> int:
        if len(data) > 4:
            return real(handle, data[:4])
        raise OSError(28, "No space left on device")

    with Appending(tmp_path / "rows") as file:
        file.append([b"kept\n"])
        monkeypatch.setattr(appending.os, "write", short_then_full)
        with pytest.raises(OSError, match="No space left") as full:
            file.append([b"lost\n", b"too\n"])
        assert full.value.filename == str(tmp_path / "rows")
        assert (tmp_path / "rows").read_bytes() == b"kept\n"
        monkeypatch.setattr(appending.os, "write", real)
        assert file.append([b"again\n"]) == 5
    assert (tmp_path / "rows").read_bytes() == b"kept\nagain\n"


def test_a_file_that_another_process_has_open_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    code = (
        f"from pathlib import Path; from greenlit.appending import Appending\n"
        f"try: Appending(Path({str(path)!r}))\n"
        f"except BlockingIOError: print('taken')\n"
    )
    with Appending(path) as file:
        file.append([b"mine\n"])
        os.pwrite(file._handle, b"in the middle of a li", 5)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "taken\n"
        assert path.read_bytes() == b"mine\nin the middle of a li"
