"""`greenlit grade`: anyone's samples in, one row each out, in order; a stop of any kind loses next to nothing."""

import gzip
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import LEVELS
from grading_files import (
    PROBLEMS,
    SAMPLES,
    command,
    environment,
    figures,
    graded,
    rows,
    started,
    wait_until,
    without_times,
    write_files,
    write_jsonl,
)

from greenlit.problems.adapters import ADAPTERS


def sleeper(number: int = 0) -> dict:
    return {"task_id": "square", "solution": f"import time\ndef f(x): time.sleep(60)  # {number}"}


def many(count: int) -> list[dict]:
    return [
        {"task_id": "square", "completion": f"    return x * {number % 3 + 1}  # {number}\n"} for number in range(count)
    ]


def test_one_row_per_sample_in_the_order_given(tmp_path: Path) -> None:
    done = graded(write_files(tmp_path), "--k", "1,3,10")
    found = rows(tmp_path)
    assert [row["task_id"] for row in found] == [sample["task_id"] for sample in SAMPLES]
    assert [row["candidate_idx"] for row in found] == [0, 1, 0, 1, 2, 2]
    assert [row["verdict"] for row in found] == ["passed", "failed", "passed", "syntax", "timeout", "no_code"]
    assert [row["passed"] for row in found] == [True, False, True, False, False, False]
    assert [(row["tests_passed"], row["tests_total"]) for row in found] == [
        (2, 2),
        (1, 2),
        (1, 1),
        (0, 1),
        (0, 2),
        (0, 1),
    ]
    assert {"cpu_s", "wall_s", "error", "level", "passed_hidden"} <= found[0].keys()
    assert found[1]["error"] == "test 1: assert f(3) == 9: got 4"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".work", "p.jsonl", "s.jsonl", "v.jsonl"]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("pass@1    0.333  [")
    assert lines[0].endswith("]  n = 2 problems")
    assert lines[1].startswith("pass@3    1.000  [")
    assert lines[2].strip() == "pass@10: left out, some problem has 3 samples only"
    assert lines[3].split() == ["verdicts", "passed", "2", "failed", "1", "no_code", "1", "syntax", "1", "timeout", "1"]
    assert lines[4].split() == ["level", found[0]["level"]]


def test_figures_as_json_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    samples = [*SAMPLES[:2], {**SAMPLES[0], "decoding": "greedy", "candidate_idx": -1}]
    found = figures(write_files(tmp_path, samples), "--no-cache")
    assert found["pass@1"]["value"] == 0.5 and found["pass@1"]["n"] == 1
    assert found["greedy"]["value"] == 1.0
    assert found["ks_left_out"] == [10, 100]
    assert (found["problems"], found["problems_without_samples"], found["samples"]) == (2, 1, 3)
    assert (found["judged"], found["cached"], found["resumed"], found["unmeasured"]) == (3, 0, 0, 0)
    assert rows(tmp_path)[2]["candidate_idx"] == -1
    assert not (tmp_path / ".work").exists()


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, [*SAMPLES, *many(40)])
    outputs = set()
    for workers in ("1", "2", "8"):
        graded(tmp_path, "--no-cache", "--workers", workers)
        outputs.add(without_times(tmp_path))
    assert len(outputs) == 1


def test_what_was_judged_is_not_run_again_until_a_test_or_a_limit_changes(tmp_path: Path) -> None:
    write_files(tmp_path)
    first = figures(tmp_path)
    output = (tmp_path / "v.jsonl").read_bytes()
    again = figures(tmp_path, "--workers", "1")
    assert (first["judged"], first["cached"]) == (6, 0)
    assert (again["judged"], again["cached"], again["verdicts_per_s"]) == (0, 6, None)
    assert (tmp_path / "v.jsonl").read_bytes() == output
    assert {key: again[key] for key in ("pass@1", "verdicts")} == {key: first[key] for key in ("pass@1", "verdicts")}
    assert figures(tmp_path, "--memory-mib", "300")["judged"] == 6
    changed = {**PROBLEMS[0], "tests": [{"kind": "assert", "code": "assert f(2) == 5"}]}
    write_jsonl(tmp_path / "p.jsonl", [changed, PROBLEMS[1]])
    found = figures(tmp_path)
    assert (found["judged"], found["cached"]) == (3, 3)
    assert [row["verdict"] for row in rows(tmp_path)][:2] == ["failed", "failed"]
    write_jsonl(tmp_path / "p.jsonl", [{**PROBLEMS[0], "prompt": "def f(x):\n"}, PROBLEMS[1]])
    assert figures(tmp_path)["judged"] == 1  # another prompt is another program only where it is part of it


