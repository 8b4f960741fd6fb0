"""Which stages a flow takes, from DVC's graph; what became of its models since; who is told."""

import copy
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import flow_runs  # noqa: F401  (puts flows on the path)
import pytest
import workspace
from http_servers import answering
from test_iterate import measured

from flows import notify, running
from flows.choices import Chosen
from flows.graph import Graph
from flows.progress import ProgressArtifact, key_of
from flows.running import Kind
from flows.settings import retries
from flows.stages import How
from flows.sweep import grid_points
from greenlit.applying import apply
from greenlit.config import load_params
from greenlit.errors import ConfigError, MismatchError
from greenlit.evaluation.drift import drift, is_regression
from greenlit.jsonl import write_json
from greenlit.paths import Paths


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with methods of both kinds, nothing of it run."""
    folder = workspace.make_workspace(tmp_path / "mixed", "methods")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No run is there to log to."""
    lines: list[str] = []

    class Logger:
        def info(self, line: str) -> None:
            lines.append(line)

        warning = error = info

    for module in (running, notify):
        monkeypatch.setattr(module, "get_run_logger", Logger)
    return lines


def chosen_stages(kind=Kind.ANY, **chosen) -> tuple[list[str], str]:
    return running._stages(Graph(), load_params(), Chosen(**chosen), kind)


def test_online_methods_wait_for_no_candidates_and_offline_ones_for_no_others(mixed: Path) -> None:
    params = load_params()
    kinds = {name: method.method for name, method in params.methods.items()}
    online = {name for name, kind in kinds.items() if kind in {"grpo", "rloo", "ppo"}}
    offline = set(kinds) - online
    assert online and offline
    stages, left_out = chosen_stages(Kind.ONLINE)
    assert not {"generate", "annotate", "build", "report"} & set(stages)
    assert {f"evaluate@{name}" for name in online} <= set(stages)
    assert not {f"train@{name}" for name in offline} & set(stages)
    assert "no report yet: " in left_out, "the report is about all methods, and others have no figures"
    for name in kinds:
        write_json(Paths.of(params).evaluation(name), {})
    stages, left_out = chosen_stages(Kind.ONLINE)
    tasks = list(dict.fromkeys(stage.partition("@")[0] for stage in stages))
    assert set(tasks) == {"fetch", "prepare", "base", "baseline", "train", "merge", "evaluate", "report", "register"}
    assert not left_out
    stages, _ = chosen_stages(Kind.OFFLINE)
    assert {"generate", "annotate", "build", "report"} <= set(stages)
    assert {stage for stage in stages if stage.startswith("register")} == {f"register@{name}" for name in offline}
    assert not {f"train@{name}" for name in online} & set(stages)
    for stage in ("merge", "evaluate", "register"):
        for name in offline:
            assert stages.index(f"train@{name}") < stages.index(f"{stage}@{name}")
    assert stages.index("generate") < stages.index("annotate") < stages.index("build")


