"""The stage `scrape`: nothing without leave, nothing asked twice whatever ends it, and DVC around it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import workspace
import yaml
from leetcode_server import BLOCKED, Answer, Server, question, serve, throttled

from greenlit.cli import stage_targets
from greenlit.config import load_params, parse_params, read_yaml
from greenlit.config.scraping import TERMS
from greenlit.errors import ConfigError
from greenlit.iterate.plan import make_plan
from greenlit.jsonl import read_json, write_json
from greenlit.runs.fresh_copy import make_copy
from greenlit.runs.records import stage_names

ROOT = Path(__file__).parent.parent
OUT = Path("assets/raw/scraped/leetcode")
ANSWERS = Path(".work/scrape/leetcode")
IMPATIENT = (
    "import time; time.sleep = lambda seconds: None\n"
    "import runpy, sys; sys.argv = ['scrape', '--source', 'leetcode']\n"
    "runpy.run_module('tasks.scrape', run_name='__main__', alter_sys=True)"
)
"""The stage as it is, but for the time that it waits."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serve([question(0, titleSlug=f"question-{number}") for number in range(12)]) as state:
        yield state


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace.make_workspace(tmp_path_factory.mktemp("scrape") / "project", "tiny")


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A project that scrapes leetcode."""
    folder = Path(shutil.copytree(made, tmp_path / "project", symlinks=True))
    set_params(folder, {"leetcode": {"terms": TERMS}})
    return folder


def set_params(folder: Path, sources: dict, **sections: dict) -> None:
    """The tiny preset with these sources and sections, told to nobody."""
    content = read_yaml(ROOT / "presets/tiny.yaml")
    content |= {"scrape": {"sources": sources}, "tracking": {"report_to": []}, **sections}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def start(folder: Path, server: Server) -> subprocess.Popen:
    environment = {**workspace.environment(folder), "GREENLIT_LEETCODE_URL": server.url}
    return subprocess.Popen(
        [sys.executable, "-c", IMPATIENT],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def scrape(folder: Path, server: Server, code: int = 0) -> str:
    """Run the stage to its end; what it says on stderr."""
    process = start(folder, server)
    out, told = process.communicate(timeout=120)
    assert process.returncode == code, told
    assert out == ""
    return told


def test_killed_midway_it_repeats_at_most_the_request_in_flight(project: Path, server: Server, tmp_path: Path) -> None:
    server.after_s = 0.03
    kills = 0
    for until in (2, 5, 9):
        process = start(project, server)
        while len(server.requests) < until + kills:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        kept = len(list((project / ANSWERS).glob("*.json")))
        assert kept >= len(server.asked()) - 1, "all that was answered is on disk, but for the request in flight"
        assert not (project / OUT).exists(), "nothing unfinished under its own name"
    told = scrape(project, server)
    assert told.splitlines()[-1] == "leetcode: 12 problems"
    repeated = {asked: count for asked, count in server.asked().items() if count > 1}
    assert sum(count - 1 for count in repeated.values()) <= kills
    assert len(server.asked()) == 13

    whole = Path(shutil.copytree(project, tmp_path / "whole", symlinks=True))
    shutil.rmtree(whole / ".work")
    shutil.rmtree(whole / OUT)
    scrape(whole, server)
    for name in ("problems.jsonl", "skipped.jsonl", "responses.jsonl"):
        assert (whole / OUT / name).read_bytes() == (project / OUT / name).read_bytes(), name


def test_a_server_that_always_throttles_is_given_up_with_one_message_and_what_came_is_kept(
    project: Path, server: Server
) -> None:
    set_params(project, {"leetcode": {"terms": TERMS, "limit": 3}})
    scrape(project, server)
    before = {path: path.read_bytes() for path in (project / OUT).iterdir()}
    set_params(project, {"leetcode": {"terms": TERMS}})
    server.always = throttled(Retry_After="30")
    told = scrape(project, server, code=75)
    host = server.url.split("/")[2]
    *retries, error, hint = told.strip().splitlines()
    assert len(retries) == 5
    assert all(re.search(r"; asking again in (30|3[1-9]|[4-9]\d|1[0-3]\d) s$", line) for line in retries), retries
    assert error == (
        f"error: {host}: HTTP 429 (Request was throttled. Expected available in 60 seconds.) to all of 6 requests for "
        'questionData(titleSlug: "question-3")'
    )
    assert hint == (
        "hint: try again later; 4 answers are kept in .work/scrape/leetcode, and the same command goes on from there"
    )
    assert {path: path.read_bytes() for path in (project / OUT).iterdir()} == before
    server.always = None
    assert scrape(project, server).splitlines()[-1] == "leetcode: 12 problems"
    assert sorted(server.asked().values()) == [1] * 12 + [7]


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        (Answer(BLOCKED, 403, "text/html"), 75, "blocked: HTTP 403 with a web page titled 'Just a moment...'"),
        (Answer(b'{"errors": [{"message": "Cannot query field"}]}', 400), 1, "it said: HTTP 400 (Cannot query field)"),
    ],
)
def test_it_stops_cleanly(project: Path, server: Server, fault: Answer, code: int, told: str) -> None:
    server.always = fault
    said = scrape(project, server, code)
    assert told in said
    assert "Traceback" not in said
    assert len(server.requests) == 1
    assert not (project / OUT).exists()


def test_ctrl_c_ends_it_in_order(project: Path, server: Server) -> None:
    server.after_s = 0.2
    process = start(project, server)
    while len(server.requests) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.strip().splitlines()[-1].startswith("stopped by SIGINT; what was done is kept")
    scrape(project, server)
    assert len(server.requests) <= 13 + 1


def test_without_leave_nothing_is_asked(project: Path, server: Server) -> None:
    for settings in ({}, {"terms": None}, {"terms": "yes"}, {"terms": True}):
        set_params(project, {"leetcode": settings})
        told = scrape(project, server, code=2)
        assert "params.yaml: scrape.sources.leetcode" in told
        if settings.get("terms") is not True:
            assert "LeetCode's terms of service restrict automated access" in told
            assert "have you read leetcode.com/terms, and may you do this?" in told
            assert f"`terms: {TERMS}`" in told
    set_params(project, {})
    told = scrape(project, server, code=2)
    assert "params.yaml: scrape.sources: no source 'leetcode'\nhint: there is none" in told
    set_params(project, {"sample": {}})
    assert "hint: one of sample" in scrape(project, server, code=2)
    assert server.requests == []


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_preset_scrapes_a_site(path: Path) -> None:
    assert parse_params(read_yaml(path), path.name).scrape.sources.leetcode is None


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ({"leetcod": {}}, "scrape.sources.leetcod: unknown key\n  hint: did you mean leetcode?"),
        ({"sample": None}, "sample: must be a mapping, e.g. `sample: {}` (found None)"),
        ({"leetcode": {"terms": TERMS, "interval_s": 1.0}}, "leetcode.interval_s: must be >= 2 (found 1.0)"),
        ({"leetcode": {"terms": TERMS, "limit": 0}}, "leetcode.limit: must be >= 1 (found 0)"),
        ({"leetcode": {"terms": TERMS, "interval": 3}}, "interval: unknown key\n  hint: did you mean interval_s?"),
    ],
)
def test_faults_of_settings_are_told(sources: dict, told: str) -> None:
    content = read_yaml(ROOT / "params.yaml") | {"scrape": {"sources": sources}}
    with pytest.raises(ConfigError) as error:
        parse_params(content, "params.yaml")
    assert told in str(error.value)


def test_fetch_must_wait_for_the_source_whose_file_it_reads() -> None:
    dataset = {"name": "file", "path": "assets/raw/scraped/sample/problems.jsonl"}
    content = read_yaml(ROOT / "params.yaml") | {"dataset": dataset}
    with pytest.raises(ConfigError, match=r"^params.yaml: fetch.reads: must be assets/raw/scraped/sample, because"):
        parse_params(content, "params.yaml")
    for reads in ("assets/raw/scraped/sample", dataset["path"]):
        assert parse_params(content | {"fetch": {"reads": reads}}, "params.yaml").fetch.reads == reads


def test_stages_are_named_after_the_sources_that_stand_in_params(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    content = read_yaml(Path("params.yaml"))
    assert not [name for name in stage_names(parse_params(content, "p")) if name.startswith("scrape")]
    params = parse_params(content | {"scrape": {"sources": {"sample": {}}}}, "p")
    assert stage_names(params)[0] == "scrape@sample"
    assert params.model_dump(by_alias=True)["scrape"] == {"sources": {"sample": {}}}
    assert stage_targets("scrape", ["dpo"], [], ["sample"]) == ["scrape@sample"]
    with pytest.raises(ConfigError, match=r"--only scrape: params.yaml has no scrape.sources\nhint: docs/scraping.md"):
        stage_targets("scrape", ["dpo"])


def test_the_sample_runs_through_dvc_to_audited_problems(project: Path) -> None:
    path = "assets/raw/scraped/sample/problems.jsonl"
    set_params(
        project,
        {"sample": {}},
        dataset={"name": "file", "path": path},
        fetch={"reads": "assets/raw/scraped/sample"},
        prepare={"limits": {}, "mutants": 2},
    )
    told = workspace.run(project, "dvc", "repro", "prepare")
    order = re.findall(r"Running stage '(\S+)'", told.stdout)
    assert order == ["scrape@sample", "fetch", "prepare"]
    audit = json.loads((project / "assets/datasets/file/audit.json").read_text())
    assert audit["kept"] == {"train": 6, "validation": 2, "test": 2}
    assert audit["reference_passes"] == 10
    assert sum(grades["A"] for grades in audit["grades"].values()) >= 8
    again = workspace.run(project, "dvc", "repro", "prepare")
    assert "Running stage" not in again.stdout
    source = json.loads((project / "assets/raw/scraped/sample/source.json").read_text())
    assert (source["problems"], source["skipped"]) == (10, {})


def test_under_dvc_two_seconds_lie_between_requests_and_answers_outlive_the_cache(
    project: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIT_LEETCODE_URL", server.url)
    settings = {"terms": TERMS, "slugs": ["question-1", "question-2"]}
    set_params(project, {"leetcode": settings})
    workspace.run(project, "dvc", "repro", "scrape@leetcode")
    before, after = (request.at for request in server.requests)
    assert after - before >= 2.0
    first = (project / OUT / "problems.jsonl").read_bytes()
    shutil.rmtree(project / ".work")  # as `make clean` does, or on another machine after `dvc pull`
    set_params(project, {"leetcode": {**settings, "attempts": 3}})
    told = workspace.run(project, "dvc", "repro", "scrape@leetcode")
    assert "Running stage 'scrape@leetcode'" in told.stdout
    assert len(server.requests) == 2, "DVC kept the answers, and the stage took them"
    assert (project / OUT / "problems.jsonl").read_bytes() == first


def test_copies_of_the_project_share_the_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (project / ANSWERS).mkdir(parents=True)
    path = "assets/raw/scraped/leetcode/problems.jsonl"
    set_params(
        project,
        {"leetcode": {"terms": TERMS}},
        dataset={"name": "file", "path": path},
        fetch={"reads": "assets/raw/scraped/leetcode"},
    )
    (project / path).parent.mkdir(parents=True)
    (project / path).touch()
    links = make_plan(None, 1, 1).round_step(1, None).links
    assert links[str(ANSWERS.parent)] == ANSWERS.parent
    assert path not in links, "a stage of the copy makes it"
    record = Path("results/runs/small.json")
    write_json(record, {"git": None, "params": load_params().model_dump(mode="json", by_alias=True)})
    copy = make_copy(read_json(record), record).folder
    assert (copy / ANSWERS).resolve() == ANSWERS.resolve()
    assert not (copy / path).exists()
    assert load_params(copy / "params.yaml") == load_params()
    subprocess.run(
        [sys.executable, "-c", "from greenlit.stage.entry import _settle_in_copy as s; s()"],
        check=True,
        cwd=queued(project),
        env={**workspace.environment(project), "DVC_ROOT": str(project)},
    )
    assert (queued(project) / ANSWERS).resolve() == ANSWERS.resolve()


def queued(project: Path) -> Path:
    """Where DVC runs a queued experiment."""
    folder = project / ".dvc/tmp/exps/one"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