def test_gzip_bom_and_crlf_are_read_and_gzip_is_written(tmp_path: Path) -> None:
    write_files(tmp_path)
    content = "\r\n".join(json.dumps(row) for row in SAMPLES[:2]).encode()
    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + content))
    graded(tmp_path, "--samples", "s.jsonl.gz", "--out", "deep/er/v.jsonl.gz")
    packed = gzip.decompress((tmp_path / "deep/er/v.jsonl.gz").read_bytes())
    assert [json.loads(line)["verdict"] for line in packed.splitlines()] == ["passed", "failed"]
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["v.jsonl.gz"]


def test_mbpp_as_a_dataset_under_the_names_of_evalplus(tmp_path: Path, shared_data: Path) -> None:
    file = shared_data / "mbpp/mbpp.jsonl"
    row = json.loads(file.read_text().splitlines()[600])
    write_jsonl(tmp_path / "s.jsonl", [{"task_id": f"Mbpp/{row['task_id']}", "solution": row["code"]}])
    done = graded(tmp_path, "--dataset", "mbpp", "--path", str(file), "--timeout-s", "5", "--json")
    found = json.loads(done.stdout)
    assert (found["problems"], found["problems_without_samples"], found["pass@1"]["value"]) == (974, 973, 1.0)
    assert "973 of 974 problems have no samples" in done.stderr
    assert rows(tmp_path)[0]["task_id"] == f"Mbpp/{row['task_id']}"


def test_humaneval_with_completions(tmp_path: Path, shared_data: Path) -> None:
    if "humaneval" not in ADAPTERS:
        pytest.skip("no adapter yet")
    file = shared_data / "humaneval/HumanEval.jsonl.gz"
    some = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()[:10]]
    samples = [
        {"task_id": row["task_id"], "completion": completion}
        for row in some
        for completion in (row["canonical_solution"], "    return None\n")
    ]
    write_jsonl(tmp_path / "s.jsonl", samples)
    graded(tmp_path, "--dataset", "humaneval", "--path", str(file), "--timeout-s", "5")
    assert [row["passed"] for row in rows(tmp_path)] == [True, False] * 10


def test_a_sample_without_a_finding_is_null_and_left_out(tmp_path: Path) -> None:
    unsplittable = {"task_id": "all", "tests": [{"kind": "assert", "code": "assert all(f(i) for i in (1, 2))"}]}
    samples = [{"task_id": "all", "solution": "def f(x): return x"}, SAMPLES[0]]
    done = graded(write_files(tmp_path, samples, [*PROBLEMS, unsplittable]))
    if rows(tmp_path)[0]["passed"] is True:
        pytest.skip("the engine judges this test by now")
    assert [(row["passed"], row["verdict"]) for row in rows(tmp_path)] == [(None, "infra"), (True, "passed")]
    assert "no verdict for 1 of 2 samples" in done.stderr
    assert "n = 1 problems" in done.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "no.jsonl"], "error: --samples: no such file (no.jsonl)"),
        (["--problems", "no.jsonl"], "error: --problems: no such file (no.jsonl)"),
        (["--dataset", "nothing"], "error: --dataset: no dataset 'nothing'\nhint: one of starter, "),
        (["--dataset", "mbpp", "--path", "no.jsonl"], "error: --path: no such file (no.jsonl)"),
        (["--path", "s.jsonl"], "error: --path: goes with --dataset"),
        (["--problems", "p.jsonl", "--dataset", "mbpp"], "error: grade needs either --problems FILE or --dataset NAME"),
        (["--timeout-s", "0"], "error: timeout_s: must be > 0 (found 0)"),
        (["--memory-mib", "1"], "error: memory_mib: must be >= 64 (found 1)"),
        (["--k", "0"], "error: --k: must be integers >= 1, e.g. 1,10,100 (found '0')"),
        (["--out", "."], "error: --out: cannot write ."),
        (["--out", "p.jsonl/v.jsonl"], "error: --out: cannot write p.jsonl/v.jsonl"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path: Path, options: list[str], message: str) -> None:
    assert message in graded(write_files(tmp_path), *options, code=2).stderr


