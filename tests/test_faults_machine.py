"""Bad days of the machine: full and read-only disks, no rights, no memory, a clock that jumps, two runs at once.

Disks are small ones, mounted in a mount namespace of the test's own; where that is refused the tests skip.
"""

import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from faults import DATA, RAW, RL, ROOT, environment, lines, stage, told, tree

OWN_MOUNTS = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def mounts_work() -> bool:
    """May this user mount a disk of its own?"""
    if not shutil.which("unshare"):
        return False
    probe = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not mounts_work(), reason="needs mounts of its own (unshare --mount)")
SUMS = "find {0} -path '*/.work' -prune -o -type f -exec sha256sum {{}} + | sort > {1}"


def on_disk(project: Path, below: Path, mounting: str, name: str) -> subprocess.CompletedProcess:
    """Run a stage with another disk mounted at a folder of the project, which must end with what it began with."""
    before, after = project.parent / "before.txt", project.parent / "after.txt"
    script = (
        f"set -e; {mounting}; cd {project}; {SUMS.format(below, before)}; "
        f'set +e; "$@"; code=$?; {SUMS.format(below, after)}; exit $code'
    )
    done = stage(project, name, before=[*OWN_MOUNTS, "bash", "-c", script, "_"])
    assert before.read_text()
    assert after.read_text() == before.read_text()
    return done


def full_disk(at: Path) -> str:
    """Shell: the same files on a disk of their own that is full."""
    return (
        f"mount -t tmpfs none /mnt && mkdir /mnt/kept && cp -a {at}/. /mnt/kept && "
        f"mount -t tmpfs -o size=1m none {at} && cp -a /mnt/kept/. {at} && "
        f"{{ head -c 2M /dev/zero > {at}/fill 2> /dev/null || true; }}"
    )


@needs_mounts
@pytest.mark.parametrize(
    ("name", "below", "place"),
    [
        ("fetch", RAW.parent, "assets/raw/"),
        ("prepare", DATA, "assets/datasets/file/quarantine.jsonl, assets/datasets/file/audit.json: "),
        ("annotate", DATA / "train", "assets/datasets/file/train/"),
        ("build", RL, "assets/rl/file/nbest.jsonl, assets/rl/file/pairs.jsonl, assets/rl/file/manifest.json: "),
    ],
)
def test_a_full_disk_is_to_be_tried_again_and_loses_nothing(project: Path, name: str, below: Path, place: str) -> None:
    done = on_disk(project, below, full_disk(project / below), name)
    told(done, 75, place, "the disk is full", "hint: free some space; what was done is kept")


@needs_mounts
def test_a_disk_that_is_full_everywhere_is_told_once(project: Path) -> None:
    shutil.rmtree(project / ".work")
    done = on_disk(project, Path("assets"), full_disk(project), "annotate")
    told(done, 75, "the disk is full", "hint: free some space")


@needs_mounts
@pytest.mark.parametrize(
    ("name", "below", "place"),
    [
        ("fetch", RAW.parent, "assets/raw/"),
        ("build", RL, "assets/rl/file/nbest.jsonl: no right to do that (Read-only file system)"),
        ("annotate", DATA, "candidates_annotated.jsonl: no right to do that (Read-only file system)"),
        ("base", Path("assets/models"), "assets/models/.base.part: no right to do that (Read-only file system)"),
    ],
)
def test_a_read_only_directory_is_yours_to_fix(project: Path, name: str, below: Path, place: str) -> None:
    at = project / below
    done = on_disk(project, below, f"mount --bind {at} {at} && mount -o remount,ro,bind {at}", name)
    told(done, 2, place, "no right to do that", "hint: make it writable")


@needs_mounts
def test_a_read_only_project_is_told_before_anything_runs(project: Path) -> None:
    shutil.rmtree(project / ".work")
    done = on_disk(
        project, Path("assets"), f"mount --bind {project} {project} && mount -o remount,ro,bind {project}", "build"
    )
    told(done, 2, ".work", "no right to do that (Read-only file system)")


