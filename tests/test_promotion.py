"""The promotion gate, on a real store: what moves `champion`, what does not, and what two at once do."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenlit.errors import DataError, WorldError
from greenlit.registry import turns
from greenlit.registry.mlflow import register_model
from greenlit.registry.promotion import Decision, decide, earlier_decision, looks_at, rollback, run_gate
from greenlit.registry.turns import turn
from greenlit.registry.versions import Version, champion_of, find_version, versions
from greenlit.trackers import mlflow_store
from greenlit.tracking.spool import Header, new_id

PROBLEMS = 60
TEST = "a" * 64


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """One store for all tests: its first use costs seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def client(uri):
    return mlflow_store.open_client(uri)


def evaluation(passing, **changes):
    """Eight samples of each problem, `passing` of 60 problems right in all of them, the others in two."""
    rows = {f"p/{i}": {"n": 8, "c": 8 if i < passing else 2, "greedy": i < passing} for i in range(PROBLEMS)}
    document = {
        "format": 1, "kind": "program", "model": "m", "prompt_hash": "p", "level": "namespaces",
        "backend": "transformers", "seed": 0, "limits": {"timeout_s": 10},
        "settings": {"ks": [1], "n": 8, "confidence": 0.95, "resamples": 2000},
        "cheats_stopped": 37, "problems_sha256": {"test": TEST}, "splits": {"test": {"problems": rows}},
    }  # fmt: skip
    return document | changes


def add(tmp_path, uri, name, passing, base=10, leaks=(), **changes):
    """A version whose model is a few bytes."""
    document = evaluation(passing, **changes)
    merged = tmp_path / f"merged_{new_id()}"
    merged.mkdir()
    (merged / "model.safetensors").write_bytes(os.urandom(8))
    header = Header(id=new_id(), experiment="gate", name="register@dpo", stage="register", report_to=[], started=1.0)
    beside = {"evaluation.json": json.dumps(document), "baseline.json": json.dumps(evaluation(base))}
    tags = {"git_commit": "abc", "test_sha256": document["problems_sha256"]["test"], "open_leaks": json.dumps(leaks)}
    return int(register_model(merged, name, tags, {}, header, beside=beside, uri=uri).version)


def champion(client, name):
    found = champion_of(versions(client, name))
    return found and found.number


def version(**tags):
    return Version("m", 2, "run", "file:///x/model", {"open_leaks": "[]", **tags}, (), 0)


# the decision


def test_only_a_whole_interval_above_the_margin_is_better():
    better = decide(version(), [evaluation(30)], "v1", [evaluation(10)], 0.0, 1)
    assert (better.promoted, better.incumbent, better.metric, better.reasons) == (True, "v1", "pass@1", ())
    assert better.delta["value"] == pytest.approx(20 / 60 * 0.75)
    assert better.delta["low"] > 0
    low = better.delta["low"]
    assert decide(version(), [evaluation(30)], "v1", [evaluation(10)], low - 1e-9, 1).promoted
    at_the_margin = decide(version(), [evaluation(30)], "v1", [evaluation(10)], low, 1)
    assert not at_the_margin.promoted
    assert "not surely better than v1: pass@1 +0.250 [" in at_the_margin.reasons[0]


@pytest.mark.parametrize(("passing", "why"), [(10, "equal"), (5, "worse"), (11, "better by chance")])
def test_an_equal_or_worse_or_luckier_model_stays_a_candidate(passing, why):
    decision = decide(version(), [evaluation(passing)], "base", [evaluation(10)], 0.0, 1)
    assert not decision.promoted, why
    assert "not surely better than base" in decision.sentence()


@pytest.mark.parametrize(
    ("changes", "tags", "reason"),
    [
        ({"cheats_stopped": 0}, {}, "does not say that the cheat suite held"),
        ({"level": "portable"}, {}, "level: 'namespaces' before, 'portable' after"),
        ({"seed": 1}, {}, "seed: 0 before, 1 after"),
        ({"problems_sha256": {"test": "b" * 64}}, {}, "other test problems"),
        ({"problems_sha256": {}}, {}, "other test problems"),
        ({}, {"open_leaks": '["pairs.jsonl holds test problems"]'}, "pairs.jsonl holds test problems"),
        ({}, {"rolled_back": '{"reason": "it swears", "to": "v1", "at": ""}'}, "it swears"),
    ],
)
def test_figures_that_cannot_be_trusted_move_nothing_however_good(changes, tags, reason):
    decision = decide(version(**tags), [evaluation(60, **changes)], "v1", [evaluation(10)], 0.0, 1)
    assert not decision.promoted
    assert reason in "; ".join(decision.reasons)