def test_portable_is_only_used_where_it_is_allowed(tmp_path: Path) -> None:
    start = [part for part in command() if part != "--allow-portable"]
    write_files(tmp_path)
    done = subprocess.run(start, cwd=tmp_path, env=environment("portable"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "hint: give --allow-portable if" in done.stderr
    subprocess.run([*start, "--allow-portable"], cwd=tmp_path, env=environment("portable"), check=True)
    assert {row["level"] for row in rows(tmp_path)} == {"portable"}


def test_after_sigkill_it_goes_on_and_ends_as_if_never_stopped(tmp_path: Path) -> None:
    write_files(tmp_path, many(700))
    partial = tmp_path / "v.jsonl.partial"
    with started(tmp_path, "--no-cache") as child:
        assert wait_until(lambda: partial.exists() and partial.stat().st_size, 60)
        family = psutil.Process(child.pid).children(recursive=True)
        child.kill()
        assert wait_until(lambda: not [one for one in family if alive(one)], 2.0), "a process was left behind"
    kept = partial.read_bytes().count(b"\n")
    assert 0 < kept < 700
    with partial.open("ab") as stream:
        stream.write(b'{"task_id": "square", "candi')
    done = graded(tmp_path, "--no-cache", "--json")
    assert json.loads(done.stdout)["resumed"] == kept
    assert f"going on after {kept} of 700 rows" in done.stderr
    resumed, told = without_times(tmp_path), json.loads(done.stdout)
    whole = figures(tmp_path, "--no-cache")
    assert without_times(tmp_path) == resumed
    assert {key: whole[key] for key in ("pass@1", "pass@100", "verdicts")} == {
        key: told[key] for key in ("pass@1", "pass@100", "verdicts")
    }


@pytest.mark.parametrize("level", LEVELS)
def test_sigkill_leaves_no_sleeping_candidate(tmp_path: Path, level: str) -> None:
    write_files(tmp_path, [sleeper(0), sleeper(1), *many(30)])
    with started(tmp_path, "--timeout-s", "30", level=level) as child:
        assert wait_until(lambda: (tmp_path / "v.jsonl.partial").exists(), 60)
        family = settled(psutil.Process(child.pid))
        child.kill()
        assert wait_until(lambda: not [one for one in family if alive(one)], 2.0), "a process was left behind"
    assert len(family) >= 2


def settled(parent: psutil.Process) -> list[psutil.Process]:
    """The descendants, once they have been the same for a second: all workers wait for sleepers."""
    family: list[psutil.Process] = []
    since = time.monotonic()
    while time.monotonic() - since < 1.0:
        now = parent.children(recursive=True)
        if now != family:
            family, since = now, time.monotonic()
        time.sleep(0.02)
    return family


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_leaves_whole_lines_and_no_process(tmp_path: Path, number: int, code: int, level: str) -> None:
    write_files(tmp_path, [*many(30), sleeper(0), *many(30), sleeper(1), *many(600)])
    with started(tmp_path, "--timeout-s", "30", level=level) as child:
        parent = psutil.Process(child.pid)
        assert wait_until(lambda: (tmp_path / "v.jsonl.partial").exists(), 60)
        family = settled(parent)
        child.send_signal(number)
        if number == signal.SIGTERM:  # twice is no hurry; a second Ctrl-C is, and ends without a word
            child.send_signal(number)
        _, said = child.communicate(timeout=30)
    assert child.returncode == code
    assert wait_until(lambda: not [one for one in family if alive(one)], 2.0), "a process was left behind"
    assert f"stopped by {signal.Signals(number).name}; what was judged stays in v.jsonl.partial" in said
    assert "Traceback" not in said
    content = (tmp_path / "v.jsonl.partial").read_bytes()
    assert content.endswith(b"\n") and content.count(b"\n") >= 30
    assert not (tmp_path / "v.jsonl").exists()
    assert all(json.loads(line)["verdict"] in {"passed", "failed"} for line in content.splitlines())


def test_a_partial_file_of_something_else_is_not_taken_up(tmp_path: Path) -> None:
    write_files(tmp_path)
    graded(tmp_path)
    shutil.copy(tmp_path / "v.jsonl", tmp_path / "v.jsonl.partial")
    (tmp_path / "v.jsonl.partial.json").write_text("{}")
    done = graded(tmp_path, "--json")
    assert "warning: v.jsonl.partial is of other problems, samples, limits, level, engine, format: starting anew" in (
        done.stderr
    )
    assert json.loads(done.stdout)["resumed"] == 0
    assert len(rows(tmp_path)) == len(SAMPLES)


@pytest.mark.parametrize(
    "user", [[], ["unshare", "--user", "--map-user=1000", "--map-group=1000"]], ids=["same", "plain"]
)
def test_inside_a_pid_namespace_of_its_own_and_as_a_plain_user(tmp_path: Path, user: list[str]) -> None:
    inside = ["unshare", "--pid", "--fork", "--mount-proc", *user]
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make PID namespaces")
    write_files(tmp_path)
    graded(tmp_path, "--no-cache")
    outside = without_times(tmp_path)
    done = subprocess.run(
        [*inside, *command("--no-cache")], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert without_times(tmp_path) == outside


def test_two_at_once_do_not_write_into_each_other(tmp_path: Path) -> None:
    write_files(tmp_path, [sleeper()])
    with started(tmp_path, "--timeout-s", "30") as child:
        assert wait_until(lambda: (tmp_path / "v.jsonl.partial.json").exists(), 60)
        assert "another `greenlit grade` is writing it" in graded(tmp_path, code=75).stderr
        child.terminate()
        child.communicate(timeout=30)
