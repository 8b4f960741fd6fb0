"""`greenlit calibrate-judge` and `build.ai` as real processes, with a judge behind a real HTTP server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ai_server import Answer, Server, by_rule, is_comparison, preferred, serve
from faults import DATA, RL, environment, lines, own_problem, stage, told, write_candidates

from greenlit.jsonl import read_json, read_rows
from greenlit.pairs.ai import as_completion
from greenlit.types import AssertTest, Pair, Problem

PLAIN, LONG, WRONG, FAR = (
    "def f(x):\n    return x + {n}\n", "def f(x):\n    y = x + {n}\n    return y\n", "def f(x):\n    return x\n",
    "def f(x):\n    return [x]\n",
)  # fmt: skip
PROBLEMS = 12
JUDGE = "judge: {model: some/judge, threshold: 0.6}"


def quality(program: str) -> int:
    """Right programs high, plain ones higher."""
    return 9 if "return x + " in program else 8 if "y = x + " in program else 2


@pytest.fixture(scope="module")
def made(made_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project with more problems: two passing and two failing candidates each."""
    project = Path(shutil.copytree(made_project, tmp_path_factory.mktemp("many") / "project", symlinks=True))
    train = project / DATA / "train/problems.jsonl"
    (first, *_) = train.read_text().splitlines()
    more = [own_problem(number, "train") for number in range(1, PROBLEMS + 10) if number not in (4, 5)][:PROBLEMS]
    train.write_text(lines([json.loads(first) | one for one in more]))
    write_candidates(project, [PLAIN, LONG, WRONG, FAR])
    done = stage(project, "annotate")
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(by_rule(quality)) as state:
        yield state


def with_ai(project: Path, more: str = "") -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("{max_pairs: 4}", f"{{max_pairs: 4, ai: {{{JUDGE}{more}}}}}"))


def calibrate(project: Path, server: Server, *arguments: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "greenlit.cli", "calibrate-judge", *arguments], cwd=project, timeout=120,
        env=environment(GREENLIT_JUDGE_URL=server.url), capture_output=True, text=True, check=False,
    )  # fmt: skip


def build(project: Path, server: Server) -> tuple[list[Pair], dict[str, Any], str]:
    done = stage(project, "build", GREENLIT_JUDGE_URL=server.url)
    assert done.returncode == 0, done.stderr
    return list(read_rows(project / RL / "pairs.jsonl", Pair)), read_json(project / RL / "manifest.json"), done.stderr


def test_a_judge_is_calibrated_and_then_its_pairs_count(project: Path, server: Server) -> None:
    with_ai(project)
    done = stage(project, "build", GREENLIT_JUDGE_URL=server.url)
    told(
        done, 2, "params.yaml: build.ai.judge: some/judge with rubric v1: is not calibrated on file",
        "hint: `greenlit calibrate-judge` measures",
    )  # fmt: skip
    assert server.requests == []
    done = calibrate(project, server)
    assert done.returncode == 0, done.stderr
    assert "AUC within a problem" in done.stdout
    assert "its weight may be above 0" in done.stdout
    (file,) = (project / "calibration/file").iterdir()
    assert file.name.startswith("some-judge-v1-")
    pairs, manifest, _ = build(project, server)
    of_ai = [pair for pair in pairs if pair.reason == "ai"]
    assert of_ai
    for pair in of_ai:  # equal by execution, unlike by the judge: only the right ones are
        assert (pair.chosen_idx, pair.rejected_idx) == (0, 1)
        assert pair.chosen.startswith("def f(x):\n    return x + ")
        assert pair.chosen.endswith("<eos>")
    assert manifest["pairs_by_reason"]["ai"] == len(of_ai) == manifest["ai"]["pairs"]
    assert manifest["ai"]["judge"]["model"] == "some/judge"
    assert manifest["ai"]["calibration"]["auc_within"]["value"] == 1.0
    assert manifest["ai"]["compared"]["unanswered"] == manifest["ai"]["compared"]["flips"] == 0
    assert "ai" not in manifest["settings"]["build"]
    asked, before = len(server.requests), {path.name: path.read_bytes() for path in (project / RL).iterdir()}
    build(project, server)
    assert len(server.requests) == asked, "what was answered before is not paid for again"
    assert before == {path.name: path.read_bytes() for path in (project / RL).iterdir()}


def test_without_ai_the_pairs_and_the_manifest_are_as_before(project: Path, server: Server) -> None:
    build(project, server)
    before = {path.name: path.read_bytes() for path in (project / RL).iterdir()}
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("{max_pairs: 4}", "{max_pairs: 4, ai: null}"))
    build(project, server)
    assert before == {path.name: path.read_bytes() for path in (project / RL).iterdir()}
    assert server.requests == []


def test_a_judge_below_the_threshold_is_refused(project: Path, server: Server) -> None:
    with_ai(project)
    server.model = by_rule(lambda program: 5)
    done = calibrate(project, server, "--json", "--problems", "10", "--programs", "2")
    assert done.returncode == 1, done.stderr
    (document,) = json.loads(done.stdout)
    assert document["auc"]["value"] == 0.5
    told(
        stage(project, "build", GREENLIT_JUDGE_URL=server.url), 2, "its AUC against execution has a low end of",
        "less than threshold 0.6", "its weight must be 0",
    )  # fmt: skip