def test_a_completion_has_no_verdicts_to_forge():
    document = {"kind": "completion", "cheats_stopped": 0}
    decision = decide(version(), [document], "base", [], 0.0, 1)
    assert decision.reasons == ("cannot be compared with base: one of them has no evaluation",)


# the alias


def test_a_better_model_moves_the_alias_an_equal_or_worse_one_does_not_and_rollback_restores(tmp_path, uri, client):
    name = "alias"
    first = add(tmp_path, uri, name, 30)
    made = run_gate(client, uri, name, first, 0.0)
    assert (made.promoted, made.incumbent, champion(client, name)) == (True, "base", first)
    for passing in (30, 20):
        number = add(tmp_path, uri, name, passing)
        again = run_gate(client, uri, name, number, 0.0)
        assert (again.promoted, again.incumbent, champion(client, name)) == (False, "v1", first)
        assert "candidate" in find_version(client, name, str(number)).aliases
    best = add(tmp_path, uri, name, 50)
    assert run_gate(client, uri, name, best, 0.0).promoted
    assert champion(client, name) == best
    stored = find_version(client, name, "champion")
    decision = earlier_decision(stored)
    assert (decision.promoted, decision.incumbent, decision.settled) == (True, "v1", True)
    assert decision.delta["n"] == PROBLEMS
    assert stored.tags["test_looks"] == "4"
    assert "+0.250" in stored.tags["promoted_by"]

    was, now = rollback(client, uri, name, "it swears")
    assert (was.number, now.number, champion(client, name)) == (best, first, first)
    automatic = run_gate(client, uri, name, best, 0.0)
    assert not automatic.promoted, "a registration that is repeated does not undo a rollback"
    assert run_gate(client, uri, name, best, 0.0, by_hand=True).promoted
    rollback(client, uri, name, "again")
    assert rollback(client, uri, name, "and that too")[1] is None
    assert champion(client, name) is None
    with pytest.raises(DataError, match="has no champion"):
        rollback(client, uri, name, "nothing left")


def test_who_asks_again_gets_the_same_answer(tmp_path, uri, client):
    number = add(tmp_path, uri, "again", 40)
    first = run_gate(client, uri, "again", number, 0.0)
    assert run_gate(client, uri, "again", number, 0.0) == first
    assert first.incumbent == "base"


def test_a_promotion_that_a_kill_cut_short_is_finished(tmp_path, uri, client):
    name = "killed"
    number = add(tmp_path, uri, name, 40)

    class Dying:
        def __getattr__(self, attribute):
            return getattr(client, attribute)

        def set_registered_model_alias(self, name, alias, number):
            if alias == "champion":
                raise KeyboardInterrupt
            client.set_registered_model_alias(name, alias, number)

    with pytest.raises(KeyboardInterrupt):
        run_gate(Dying(), uri, name, number, 0.0)
    assert champion(client, name) is None
    assert not earlier_decision(find_version(client, name, str(number))).settled
    assert run_gate(client, uri, name, number, 0.0).promoted
    assert champion(client, name) == number
    assert earlier_decision(find_version(client, name, str(number))).settled


def test_every_look_at_a_test_set_counts_whoever_looks(tmp_path, uri, client):
    test = {"problems_sha256": {"test": "c" * 64}}
    for name in ("looks_a", "looks_b"):
        number = add(tmp_path, uri, name, 20, **test)
        made = run_gate(client, uri, name, number, 0.0)
    assert made.looks == 2
    client.set_model_version_tag("looks_a", "1", "remeasured_test_sha256", "c" * 64)
    assert looks_at(client, "c" * 64) == 3
    assert looks_at(client, "") == 0


def test_an_incumbent_of_another_test_set_has_to_be_measured_first(tmp_path, uri, client):
    name = "elsewhere"
    other = {"problems_sha256": {"test": "d" * 64}}
    old = add(tmp_path, uri, name, 30)
    run_gate(client, uri, name, old, 0.0)
    new = add(tmp_path, uri, name, 60, **other)
    held = run_gate(client, uri, name, new, 0.0)
    assert (held.promoted, held.delta) == (False, None)
    (tmp_path / "later.json").write_text(json.dumps(evaluation(30, **other)))
    client.log_artifact(find_version(client, name, "v1").run_id, str(tmp_path / "later.json"), "model/evaluations")
    assert run_gate(client, uri, name, new, 0.0, by_hand=True).promoted
    assert champion(client, name) == new