def without_rights_over_files() -> list[str]:
    """Before a command: root loses its right to read what it may not; a plain user has none."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv where the tests run as root")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", "--bounding-set", rights, "--inh-caps", rights]


def test_a_file_that_may_not_be_read_or_a_folder_not_written_is_named(project: Path) -> None:
    before = tree(project)
    source = project / DATA / "train/candidates_annotated.jsonl"
    source.chmod(0)
    done = stage(project, "build", before=without_rights_over_files())
    told(done, 2, "candidates_annotated.jsonl: no right to do that (Permission denied)")
    source.chmod(0o644)
    (project / RL).chmod(0o555)
    done = stage(project, "build", before=without_rights_over_files())
    told(done, 2, "assets/rl/file/nbest.jsonl: no right to do that (Permission denied)")
    (project / RL).chmod(0o755)
    assert tree(project) == before


def test_a_file_where_a_folder_belongs_and_the_other_way_round(project: Path) -> None:
    shutil.rmtree(project / RL)
    (project / RL).write_text("mine")
    done = stage(project, "build")
    told(done, 2, "assets/rl/file: cannot be used (File exists)", "hint: a file stands where a folder is expected")
    assert (project / RL).read_text() == "mine"
    problems = project / DATA / "train/problems.jsonl"
    problems.unlink()
    problems.mkdir()
    told(stage(project, "build"), 2, "train/problems.jsonl: a folder, where a file is expected")


@pytest.mark.skipif(not shutil.which("prlimit"), reason="needs prlimit")
def test_no_memory_is_to_be_tried_again_and_loses_nothing(project: Path) -> None:
    source = project / DATA / "train/candidates_annotated.jsonl"
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    source.write_text(lines([rows[0] | {"text": "x" * (50 << 20)}, *rows[1:]]))
    before = tree(project)
    done = stage(project, "build", before=["prlimit", f"--as={250 << 20}"])
    told(done, 75, "not enough memory", "hint: lower batch_size or GREENLIT_WORKERS, or free memory")
    assert tree(project) == before
    assert stage(project, "build").returncode == 0


def test_two_runs_of_a_stage_at_once_are_one_run(project: Path) -> None:
    """The first is held where it is; the second goes at once; then the first ends as if nothing had been."""
    problems = {split: project / DATA / split / "problems.jsonl" for split in ("train", "validation", "test")}
    before = {split: hashlib.sha256(file.read_bytes()).hexdigest() for split, file in problems.items()}
    first = subprocess.Popen(
        [sys.executable, "-m", "tasks.prepare"], cwd=project, env=environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        lock = project / ".work/locks/stage_prepare.lock"
        for _ in range(1000):
            if lock.exists() and lock.read_text().partition(" ")[0] == str(first.pid):
                first.send_signal(signal.SIGSTOP)
                break
            time.sleep(0.02)
        told(
            stage(project, "prepare"),
            75,
            f"stage prepare is at work here already (process {first.pid})",
            "hint: wait for it",
        )
        assert first.poll() is None
        first.send_signal(signal.SIGCONT)
        _, stderr = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 0, stderr
    assert {split: hashlib.sha256(file.read_bytes()).hexdigest() for split, file in problems.items()} == before


def test_a_lock_that_a_killed_run_left_stops_nobody(project: Path) -> None:
    (project / ".work/locks").mkdir(parents=True, exist_ok=True)
    (project / ".work/locks/stage_build.lock").write_text("1")
    assert stage(project, "build").returncode == 0


JUMPING_CLOCK = """
import itertools, time
_jumps = itertools.cycle([0, 86400.0, -86400.0, 3600.0])
_real = time.time
time.time = lambda: _real() + next(_jumps)
time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_a_clock_that_jumps_a_day_changes_nothing(project: Path, tmp_path: Path) -> None:
    """Every call of the wall clock is a day off the last one; all verdicts are found anew."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(JUMPING_CLOCK)
    before = tree(project)
    (project / ".work/verdicts.sqlite").unlink()
    path = os.pathsep.join([str(tmp_path / "clock"), environment()["PYTHONPATH"]])
    for name in ("fetch", "prepare", "annotate", "build"):
        done = stage(project, name, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
    after = tree(project)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {f"{DATA}/train/timings.jsonl"}
    times = [json.loads(line) for line in (project / DATA / "train/timings.jsonl").read_text().splitlines()]
    assert all(0 <= row["cpu_s"] < 60 and 0 <= row["wall_s"] < 60 for row in times)


WALL_CLOCKS = ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today")


def wall_clocks(paths: Sequence[Path]) -> list[str]:
    """Where code of ours asks the wall clock."""
    found = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            asked = isinstance(node, ast.Attribute) and ast.unparse(node).endswith(WALL_CLOCKS)
            taken = (
                isinstance(node, ast.ImportFrom)
                and node.module == "time"
                and {"time", "time_ns"} & {alias.name for alias in node.names}
            )
            if asked or taken:
                found.append(f"{path.name}:{node.lineno}")
    return found


def test_nothing_of_ours_asks_the_wall_clock(tmp_path: Path) -> None:
    """Timeouts, progress and locks go by the monotonic clock, which no one can set.

    Trackers, registry and records tell people when something was; nothing is decided by it.
    """
    probe = tmp_path / "probe.py"
    probe.write_text("import time\ntime.time()\n")
    assert wall_clocks([probe]) == ["probe.py:2"]
    telling = [ROOT / "src/greenlit" / name for name in ("tracking", "registry", "runs")]
    ours = [path for folder in ("src", "tasks", "flows") for path in (ROOT / folder).rglob("*.py")]
    assert wall_clocks([path for path in ours if not set(telling) & set(path.parents)]) == []
