"""Processes noted and ended by id and start time; ports; schedules in the settings; a server that will not start."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from interruption import gone
from served import Served

from flows import FLOWS, schedules, services
from flows.services import Member, Note, Running
from greenlit.errors import ConfigError, DataError, WorldError

SLEEPER = "import time; time.sleep(600)"
PARENT = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', '{SLEEPER}']); time.sleep(600)"


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "LOGS", tmp_path)
    monkeypatch.chdir(tmp_path)


def started(code: str) -> Running:
    return services.start("toy", [sys.executable, "-c", code], dict(os.environ))


@pytest.fixture
def family() -> Iterator[Running]:
    """A process and its child."""
    service = started(PARENT)
    until = time.monotonic() + 30
    while len(service.tree()) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    yield service
    services.end(service, 1)


def test_a_service_ends_as_a_whole_tree(family: Running) -> None:
    tree = family.tree()
    assert len(tree) == 2
    services.end(family, 5)
    assert gone(tree, 0)


def test_a_child_that_outlives_its_parent_is_found_by_the_note(family: Running) -> None:
    noted = services.wait_until("toy", family, lambda: True, 5)
    os.kill(noted.members[0].pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while noted.lives():
        assert time.monotonic() < until
    (orphan,) = noted.tree()
    services.end(noted, 5)
    assert gone([orphan], 0)


def test_what_ignores_sigterm_is_killed_after_the_grace() -> None:
    service = started(
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEPER}"
    )
    services.wait_until("toy", service, lambda: "deaf" in services.log_of("toy").read_text(), 30)
    began = time.monotonic()
    services.end(service, 0.5)
    assert time.monotonic() - began < 4
    assert service.tree() == []


def test_a_process_that_was_given_the_same_id_later_is_left_alone() -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEPER])
    try:
        recycled = Running(members=[Member(pid=stranger.pid, started=psutil.Process(stranger.pid).create_time() - 60)])
        assert not recycled.lives()
        services.end(recycled, 1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_ends_at_once_is_told_with_the_end_of_its_log() -> None:
    service = started("print('one'); raise SystemExit('no room in the inn')")
    with pytest.raises(WorldError, match=r"toy ended at once.*\n    one\n    no room in the inn"):
        services.wait_until("toy", service, lambda: False, 30)


def test_what_takes_too_long_is_told() -> None:
    service = started(SLEEPER)
    with pytest.raises(WorldError, match=r"toy is not ready after 0 s.*\n    \(nothing\)"):
        services.wait_until("toy", service, lambda: False, 0.2)
    services.end(service, 1)


def test_the_note_comes_back_as_it_was_and_goes_when_nothing_is_up(tmp_path: Path, family: Running) -> None:
    path = tmp_path / "up.json"
    Note(services={"toy": family}).write(path)
    assert Note.read(path).services == {"toy": family}
    Note().write(path)
    assert not path.exists()
    assert Note.read(path) == Note()


@pytest.mark.parametrize("text", ["", "{", '{"services": {"prefect": {"members": "none"}}}'])
def test_a_damaged_note_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "up.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"up\.json: damaged"):
        Note.read(path)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("30 6 * * 1-5", "cron", "30 6 * * 1-5"),
        ("3600", "interval", timedelta(hours=1)),
        ("RRULE:FREQ=MONTHLY;BYDAY=1SA", "rrule", "RRULE:FREQ=MONTHLY;BYDAY=1SA"),
    ],
)
def test_a_schedule_is_a_cron_line_seconds_or_a_rule(monkeypatch, text: str, kind: str, value: object) -> None:
    monkeypatch.setenv("GREENLIT_SCHEDULE_OFFLINE", text)
    monkeypatch.setenv("TZ", "Europe/Vienna")
    schedule = schedules.schedule_of("offline")
    assert getattr(schedule, kind) == value
    assert schedule.timezone == "Europe/Vienna"


@pytest.mark.parametrize("text", ["61 * * * *", "every day", "0", "-5", "RRULE:FREQ=SOMETIMES", "* * *"])
def test_what_is_no_schedule_is_refused(monkeypatch, text: str) -> None:
    monkeypatch.setenv("GREENLIT_SCHEDULE_OFFLINE", text)
    with pytest.raises(ConfigError, match="GREENLIT_SCHEDULE_OFFLINE: no schedule"):
        schedules.schedule_of("offline")


def test_only_refresh_has_a_schedule_unless_somebody_says_so(tmp_path: Path, monkeypatch) -> None:
    assert {name for name in FLOWS if schedules.schedule_of(name)} == {"refresh"}
    (tmp_path / ".env").write_text("GREENLIT_SCHEDULE_SWEEP=0 3 * * *\nGREENLIT_SCHEDULE_REFRESH=off\n")
    assert {name for name in FLOWS if schedules.schedule_of(name)} == {"sweep"}
    monkeypatch.setenv("GREENLIT_SCHEDULE_SWEEP", "off")  # the environment goes before the file
    assert schedules.schedule_of("sweep") is None
    schedules.require_known(list(FLOWS))
    (tmp_path / ".env").write_text("GREENLIT_SCHEDULE_SWEEEP=0 3 * * *\n")
    with pytest.raises(ConfigError, match="GREENLIT_SCHEDULE_SWEEEP: there is no flow 'sweeep'"):
        schedules.require_known(list(FLOWS))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Served:
    import workspace

    return Served(workspace.make_workspace(tmp_path_factory.mktemp("up"), "tiny"))


def test_a_demanded_port_that_is_taken_is_an_error_and_nothing_stays(project: Served) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = project.command("flows.up", code=2, GREENLIT_PREFECT_PORT=str(port))
    assert done.stderr.startswith(f"error: GREENLIT_PREFECT_PORT: port {port} is taken\nhint: ")
    assert project.note() == {}
    assert "must be a port (found 'x')" in project.command("flows.up", code=2, GREENLIT_MLFLOW_PORT="x").stderr
    assert project.processes() == []


def test_a_server_that_does_not_start_is_one_message_and_what_was_started_is_stopped(project: Served) -> None:
    broken = {"PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/at/all.db"}
    done = project.command("flows.up", code=75, MLFLOW_TRACKING_URI="http://127.0.0.1:9", **broken)
    assert "error: prefect ended at once; the end of " in done.stderr
    assert "unable to open database file" in done.stderr
    assert "hint: what was started is stopped again" in done.stderr
    assert "Traceback" not in done.stderr.partition("error:")[0]
    assert project.note() == {}
    assert project.processes() == []


def test_down_does_not_wait_for_a_server_that_is_dead(project: Served) -> None:
    dead = started("")
    until = time.monotonic() + 30
    while dead.lives():
        assert time.monotonic() < until
        time.sleep(0.05)
    serving = started(SLEEPER)
    services_up = {"prefect": dead.model_copy(update={"url": "http://127.0.0.1:9"}), "flows": serving}
    Note(services=services_up).write(project.folder / ".prefect/up.json")
    began = time.monotonic()
    done = project.command("flows.up", "--down")
    assert time.monotonic() - began < 30
    assert "Traceback" not in done.stderr
    assert not serving.lives()
    assert project.note() == {}


def test_serving_without_a_server_says_what_to_do(project: Served) -> None:
    done = project.command("flows.serve", code=2)
    assert (
        done.stderr == "error: no Prefect server: PREFECT_API_URL is not set\nhint: `make up` starts one and serves\n"
    )