def test_the_pipeline_takes_all_there_is_and_words_mean_parts_of_it(mixed: Path) -> None:
    graph = Graph()
    assert chosen_stages()[0] == graph.stages
    assert set(chosen_stages(only=["baseline"])[0]) == {"fetch", "prepare", "base", "baseline"}
    name = next(iter(load_params().methods))
    assert chosen_stages(only=[f"train-{name}"])[0][-1] == f"train@{name}"
    later = chosen_stages(from_stage="annotate")[0]
    assert later[0] == "annotate"
    assert "generate" not in later
    assert "report" in later
    with pytest.raises(ConfigError, match="nothing of what was asked for needs it"):
        chosen_stages(only=["baseline"], from_stage="report")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"methods": ["dbo"]}, "methods: params.yaml has no method dbo\nhint: one of "),
        ({"settings": ["seed"]}, "settings: seed: must be key=value\nhint: "),
        (
            {"settings": ["generate.temprature=1"]},
            "generate.temprature: unknown key\n  hint: did you mean temperature?",
        ),
        ({"grace_s": -1}, "grace_s: input should be greater than or equal to 0 (found -1)"),
        ({"launcher": "cloud"}, "launcher: input should be 'local' or 'sagemaker' (found 'cloud')"),
        ({"stage": "x"}, "stage: extra inputs are not permitted (found 'x')"),
        ({"only": ["trian"]}, "--only: no part of the pipeline is called 'trian'\nhint: did you mean train?"),
        ({"from_stage": "trian"}, "no stage is called 'trian'\nhint: did you mean train?"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_told_in_a_sentence(mixed: Path, given: dict, sentence: str) -> None:
    before = Path("params.yaml").read_text()
    with pytest.raises(ConfigError) as fault:
        chosen = Chosen.of(given)
        params = apply(chosen.preset, chosen.settings or [], chosen.methods)
        running._stages(Graph(), params, chosen, Kind.ANY)
    assert sentence in str(fault.value)
    assert Path("params.yaml").read_text() == before


def test_where_there_is_no_method_of_its_kind_a_flow_says_so(mixed: Path) -> None:
    only = next(name for name, method in load_params().methods.items() if method.method == "sft")
    params = apply(None, [], [only])
    with pytest.raises(ConfigError, match=rf"none of them samples while it trains .* \(found {only}\)"):
        running._stages(Graph(), params, Chosen(), Kind.ONLINE)


def test_a_grid_is_checked_whole_before_anything_runs(mixed: Path) -> None:
    name, method = next((name, one) for name, one in load_params().methods.items() if one.method == "dpo")
    points = grid_points({f"methods.{name}.beta": "0.2,1.0", "seed": [0, 1]})
    assert points[:2] == [{f"methods.{name}.beta": 0.2, "seed": 0}, {f"methods.{name}.beta": 0.2, "seed": 1}]
    assert len(points) == 4
    with pytest.raises(ConfigError, match=r"methods\.\w+\.beta: must be"):
        grid_points({f"methods.{name}.beta": [method.beta, -1]})
    with pytest.raises(ConfigError, match="grid: nothing to run"):
        grid_points({"seed": []})


def test_tries_are_by_stage_and_what_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    how = How(retries={"train": 1, "train@dpo": 2, "merge-dpo": 3})
    assert [how.tries(stage) for stage in ("train@sft", "train@dpo", "merge@dpo", "build")] == [2, 3, 4, 1]
    assert retries()["generate"] == 2
    assert "train" not in retries()
    monkeypatch.setenv("GREENLIT_RETRIES", "generate=often")
    with pytest.raises(ConfigError, match=r"GREENLIT_RETRIES: must be like .* \(found 'generate=often'\)"):
        retries()


def test_keys_of_artifacts_are_what_prefect_takes() -> None:
    assert key_of("results-My_Exp.2 (x)") == "results-my-exp-2-x"


def test_a_progress_that_cannot_be_shown_costs_one_line(quiet: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.progress

    def refuses(*arguments, **named):
        raise ConnectionError("no server")

    monkeypatch.setattr(flows.progress, "create_progress_artifact", refuses)
    monkeypatch.setattr(flows.progress, "get_run_logger", running.get_run_logger)
    progress = ProgressArtifact("stage generate")
    for done in range(5):
        progress.line(f"PROGRESS generate {done}/5 programs  eta 3 s")
    progress.end()
    assert quiet == ["progress is not shown any more: ConnectionError"]


# --- refreshed data ---------------------------------------------------------------------------------------------------


def test_a_loss_beyond_chance_is_a_regression_and_one_within_the_margin_is_none() -> None:
    first, now = measured([4] * 20 + [2] * 20), measured([1] * 20 + [2] * 20)
    delta = drift(first, now, "validation")
    assert delta is not None
    assert delta["metric"] == "pass@1"
    assert delta["value"] == pytest.approx(-0.375)
    assert is_regression(delta, 0.0)
    assert is_regression(delta, 0.1)
    assert not is_regression(delta, 0.4)
    same = drift(first, first, "validation")
    assert same is not None
    assert not is_regression(same, 0.0)


def test_only_problems_of_both_measurements_are_compared_and_settings_must_be_the_same() -> None:
    first, now = measured([4] * 10), measured([4] * 10)
    rows = now["splits"]["validation"]["problems"]
    for name in list(rows)[:4]:
        rows[f"new-{name}"] = {**rows.pop(name), "c": 0}
    delta = drift(first, now, "validation")
    assert delta is not None
    assert (delta["n"], delta["value"]) == (6, 0.0)
    assert (
        drift(first, {**now, "splits": {"validation": {**now["splits"]["validation"], "problems": {}}}}, "validation")
        is None
    )
    other = copy.deepcopy(now)
    other["settings"]["temperature"] = 0.5
    with pytest.raises(MismatchError, match=r"settings\.temperature"):
        drift(first, other, "validation")


# --- telling people ---------------------------------------------------------------------------------------------------


@contextmanager
def webhook(status: int = 200):
    """A server that notes what it is told; yields its address and the notes."""
    notes: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notes.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

    with answering(Handler) as address:
        yield f"{address}/hook/secret-part", notes


def test_a_promotion_is_told_once_and_a_record_without_one_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"name": "greenlit-tiny", "version": "3", "promoted": True, "decision": "low end above by 0.02"}
    with webhook() as (address, notes):
        monkeypatch.setenv("GREENLIT_NOTIFY", address)
        for before, after in (({}, record), (record, record), ({}, {"name": "x"}), ({}, {**record, "promoted": False})):
            notify.tell_promotion(before, after, "tiny/dpo")
    assert [note["text"] for note in notes] == [
        "promoted: greenlit-tiny version 3 (tiny/dpo) is the champion: low end above by 0.02"
    ]
    assert (notes[0]["event"], notes[0]["model"]) == ("promoted", "greenlit-tiny")


def test_a_webhook_that_is_down_or_refuses_costs_a_line_without_its_address(
    quiet: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook(500) as (address, notes):
        monkeypatch.setenv("GREENLIT_NOTIFY", address)
        assert not notify.notify("it failed")
        assert len(notes) == 1
    assert not notify.notify("it failed")
    assert len(quiet) == 2
    assert all(line.startswith("nobody was told, 127.0.0.1 failed (") and "secret-part" not in line for line in quiet)
    monkeypatch.delenv("GREENLIT_NOTIFY")
    assert not notify.notify("nobody wants to know")
    assert len(quiet) == 2


def test_secrets_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "hf_abcdefghij")
    with webhook() as (address, notes):
        monkeypatch.setenv("GREENLIT_NOTIFY", address)
        assert notify.notify("the hub refused hf_abcdefghij")
    assert notes[0]["text"] == "the hub refused ***"
