"""What a version carries: lineage from dvc.lock, leaks, the card, the way to the hub."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler

import pytest
import yaml
from http_servers import answering

from greenlit.config import load_params
from greenlit.errors import ConfigError, WorldError
from greenlit.problems.prompts import render
from greenlit.registry.card import version_card
from greenlit.registry.evidence import data_hashes, lineage_tags, open_leaks
from greenlit.registry.hub import push_to_hub
from greenlit.registry.lineage import as_json, chain_to
from greenlit.types import Problem

# lineage


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def entry(path, md5):
    return {"path": path, "hash": "md5", "md5": md5, "size": 1}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Files of a pipeline, and the dvc.lock that belongs to them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assets").mkdir()
    for name in ("raw", "problems", "pairs"):
        (tmp_path / "assets" / name).write_text(name)

    def stage(deps, outs, **more):
        return {"cmd": "x", "deps": [entry(*one) for one in deps], "outs": [entry(*one) for one in outs], **more}

    stages = {
        "report": stage([("results/merged", "5.dir")], [("report.json", "9")]),
        "merge@dpo": stage([("results/adapter", "4.dir"), ("src/merge.py", "m")], [("results/merged", "5.dir")]),
        "train@dpo": stage(
            [("assets/pairs", md5("pairs")), ("src/a.py", "1"), ("tasks/train.py", "2"), ("assets/base/x", "b")],
            [("results/adapter", "4.dir")],
            params={"params.yaml": {"seed": 3}},
        ),
        "build": stage([("assets/problems", md5("problems"))], [("assets/pairs", md5("pairs"))]),
        "prepare": stage([("assets/raw", md5("raw"))], [("assets/problems", md5("problems"))]),
        "base": stage([], [("assets/base", "6.dir")]),
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    return tmp_path


def test_the_chain_goes_back_to_every_dataset_and_nothing_else_is_in_it(project):
    from pathlib import Path

    chain = chain_to(Path("results/merged"))
    assert [link.stage for link in chain] == ["merge@dpo", "train@dpo", "build", "prepare", "base"]
    hashes = data_hashes(chain)
    assert hashes["assets/raw"] == md5("raw")
    assert hashes["results/merged"] == "5.dir"
    assert not [path for path in hashes if path.startswith(("src", "tasks"))]
    trained = chain[1]
    assert trained.params == {"params.yaml": {"seed": 3}}
    assert len(trained.code) == 64
    assert json.loads(as_json(chain))[2]["reads"] == {"assets/problems": md5("problems")}


@pytest.mark.parametrize("spoil", ["changed", "torn", "missing", "another shape"])
def test_a_lock_that_is_not_of_these_files_proves_nothing(project, spoil):
    from pathlib import Path

    if spoil == "changed":
        (project / "assets/pairs").write_text("edited by hand")
    elif spoil == "torn":
        (project / "dvc.lock").write_text("stages:\n  build: {cmd: [")
    elif spoil == "missing":
        (project / "dvc.lock").unlink()
    else:
        (project / "dvc.lock").write_text("stages: [1, 2]")
    assert chain_to(Path("results/merged")) == []


def test_what_no_stage_made_has_no_chain(project):
    from pathlib import Path

    assert chain_to(Path("somewhere/else")) == []


# leaks

AUDIT = {"kept": {"train": 2, "test": 1}, "leaks": {"against": {"test": {}}, "not_checked": ["against HumanEval"]}}
SEEN = Problem(
    task_id="t/1", prompt="Add.", entry_point="add", tests=[{"kind": "assert", "code": "assert add(1) == 1"}]
)


def leaks(tmp_path, *rows, audit=AUDIT):
    (tmp_path / "test.jsonl").write_text(SEEN.model_dump_json() + "\n")
    (tmp_path / "reads.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_leaks(audit, tmp_path / "reads.jsonl", tmp_path / "test.jsonl")


def test_own_rows_that_hold_a_test_problem_are_an_open_leak(tmp_path):
    assert leaks(tmp_path, {"task_id": "t/2", "prompt": "Sub."}, {"id": "t/3"}, {"prompt": 3}, {}) == []
    for row in ({"task_id": "t/1"}, {"id": "t/1", "prompt": "x"}, *({"prompt": render(SEEN, chat)} for chat in (0, 1))):
        (found,) = leaks(tmp_path, {"task_id": "t/2"}, row)
        assert "holds test problems" in found, row


def test_an_audit_that_did_not_look_is_an_open_leak(tmp_path):
    (found,) = leaks(tmp_path, audit={})
    assert found == "audit.json does not say that train was checked against test"


# the card


def interval(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 200}


SUMMARY = {
    "baseline_test": {"pass@1": interval(0.3), "greedy": interval(0.4)},
    "after_test": {"dpo": {"pass@1": interval(0.5), "greedy": {"value": None, "low": None, "high": None, "n": 0}}},
    "delta": {"dpo": {"pass@1": {**interval(0.2), "p": 0.01}, "greedy": {**interval(0.1), "n": 0}}},
    "sandbox_level": "portable",
    "kind": "program",
}


def test_the_card_has_figures_with_intervals_data_limits_and_a_head_the_hub_reads(tmp_path):
    from huggingface_hub import ModelCard

    params = load_params()
    (tmp_path / "pairs").write_text("x")
    tags = lineage_tags({"reads": tmp_path / "pairs"}, "starter", 7, {}, tmp_path)
    text = version_card(params, "dpo", SUMMARY, AUDIT, tags)
    row = "0.300 [0.200, 0.400] n=200 | 0.500 [0.400, 0.600] n=200 | +0.200 [+0.100, +0.300] | 200"
    assert f"| pass@1 | {row} |" in text
    assert "| greedy | 0.400 [0.300, 0.500] n=200 | not measured n=0 |" in text
    for told in (
        "2 train, 1 test",
        "Limits, without a jail",
        "against HumanEval",
        "learning_rate",
        tags["reads_sha256"],
    ):
        assert told in text, told
    head = ModelCard(text).data
    assert [(one.metric_type, one.metric_value) for one in head.eval_results] == [("pass@1", 0.5)]
    assert (head.library_name, head.tags) == ("transformers", ["greenlit", "dpo"])


# the hub


@pytest.fixture
def hub(monkeypatch):
    """A hub of our own that takes commits, and keeps what was sent."""
    kept = {"files": {}, "asked": [], "status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept["asked"].append((self.path, self.headers.get("Authorization")))
            if kept["status"] != 200:
                self.send(kept["status"], {"error": "no"})
            elif self.path == "/api/repos/create":
                kept["made"] = json.loads(body)
                self.send(200, {"url": f"{address}/me/model", "name": "me/model"})
            elif "/preupload/" in self.path:
                asked = json.loads(body)["files"]
                self.send(
                    200,
                    {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]},
                )
            elif "/commit/" in self.path:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        kept["files"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.send(200, {"success": True, "commitUrl": f"{address}/me/model/commit/abc", "commitOid": "abc"})
            else:  # /api/validate-yaml
                self.send(200, {"errors": [], "warnings": []})

        def send(self, code, content):
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with answering(Handler) as address:
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield kept


@pytest.fixture
def merged(tmp_path):
    folder = tmp_path / "merged"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("of the merge")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_push_is_one_commit_with_the_versions_card(hub, merged):
    url = push_to_hub(merged, "the card", "me/model", True, "v3")
    assert url.endswith("/me/model/commit/abc")
    assert hub["files"] == {"README.md": b"the card", "config.json": b"{}", "model.safetensors": b"weights"}
    assert (hub["made"]["name"], hub["made"]["organization"]) == ("model", "me")
    assert hub["made"].get("private", hub["made"].get("visibility")) in {True, "private"}
    assert {token for _, token in hub["asked"]} == {"Bearer hf_right"}


def test_a_hub_that_refuses_is_the_users_to_fix_and_one_that_is_down_is_not(hub, merged, monkeypatch):
    hub["status"] = 403
    with pytest.raises(ConfigError, match=r"register\.push_to_hub: me/model: the hub refuses it"):
        push_to_hub(merged, "card", "me/model", True, "v3")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WorldError, match="could not be pushed"):
        push_to_hub(merged, "card", "me/model", True, "v3")