def test_a_version_is_found_by_number_and_alias_or_the_message_names_what_there_is(tmp_path, uri, client):
    run_gate(client, uri, "found", add(tmp_path, uri, "found", 30), 0.0)
    assert {find_version(client, "found", which).number for which in ("1", "v1", "champion", "@candidate")} == {1}
    with pytest.raises(DataError, match=r"no version 'v7'\nhint: there are candidate, champion, v1"):
        find_version(client, "found", "v7")
    with pytest.raises(DataError, match="nothing: has no versions"):
        find_version(client, "nothing", "1")


# two at once


def _decide_elsewhere(uri, name, number, out):
    made = run_gate(mlflow_store.open_client(uri), uri, name, number, 0.0)
    out.put((number, made.promoted, made.incumbent))


def test_two_registrations_at_once_do_not_race(tmp_path, uri, client):
    name = "race"
    numbers = [add(tmp_path, uri, name, passing) for passing in (40, 30)]
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    running = [context.Process(target=_decide_elsewhere, args=(uri, name, number, out)) for number in numbers]
    for process in running:
        process.start()
    found = {number: (promoted, incumbent) for number, promoted, incumbent in (out.get(timeout=120) for _ in running)}
    for process in running:
        process.join(30)
        assert process.exitcode == 0
    assert champion(client, name) == numbers[0], "the better one, whoever came first"
    first = found[numbers[0]]
    assert first in [(True, "base"), (True, "v2")]
    assert found[numbers[1]] == ((False, "v1") if first == (True, "base") else (True, "base"))


@pytest.fixture
def served(monkeypatch):
    """As on a server, where there is no file to lock."""
    monkeypatch.setattr(turns, "sqlite_file", lambda uri: None)


def names(client):
    return [model.name for model in client.search_registered_models("name LIKE 'turn_%'")]


def test_on_a_server_the_turn_is_a_name_that_is_given_once(uri, client, served):
    with turn(client, "turn_a", uri):
        assert names(client) == ["turn_a.turn"]
        with (
            pytest.raises(WorldError, match=r"deciding about its champion all the time"),
            turn(client, "turn_a", uri, 0.3),
        ):
            raise AssertionError("two at once")
        with turn(client, "turn_b", uri):
            pass
    with pytest.raises(ValueError, match="mine"), turn(client, "turn_a", uri):
        raise ValueError("mine")
    assert names(client) == []


def test_a_dead_process_loses_its_turn_at_once_and_one_elsewhere_after_the_lease(uri, client, served, monkeypatch):
    import socket

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    client.create_registered_model("turn_c.turn", tags={"holder": f"{socket.gethostname()} {dead.pid} 1"})
    with turn(client, "turn_c", uri, 5.0):
        pass
    client.create_registered_model("turn_c.turn", tags={"holder": "elsewhere 1 1"})
    with pytest.raises(WorldError, match="elsewhere 1 1"), turn(client, "turn_c", uri, 0.3):
        raise AssertionError("taken from somebody alive")
    monkeypatch.setattr(turns, "LEASE_S", 0.0)
    time.sleep(0.01)
    with turn(client, "turn_c", uri, 5.0):
        pass
    assert names(client) == []


def test_beside_a_file_it_is_a_lock(tmp_path, client):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with (
        turn(client, "file", uri),
        pytest.raises(WorldError, match="file: another process"),
        turn(client, "file", uri, 0.3),
    ):
        raise AssertionError("two at once")
    with turn(client, "file", uri):
        assert Path(f"{tmp_path}/mlflow.db.promotion.lock").exists()


def test_a_decision_is_a_sentence_with_its_numbers():
    delta = {"value": 0.1, "low": 0.05, "high": 0.15, "n": 60, "p": 0.001}
    told = Decision(3, True, "v1", "pass@1", delta, 0.0, 2).sentence()
    assert told == ("v3: is champion now, pass@1 +0.100 [+0.050, +0.150], n = 60 against v1 (look 2 at this test set)")