def test_weight_0_measures_only_and_needs_no_calibration(project: Path, server: Server) -> None:
    with_ai(project, ", weight: 0, among: any, compare: 6")
    pairs, manifest, _ = build(project, server)
    assert "ai" not in {pair.reason for pair in pairs}
    assert manifest["ai"]["pairs"] == 0
    compared = manifest["ai"]["compared"]
    assert compared["asked"] == 6 * PROBLEMS
    assert compared["execution_agrees"] > 0 == compared["execution_disagrees"]


def test_answers_that_depend_on_the_order_make_no_pair(project: Path, server: Server) -> None:
    rule = by_rule(quality)
    with_ai(project)
    calibrate(project, server)
    server.model = lambda messages: preferred(messages, "first") if is_comparison(messages) else rule(messages)
    (project / ".work/judge/answers.jsonl").unlink()
    pairs, manifest, _ = build(project, server)
    assert "ai" not in {pair.reason for pair in pairs}
    assert manifest["ai"]["compared"]["flips"] == manifest["ai"]["compared"]["asked"] > 0


def test_a_revision_counts_when_it_passes_the_tests(project: Path, server: Server) -> None:
    """The judge writes `x + 1`: right for one problem, wrong for the others."""
    with_ai(project, ", compare: 0, revise: 1")
    pairs, manifest, _ = build(project, server)
    (revised,) = [pair for pair in pairs if pair.reason == "ai revision"]
    assert (revised.task_id, revised.chosen) == ("add-1", "def f(x):\n    return x + 1\n<eos>")
    assert (revised.rejected, revised.chosen_idx) == ("def f(x):\n    return x\n<eos>", None)
    assert manifest["ai"]["revised"] == {"asked": PROBLEMS, "written": PROBLEMS, "passing": 1, "unknown": 0}


def test_an_endpoint_that_answers_nothing_fails_the_stage_and_one_that_answers_some_does_not(
    project: Path, server: Server
) -> None:
    with_ai(project, ", weight: 0")
    server.always = Answer(b"who are you?", 401)
    told(
        stage(project, "build", GREENLIT_JUDGE_URL=server.url), 75,
        "judge some/judge: no answer to any of", "(HTTP 401:", "hint: check judge.model",
    )  # fmt: skip
    told(stage(project, "build"), 2, "GREENLIT_JUDGE_URL: is not set", "hint: ")
    server.always, server.faults = None, [Answer(b"busy", 400)]
    _, manifest, said = build(project, server)
    assert manifest["ai"]["compared"]["unanswered"] == 1
    assert "warning: judge some/judge: HTTP 400 (busy): null, not 0" in said


def test_a_placebo_asks_no_judge(project: Path, server: Server) -> None:
    with_ai(project)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("{max_pairs: 4", "{max_pairs: 4, shuffle_verdicts: true"))
    _, manifest, _ = build(project, server)
    assert server.requests == []
    assert "ai" not in manifest


def test_no_judge_to_calibrate_is_told(project: Path, server: Server) -> None:
    told(calibrate(project, server), 2, "params.yaml: names no AI judge", "hint: e.g. build: {ai:")
    with_ai(project, ", compare: 0")
    told(calibrate(project, server), 2, "params.yaml: build.ai: asks for nothing: set compare or revise")


def test_a_key_is_in_nothing_that_is_written(project: Path, server: Server) -> None:
    key = "sk-canaryOlive0007"
    with_ai(project, ", weight: 0, revise: 1")
    server.always = Answer(json.dumps({"error": {"message": f"bad key {key}"}}).encode(), 403)
    variables = {"GREENLIT_JUDGE_URL": server.url, "GREENLIT_JUDGE_API_KEY": key}
    done = stage(project, "build", GREENLIT_DEBUG="1", **variables)
    assert "bad key ***" in done.stderr
    server.always = None
    assert stage(project, "build", **variables).returncode == 0
    assert server.requests[-1].headers["Authorization"] == f"Bearer {key}"
    written = [path for path in project.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in written if b"canaryOlive" in path.read_bytes()]
    assert "canaryOlive" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("chat", "text", "starter", "expected"),
    [
        (False, "```python\ndef f(x):\n    return 1\n```", "", "def f(x):\n    return 1\n"),
        (False, "Sure!\n```python\ndef f(x):\n    return 1\n```\nDone.", "def f(x):\n", "    return 1\n"),
        (False, "```python\ndef f(y):\n    return 1\n```", "def f(x):\n", None),
        (True, "```\ndef f(x):\n    return 1\n```", "", "```python\ndef f(x):\n    return 1\n```"),
        (True, "I cannot do that.", "", None),
        (False, "", "", None),
    ],
)
def test_a_revision_is_written_as_the_model_would(chat: bool, text: str, starter: str, expected: str | None) -> None:
    problem = Problem(task_id="p", entry_point="f", starter_code=starter, tests=[AssertTest(code="assert f(1) == 1")])
    problem = problem.model_copy(update={"prelude": "import math\n"})
    assert as_completion(text, problem, chat) == expected
