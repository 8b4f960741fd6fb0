"""`make up` on one laptop: what it starts, what its pages show, schedules, a worker, and what dies in between."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import browser
import psutil
import pytest
from interruption import gone
from served import Served, until
from test_flows_chosen import webhook

from flows import FLOWS
from greenlit.stage.faults import GO_ON

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(warm_module: None, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The tiny experiment, run before, with its servers and flows up; whatever happens, they end."""
    folder = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("served") / "project", symlinks=True))
    (folder / ".env").write_text("GREENLIT_SCHEDULE_SWEEP=0 5 1 * *\nGREENLIT_SCHEDULE_REFRESH=off\nHF_TOKEN=geheim\n")
    project = Served(folder)
    try:
        project.up()
        yield project
    finally:
        project.command("flows.up", "--down")
        assert project.processes() == []


@pytest.fixture(scope="module")
def first_run(served: Served) -> str:
    """A run with parameters that leave something to do."""
    run = served.start("offline/offline", settings=["report.examples=2"])
    ended = served.ended(run)
    assert ended["state_name"] == "Completed", ended["state"]
    return run


def test_up_says_where_everything_is_and_a_second_one_starts_nothing(served: Served) -> None:
    before = served.note()
    assert set(before) == {"prefect", "mlflow", "flows"}
    again = served.up()
    assert "up already" in again.stderr
    assert served.url() in again.stdout
    assert served.url("mlflow") in again.stdout
    assert served.note() == before


def test_every_flow_has_a_deployment_with_a_form_and_the_schedule_of_the_settings(served: Served) -> None:
    for name in FLOWS:
        found = served.deployment(f"{name}/{name}")
        assert not found["paused"]
        assert found["description"]
        assert "Args:" not in found["description"]
        assert all("title" in one for one in found["parameter_openapi_schema"]["properties"].values())
        crons = [one["schedule"]["cron"] for one in found["schedules"]]
        assert crons == (["0 5 1 * *"] if name == "sweep" else [])
    settings = served.deployment("offline/offline")["parameter_openapi_schema"]["properties"]
    assert "tiny" in str(settings["preset"])


def test_secrets_of_the_env_file_are_not_in_the_environment_of_what_runs(served: Served) -> None:
    for name in ("flows", "prefect", "mlflow"):
        assert "HF_TOKEN" not in psutil.Process(served.pid(name)).environ()


def test_a_run_started_with_parameters_completes_and_a_second_one_finds_nothing_to_do(
    served: Served, first_run: str
) -> None:
    states = served.tasks(first_run)
    assert states["report"] == "Completed"
    assert states["train-dpo"] == "Cached"
    second = served.start("offline/offline", settings=["report.examples=2"])
    ended = served.ended(second)
    assert ended["state_name"] == "Completed"
    again = served.tasks(second)
    assert set(again) == set(states)
    assert set(again.values()) == {"Cached"}


def test_a_flow_started_by_hand_shows_at_the_server_that_is_up(served: Served) -> None:
    served.command("flows.offline", "--only", "fetch")
    (by_hand,) = served.api("POST", "/flow_runs/filter", {"flow_runs": {"deployment_id": {"is_null_": True}}})
    assert by_hand["state_name"] == "Completed"
    assert set(served.tasks(by_hand["id"])) == {"fetch"}


BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock

