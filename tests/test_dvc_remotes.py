"""docs/data-versioning.md does not lie: data goes to a remote and comes back in a fresh clone, without credentials."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import workspace
import yaml

from greenlit.config import read_yaml

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/data-versioning.md").read_text()
BUCKET = "problems"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "a-secret-of-nobody"  # the page shows the same key, which is AWS's own example
DATA = ("assets/raw/scraped/sample/problems.jsonl", "data/mine.jsonl")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an own file under DVC and a scraped source, committed, and no remote."""
    folder = workspace.make_workspace(tmp_path_factory.mktemp("remotes") / "project", "tiny")
    content = read_yaml(folder / "params.yaml") | {"scrape": {"sources": {"sample": {}}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "data").mkdir()
    (folder / "data/mine.jsonl").write_text(
        '{"task_id": "add-one", "tests": [{"kind": "assert", "code": "assert 1"}]}\n'
    )
    workspace.run(folder, "dvc", "add", "data/mine.jsonl")
    workspace.run(folder, "dvc", "repro", "scrape@sample")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server of moto's with an empty bucket; its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    assert httpx.put(f"{address}/{BUCKET}").status_code == 200
    yield address
    server.stop()


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of whoever runs the tests: no keys, no profile, no machine that hands keys out."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


def commit(folder: Path) -> None:
    author = ("-c", "user.name=t", "-c", "user.email=t@t")
    workspace.run(folder, "git", "add", "-A")
    workspace.run(folder, "git", *author, "commit", "-qm", "data")


def clone(folder: Path, target: Path) -> Path:
    workspace.run(folder, "git", "clone", "-q", str(folder), str(target))
    assert not any((target / name).exists() for name in DATA), "git holds no data"
    return target


def documented(words: str) -> str:
    """A command of the page, which must stand there like this."""
    assert re.search(rf"^{re.escape(words)}(\s+#.*)?$", PAGE, re.MULTILINE), f"docs/data-versioning.md has no `{words}`"
    return words


def test_a_fresh_clone_pulls_from_a_local_remote(project: Path, tmp_path: Path) -> None:
    workspace.run(project, *documented("dvc remote add --default storage ../greenlit-data").split())
    commit(project)
    workspace.run(project, *documented("dvc push").split())
    assert list((tmp_path / "greenlit-data").rglob("*"))
    other = clone(project, tmp_path / "clone")
    workspace.run(other, *documented("dvc pull --allow-missing").split())
    for name in DATA:
        assert (other / name).read_bytes() == (project / name).read_bytes()
    told = workspace.run(other, "dvc", "repro", "scrape@sample").stdout
    assert "Running stage" not in told, "what was pulled counts as done"


def test_a_fresh_clone_pulls_from_s3_and_no_key_is_committed(
    project: Path, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = documented("dvc remote add --default storage s3://my-bucket/greenlit")
    workspace.run(project, *command.replace("my-bucket", BUCKET).split())
    commit(project)
    with monkeypatch.context() as environment:
        settings = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": s3}
        for name, value in settings.items():
            assert name in PAGE
            environment.setenv(name, value)
        workspace.run(project, "dvc", "push")
    listed = httpx.get(f"{s3}/{BUCKET}?list-type=2").text
    assert len(re.findall(r"<Key>greenlit/files/md5/", listed)) >= 5

    other = clone(project, tmp_path / "clone")
    command = documented("dvc remote modify storage endpointurl https://s3.example.com")
    workspace.run(other, *command.replace("https://s3.example.com", s3).split())
    pull = documented("dvc pull data/mine.jsonl.dvc").split()
    denied = subprocess.run(pull, cwd=other, env=workspace.environment(other), capture_output=True, text=True)
    assert denied.returncode, "without a key there is nothing to be had"
    assert not any((other / name).exists() for name in DATA)
    set_keys(other)
    workspace.run(other, *pull)
    assert (other / DATA[1]).read_bytes() == (project / DATA[1]).read_bytes()
    workspace.run(other, *documented("dvc pull scrape@sample").split())
    assert (other / DATA[0]).read_bytes() == (project / DATA[0]).read_bytes()

    commit(other)
    tracked = subprocess.run(["git", "ls-files"], cwd=other, capture_output=True, text=True, check=True).stdout.split()
    assert ".dvc/config" in tracked
    for file in tracked:
        assert SECRET not in (other / file).read_text(errors="ignore"), file


def set_keys(folder: Path) -> None:
    """The credentials, where git does not see them."""
    for command in (
        documented("dvc remote modify --local storage access_key_id AKIAIOSFODNN7EXAMPLE"),
        documented("dvc remote modify --local storage secret_access_key ...").replace("...", SECRET),
    ):
        workspace.run(folder, *command.split())
    ignored = subprocess.run(["git", "check-ignore", "-q", ".dvc/config.local"], cwd=folder)
    assert ignored.returncode == 0


def test_an_own_file_under_dvc_is_noticed_when_it_changes(project: Path) -> None:
    content = read_yaml(project / "params.yaml")
    content |= {"dataset": {"name": "file", "path": DATA[1]}, "fetch": {"reads": DATA[1]}}
    (project / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    workspace.run(project, "dvc", "repro", "fetch")
    assert "Running stage" not in workspace.run(project, "dvc", "repro", "fetch").stdout
    with (project / DATA[1]).open("a") as file:
        file.write('{"task_id": "add-two", "tests": [{"kind": "assert", "code": "assert 1"}]}\n')
    assert "Running stage 'fetch'" in workspace.run(project, "dvc", "repro", "fetch").stdout
    assert (project / "assets/raw/file/mine.jsonl").read_bytes() == (project / DATA[1]).read_bytes()


@pytest.mark.slow
def test_problems_candidates_pairs_and_models_come_back_from_s3_with_no_more_rights_than_the_policy_gives(
    tiny: Path, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.s3.responses import S3Response

    asked: set[str] = set()
    set_action = S3Response._set_action

    def noted(response, kind, method, querystring):
        set_action(response, kind, method, querystring)
        asked.add(response.data["Action"])

    monkeypatch.setattr(S3Response, "_set_action", noted)
    project = Path(shutil.copytree(tiny, tmp_path / "project", symlinks=True))
    for name, value in {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(name, value)
    workspace.run(project, "dvc", "remote", "add", "--default", "storage", f"s3://{BUCKET}/greenlit")
    commit(project)
    workspace.run(project, "dvc", "push")
    other = tmp_path / "clone"
    workspace.run(project, "git", "clone", "-q", str(project), str(other))
    workspace.run(other, "dvc", "pull", "--allow-missing")
    assert workspace.digests(other) == workspace.digests(project)
    for name in ("adapter", "merged"):
        made = project / "results/tiny/dpo" / name
        for file in (path for path in made.rglob("*") if path.is_file()):
            assert (other / "results/tiny/dpo" / name / file.relative_to(made)).read_bytes() == file.read_bytes()
    policy = json.loads((ROOT / "docs/iam/dvc-remote.json").read_text())
    actions = [statement["Action"] for statement in policy["Statement"]]
    allowed = {name for one in actions for name in (one if isinstance(one, list) else [one])}
    meant = {"HeadBucket": "ListBucket", "HeadObject": "GetObject"}
    needed = {f"s3:{meant.get(action, action)}" for action in asked}
    assert {"s3:GetObject", "s3:PutObject", "s3:ListBucket"} <= needed <= allowed
