"""What working on a cluster is made of, without a cluster: settings, addresses, models on their way."""

import itertools
import os
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from greenlit.cluster import parcel, session
from greenlit.cluster.judging import PROGRAMS, _shards, judge_of_stage
from greenlit.cluster.session import Cluster
from greenlit.config import AnnotateParams
from greenlit.errors import ConfigError, WorldError
from greenlit.execution.judges import Judge
from greenlit.types import AssertTest, Problem


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine, an empty folder."""
    for name in (session.ADDRESS, session.WORKERS, session.GPUS, session.WAIT_S):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(parcel.CACHE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_without_an_address_work_stays_here(monkeypatch) -> None:
    assert not session.wanted()
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert not session.wanted()
    with judge_of_stage("program", AnnotateParams(allow_portable=True), 1) as judge:
        assert isinstance(judge, Judge)


def test_the_address_may_stand_in_the_env_file(tmp_path, monkeypatch) -> None:
    (tmp_path / ".env").write_text("RAY_ADDRESS=head:6379\n")
    assert session.address() == "head:6379"
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert session.address() is None, "the environment wins"


@pytest.mark.parametrize("said", ["head", "http://head:8265", "head:port", ":6379", "ray://head", "local", "h:0"])
def test_an_address_of_no_known_form_is_refused(said, monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", said)
    with pytest.raises(ConfigError, match="RAY_ADDRESS: must be host:port"):
        session.address()


@pytest.mark.parametrize("said", ["auto", "10.0.0.1:6379", "ray://head.example.com:10001", "[::1]:6379"])
def test_addresses_that_ray_knows_are_taken(said, monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", said)
    assert session.address() == said


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
@pytest.mark.parametrize("listens", [False, True])
def test_nobody_there_is_one_error_in_bounded_time(form, listens, monkeypatch) -> None:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
            monkeypatch.setattr(session, "CONNECT_S", 2.0)
        monkeypatch.setenv("RAY_ADDRESS", form.format(server.getsockname()[1]))
        began = time.monotonic()
        with pytest.raises(WorldError, match="no Ray cluster answers") as error:
            session.connect()
    assert error.value.exit_code == 75
    assert "unset RAY_ADDRESS" in str(error.value)
    assert time.monotonic() - began < 20


def test_without_ray_the_address_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray is not installed"):
        session.connect()


def test_the_settings_say_how_many_workers_of_what(monkeypatch) -> None:
    cpus, gpus = Cluster("a:1", ("n",), 8, 0.0), Cluster("a:1", ("n",), 8, 2.0)
    assert session.gpus_each(cpus) == 0
    assert session.gpus_each(gpus) == 1
    assert session.most_workers(cpus, 0.0) == 8
    assert session.most_workers(gpus, 0.1) == 20
    monkeypatch.setenv(session.WORKERS, "3")
    assert session.most_workers(gpus, 0.25) == 3
    monkeypatch.setenv(session.GPUS, "0")
    assert session.gpus_each(gpus) == 0
    with pytest.raises(ConfigError, match="no room"):
        session.most_workers(cpus, 1.0)
    for name, said in ((session.WORKERS, "0"), (session.GPUS, "1.5"), (session.GPUS, "-1"), (session.GPUS, "many")):
        monkeypatch.setenv(name, said)
        with pytest.raises(ConfigError, match=f"{name}: must be"):
            session.most_workers(gpus, session.gpus_each(gpus))


def model_like(folder: Path) -> Path:
    for name, content in {"config.json": b"{}", "w/a.bin": bytes(range(256)) * 9, "empty": b"", "z": b"end"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("size", [1, 7, 256, 1 << 20])
def test_a_directory_arrives_whole_in_pieces_of_any_size(size, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parcel, "PIECE", size)
    sent = parcel.parcel_of(model_like(tmp_path / "model"))
    arrived = parcel.unpack(sent_elsewhere(sent), parcel.pieces_of(sent))
    assert arrived.parent == tmp_path / "cache/models"
    assert parcel.parcel_of(arrived).sha256 == sent.sha256
    assert parcel.found(sent_elsewhere(sent)) == arrived


def sent_elsewhere(sent: parcel.Parcel) -> parcel.Parcel:
    """As a node sees it that has no such path."""
    return parcel.Parcel("/no/such/folder", sent.sha256, sent.files)


def test_a_node_with_the_same_files_at_the_same_path_is_sent_nothing(tmp_path) -> None:
    folder = model_like(tmp_path / "model")
    sent = parcel.parcel_of(folder)
    assert parcel.found(sent) == folder
    os.utime(folder / "z", (1, 1))
    assert parcel.found(sent) is None


@pytest.mark.parametrize("arrives", [[], [b"{}"], [b"x" * 10_000]])
def test_what_is_damaged_on_the_way_is_not_kept(arrives, tmp_path) -> None:
    sent = sent_elsewhere(parcel.parcel_of(model_like(tmp_path / "model")))
    with pytest.raises(WorldError, match="damaged on its way"):
        parcel.unpack(sent, arrives)
    assert parcel.found(sent) is None


def test_a_node_keeps_the_models_used_last(tmp_path) -> None:
    for number in range(parcel.KEPT + 2):
        folder = model_like(tmp_path / f"model{number}")
        (folder / "z").write_text(str(number))
        sent = parcel.parcel_of(folder)
        kept = parcel.unpack(sent_elsewhere(sent), parcel.pieces_of(sent))
        os.utime(kept, (number, number))
    assert len(list(kept.parent.iterdir())) == parcel.KEPT
    assert kept.exists()


def test_shards_are_whole_problems_in_the_order_given() -> None:
    problems = [Problem(task_id=f"p{n}", tests=[AssertTest(code="assert f() == 1")]) for n in range(5)]
    jobs = [(problem, f"{problem.task_id} {k}") for problem in problems for k in range(50)]
    shards = [piece for _, piece in _shards(jobs)]
    assert [job for piece in shards for job in piece] == jobs
    assert all(len(piece) >= PROGRAMS for piece in shards[:-1])
    homes = [{problem.task_id for problem, _ in piece} for piece in shards]
    assert all(not a & b for a, b in itertools.pairwise(homes))
    assert list(_shards([])) == []


def test_nodes_that_compute_with_something_else_are_warned_of_and_noted(monkeypatch, capsys) -> None:
    from greenlit.cluster import crew
    from greenlit.cluster.member import Place, code_version
    from greenlit.stage.hardware import facts

    monkeypatch.setattr(crew, "_unlike", {})
    monkeypatch.setattr(crew.Crew, "__init__", lambda self: None)
    one = crew.Crew()
    one._told = set()
    one._compare(Place("a 1", "a", 1, code_version(), facts()))
    assert crew.nodes_unlike_here() == []
    there = {**facts(), "processor": "another", "packages": {**facts()["packages"], "torch": "1.0"}}
    one._compare(Place("b 2", "b", 1, code_version(), there))
    assert crew.nodes_unlike_here() == [there]
    assert "node b 2: processor another (here" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="node c 3: runs another version of Greenlit's code"):
        one._compare(Place("c 3", "c", 1, "other", facts()))