CustomWebhookNotificationBlock(name="team", url=sys.argv[1], json_data={"text": "{{body}}"}).save("team")
"""


def test_a_run_that_fails_is_told_to_a_block_that_the_server_keeps(served: Served) -> None:
    settings = {"PREFECT_API_URL": f"{served.url()}/api", "GREENLIT_NOTIFY": "custom-webhook/team"}
    with webhook() as (address, notes):
        subprocess.run([sys.executable, "-c", BLOCK, address], check=True, env=served.environment | settings)
        served.command("flows.offline", "--only", "bakery", code=2, **settings)
    (note,) = notes
    assert note["text"].startswith("offline failed (")
    assert "bakery" in note["text"]


def test_a_schedule_produces_a_run_and_it_runs(served: Served) -> None:
    deployment = served.deployment("offline/offline")["id"]
    soon = {"interval": 4, "anchor_date": datetime.now(UTC).isoformat()}
    body = [{"schedule": soon, "active": True, "parameters": {"only": ["fetch"]}}]
    (made,) = served.api("POST", f"/deployments/{deployment}/schedules", body)
    wanted = {"flow_runs": {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["COMPLETED"]}}}}

    def look() -> list:
        return [one for one in served.api("POST", "/flow_runs/filter", wanted) if one["auto_scheduled"]]

    try:
        runs = until(look, 120, "a run that nobody started")
    finally:
        served.api("DELETE", f"/deployments/{deployment}/schedules/{made['id']}")
    assert set(served.tasks(runs[0]["id"])) == {"fetch"}
    until(lambda: not served.processes("prefect.engine"), 60, "no run is left")


def test_the_pages_show_the_flows_the_form_the_stages_and_the_artifacts(served: Served, first_run: str) -> None:
    with browser.browser_page() as page:
        page.goto(f"{served.url()}/deployments")
        for name in FLOWS:
            page.get_by_text(name, exact=True).first.wait_for()
        browser.screenshot(page, "prefect-deployments")

        page.goto(f"{served.url()}/deployments/deployment/{served.deployment('offline/offline')['id']}/run")
        page.get_by_text("Keep only these methods in params.yaml").wait_for()
        page.get_by_text("str", exact=True).first.click()
        for name in ("preset", "settings", "launcher", "from_stage"):
            page.get_by_text(re.compile(rf"^{name} ")).first.wait_for()
        browser.screenshot(page, "prefect-form")

        page.goto(f"{served.url()}/runs/flow-run/{first_run}")
        page.get_by_text("Task Runs", exact=True).first.click()
        for name in ("report", "merge-dpo", "train-dpo", "annotate", "generate"):
            page.get_by_text(name, exact=True).first.wait_for()
        browser.screenshot(page, "prefect-stages")

        page.get_by_text("Artifacts", exact=True).first.click()
        page.get_by_text("report-tiny", exact=True).wait_for()
        browser.screenshot(page, "prefect-artifacts")
        found = {"flow_runs": {"id": {"any_": [first_run]}}, "artifacts": {"key": {"any_": ["results-tiny"]}}}
        (table,) = served.api("POST", "/artifacts/filter", found)
        page.goto(f"{served.url()}/artifacts/artifact/{table['id']}")
        page.get_by_text("pass@1").first.wait_for()
        browser.screenshot(page, "prefect-results")

        found["artifacts"] = {"key": {"any_": ["mlflow-tiny"]}}
        (link,) = served.api("POST", "/artifacts/filter", found)
        name, address = re.fullmatch(r"\[MLflow: (.+)\]\((.+)\)", link["data"]).groups()
        assert address.startswith(served.url("mlflow"))
        page.goto(address)
        page.get_by_text(name, exact=True).first.wait_for()
        browser.screenshot(page, "mlflow")


def test_killed_what_serves_leaves_no_stage_and_the_next_run_goes_on(served: Served) -> None:
    run = served.start("offline/offline", settings=["report.examples=3"], from_stage="report")
    stage = served.hold("report")
    family = served.family()
    assert stage in family
    os.kill(served.pid("flows"), signal.SIGKILL)
    assert gone(family, 30)
    missed = _due_while_nobody_serves(served)
    before = served.note()
    served.up()
    after = served.note()
    assert (after["prefect"], after["mlflow"]) == (before["prefect"], before["mlflow"])
    assert after["flows"] != before["flows"]
    ended = served.run(run)
    assert ended["state_name"] == "Crashed"
    assert GO_ON in ended["state"]["message"]
    assert set(served.tasks(run).values()) == {"Crashed"}
    assert served.run(missed)["state_name"] == "Cancelled"
    again = served.ended(served.start("offline/offline", settings=["report.examples=3"], from_stage="report"))
    assert again["state_name"] == "Completed"


def _due_while_nobody_serves(served: Served) -> str:
    """A run that its schedule makes once, and that is late."""
    deployment = served.deployment("refresh/refresh")["id"]
    once = {"interval": 3600, "anchor_date": (datetime.now(UTC) + timedelta(seconds=8)).isoformat()}
    served.api("POST", f"/deployments/{deployment}/schedules", [{"schedule": once, "active": True}])
    wanted = {"flow_runs": {"deployment_id": {"any_": [deployment]}, "state": {"name": {"any_": ["Late"]}}}}
    return until(lambda: served.api("POST", "/flow_runs/filter", wanted), 60, "a late run")[0]["id"]


def test_runs_that_died_together_with_the_server_are_marked_crashed_and_explained(served: Served) -> None:
    url = served.url()
    run = served.start("offline/offline", settings=["report.examples=4"], from_stage="report")
    served.hold("report")
    family = served.family()
    for pid in [served.pid("prefect"), served.pid("flows"), *(one.pid for one in family)]:
        os.kill(pid, signal.SIGKILL)
    assert gone(family, 10)
    served.up()
    assert served.url() == url
    ended = served.run(run)
    assert ended["state_name"] == "Crashed"
    assert "none of them could say so" in ended["state"]["message"]
    assert "Running" not in served.tasks(run).values()
    again = served.ended(served.start("offline/offline", settings=["report.examples=4"], from_stage="report"))
    assert again["state_name"] == "Completed"


def test_a_killed_server_is_started_again_under_the_same_address(served: Served) -> None:
    before = served.note()
    os.kill(served.pid("prefect"), signal.SIGKILL)
    os.kill(served.pid("mlflow"), signal.SIGKILL)  # its child goes on answering
    served.up()
    after = served.note()
    assert {name: one["url"] for name, one in after.items()} == {name: one["url"] for name, one in before.items()}
    assert len(served.processes("-m", "mlflow")) == 1
    assert not served.deployment("offline/offline")["paused"]


def test_a_worker_of_a_pool_runs_the_flows_and_killed_leaves_no_stage(served: Served) -> None:
    settings = {"PREFECT_API_URL": f"{served.url()}/api"}
    served.command("prefect", "work-pool", "create", "process", "--type", "process", **settings)
    served.command("prefect", "--no-prompt", "deploy", "-n", "process", PWD=str(served.folder), **settings)
    assert served.deployment("refresh/process")["schedules"][0]["schedule"]["cron"] == "0 4 * * 1"
    worker = _worker(served, settings)
    try:
        run = served.start("offline/process", settings=["report.examples=5"], from_stage="report")
        served.hold("report")
        family = served.family()
        worker.kill()
        worker.wait()
        assert gone(family, 30)
        assert served.ended(run)["state_name"] == "Crashed"
        worker = _worker(served, settings)
        again = served.ended(served.start("offline/process", settings=["report.examples=5"], from_stage="report"))
        assert again["state_name"] == "Completed", again["state"]
    finally:
        worker.terminate()
        worker.wait(60)


def _worker(served: Served, settings: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "process", "--limit", "1"]
    with (served.folder / "worker.txt").open("ab") as output:
        return subprocess.Popen(
            command, cwd=served.folder, env=served.environment | settings, stdout=output, stderr=output
        )


def test_down_ends_a_run_in_order_pauses_the_schedules_and_leaves_others_alone(served: Served) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "flows.serve"], cwd=served.folder)
    try:
        served.start("offline/offline", settings=["report.examples=6"], from_stage="report")
        served.hold("report")
        members = [psutil.Process(one["pid"]) for service in served.note().values() for one in service["members"]]
        family = served.family()
        began = time.monotonic()
        served.command("flows.up", "--down")
        assert time.monotonic() - began < 45
        assert gone([*members, *family], 0)
        assert served.note() == {}
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    with closing(sqlite3.connect(served.folder / ".prefect/prefect.db")) as database:
        deployments = dict(database.execute("SELECT name, paused FROM deployment WHERE name != 'process'"))
        states = [name for (name,) in database.execute("SELECT state_name FROM flow_run ORDER BY created")]
    assert deployments == dict.fromkeys(FLOWS, 1)
    assert states[-1] in {"Cancelled", "Crashed"}
    assert "nothing is up" in served.command("flows.up", "--down").stderr
    assert "nothing is up here" in served.command("flows.up", "--show", code=2).stderr
