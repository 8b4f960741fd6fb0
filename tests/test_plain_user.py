"""The jail as a user without rights builds it, where the tests run as root; elsewhere every other test is this one."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WITHOUT_RIGHTS = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--inh-caps=-all"]
NEW_PROCESSES = ["unshare", "--pid", "--fork", "--mount-proc"]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))), reason="needs root, unshare and setpriv"
)


def readable_for_all() -> str:
    """Shell commands after which a plain user reaches the interpreter and this checkout, in a mount namespace."""
    commands = []
    for needed in (Path(sys.base_prefix), ROOT):
        closed = [folder for folder in needed.parents if not folder.stat().st_mode & 0o005]
        if closed:
            top = closed[-1]
            commands.append(
                f"mkdir -p /mnt/kept && mount --bind {needed} /mnt/kept && mount -t tmpfs -o mode=755 none {top} && "
                f"mkdir -p {needed} && mount --move /mnt/kept {needed}"
            )
    return " && ".join(commands) or "true"


def as_plain_user(command: list[str], folder: Path, before: tuple[str, ...] = (), **environment: str) -> str:
    """Run a command of ours as a user that owns nothing; its standard output."""
    folder.chmod(0o777)
    for parent in folder.parents:
        if Path(tempfile.gettempdir()) in parent.parents:
            parent.chmod(parent.stat().st_mode | 0o055)
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT / "src"), **environment}
    script = f'set -e; {readable_for_all()}; cd {folder}; exec "$@"'
    wrapped = ["unshare", "--mount", "bash", "-c", script, "_", *before, *WITHOUT_RIGHTS, *command]
    done = subprocess.run(wrapped, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("level", ["namespaces", "bubblewrap"])
def test_a_plain_users_jail_stops_every_cheat(tmp_path: Path, level: str) -> None:
    if level == "bubblewrap" and not shutil.which("bwrap"):
        pytest.skip("needs bwrap")
    code = (
        "import json\nfrom greenlit.execution.cheats.host import Host\n"
        "from greenlit.config import AnnotateParams\n"
        "from greenlit.execution.cheats.runner import run_cheats, suite_params\n"
        "from greenlit.execution.cheats.suite import CHEATS\nfrom greenlit.execution.cheats.table import as_json\n"
        "from greenlit.execution.judges import Judge\n"
        f"with Host() as host, Judge(suite_params(AnnotateParams()), 2, {level!r}) as judge:\n"
        "    print(json.dumps(as_json(run_cheats(judge, CHEATS, host=host))))\n"
    )
    table = json.loads(as_plain_user([sys.executable, "-c", code], tmp_path))
    assert table["level"] == level
    assert (table["not_stopped"], table["right_programs_refused"]) == ({}, [])
    assert table["outcomes"]["stopped"] == table["attacks"] >= 60


@pytest.mark.parametrize("before", [(), tuple(NEW_PROCESSES)], ids=["here", "new process namespace"])
def test_grade_works_for_a_plain_user(tmp_path: Path, before: tuple[str, ...]) -> None:
    problem = {"task_id": "square", "entry_point": "f", "tests": [{"kind": "assert", "code": "assert f(3) == 9"}]}
    samples = [{"task_id": "square", "solution": code} for code in ("def f(x): return x * x", "def f(x): return x")]
    (tmp_path / "P.jsonl").write_text(json.dumps(problem) + "\n")
    (tmp_path / "S.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    command = [sys.executable, "-m", "greenlit.cli", "grade", "--problems", "P.jsonl", "--samples", "S.jsonl"]
    as_plain_user([*command, "--out", "V.jsonl"], tmp_path, before, GREENLIT_SANDBOX="namespaces")
    rows = [json.loads(line) for line in (tmp_path / "V.jsonl").read_text().splitlines()]
    assert [(row["passed"], row["level"]) for row in rows] == [(True, "namespaces"), (False, "namespaces")]
