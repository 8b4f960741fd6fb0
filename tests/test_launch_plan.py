"""Before a job is paid for: settings, what is sent, what it may cost, a container's folders here, archives' tricks."""

import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import launch_project
import pytest
import yaml

from greenlit.errors import ConfigError, DataError, GreenlitError, WorldError
from greenlit.launch import container, cost, driving, fetching
from greenlit.launch.channels import channel_name, channels_of
from greenlit.launch.jobs import Job
from greenlit.launch.plan import make_plan
from greenlit.launch.sending import ARCHIVE, make_source
from greenlit.launch.settings import SageMaker, sagemaker_settings
from greenlit.launch.stages import find_stage
from greenlit.models import POINTER
from greenlit.stage.launching import launcher_of
from greenlit.stage.workspace import sha256_file

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project to stand in, without credentials: nothing here may ask AWS."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GREENLIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    folder = launch_project.make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def settings_with(**changes: object) -> SageMaker:
    content = yaml.safe_load(launch_project.SETTINGS)
    content["sagemaker"] |= changes
    Path("settings.yaml").write_text(yaml.safe_dump(content))
    return sagemaker_settings()


def greenlit(*arguments: str, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-m", "greenlit.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path("src").resolve())}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_the_launcher_is_the_environments_word_else_that_of_the_settings_else_local(project, monkeypatch) -> None:
    assert launcher_of("train") == "local"
    Path("settings.yaml").write_text("launcher: sagemaker\n" + launch_project.SETTINGS)
    assert launcher_of("train") == "sagemaker"
    assert launcher_of("report") == "local", "only stages that want a GPU"
    monkeypatch.setenv("GREENLIT_LAUNCHER", "local")
    assert launcher_of("train") == "local"
    monkeypatch.setenv("GREENLIT_LAUNCHER", "sagemker")
    with pytest.raises(ConfigError, match="GREENLIT_LAUNCHER: no launcher 'sagemker'") as told:
        launcher_of("train")
    assert told.value.hint == "did you mean sagemaker?"
    monkeypatch.setenv("GREENLIT_LAUNCHER", "sagemaker")
    settings_with(stages=["generate"])
    assert [launcher_of(stage) for stage in ("train", "generate")] == ["local", "sagemaker"]


def test_settings_are_found_where_a_copy_of_the_project_runs(project, tmp_path, monkeypatch) -> None:
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"settings.yaml: sagemaker: is missing"):
        sagemaker_settings()
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert sagemaker_settings().bucket == "greenlit-test"
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.setenv("GREENLIT_SETTINGS", str(project / "settings.yaml"))
    assert sagemaker_settings().bucket == "greenlit-test"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bucket": "Not_A_Bucket"}, r"sagemaker.bucket: .*\(found 'Not_A_Bucket'\)"),
        ({"role": "greenlit-job"}, "sagemaker.role: "),
        ({"instance_typ": "x"}, "sagemaker.instance_typ: unknown key"),
        ({"instance_type": "g5.xlarge"}, "sagemaker.instance_type: "),
        ({"max_wait_minutes": 1}, "at least max_runtime_minutes"),
        ({"subnets": ["a"]}, "give both, or neither"),
        ({"requirements": "requirements.txt"}, "cannot be installed under network_isolation"),
        ({"environment": {"HF_TOKEN": "x"}}, "HF_TOKEN is named like a secret"),
        ({"max_cost_usd": 0}, "sagemaker.max_cost_usd: "),
        ({"stages": ["report"]}, "sagemaker.stages.0: "),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line_with_its_place(project, changes, words) -> None:
    with pytest.raises(ConfigError, match=words):
        settings_with(**changes)


def test_a_dry_run_shows_all_and_asks_nothing_of_aws(project) -> None:
    told = json.loads(greenlit("launch", "train", "--method", "dpo", "--dry-run", "--json").stdout)
    assert told["image"] == "123456789012.dkr.ecr.us-east-1.amazonaws.com/greenlit:train-cpu"
    assert told["command"] == "python job.py, which runs `python -m tasks.train --method dpo`"
    sizes = {channel["name"]: channel["bytes"] for channel in told["channels"]}
    assert (sizes["pairs_dpo"], sizes["model"]) == (5, 1002)
    assert 100_000 < sizes["code"] < 2_000_000
    assert told["cost_usd"]["ceiling"] == pytest.approx(0.115)
    assert told["outs"] == ["results/small/dpo/adapter", "results/small/dpo/metrics.json"]
    assert told["checkpoints"]["s3"].startswith("s3://greenlit-test/greenlit/checkpoints/greenlit-train-dpo-")
    shown = greenlit("launch", "train", "--method", "dpo", "--dry-run").stdout
    for words in (
        told["image"],
        "ml.m5.large",
        "pairs_dpo",
        "0.115 USD per hour",
        "ceiling",
        "tasks.train --method dpo",
    ):
        assert words in shown
    assert not Path(".work").exists()


def test_a_job_that_may_cost_too_much_is_refused_with_the_sum(project) -> None:
    settings_with(instance_type="ml.p4d.24xlarge", instance_count=2, max_cost_usd=50.0)
    done = greenlit("launch", "train", "--method", "dpo", "--dry-run", code=2)
    assert "may come to 75.38 USD (2 x ml.p4d.24xlarge at 37.69 USD/h for 60 minutes)" in done.stderr
    assert "hint: lower max_runtime_minutes" in done.stderr
    settings = settings_with(instance_type="ml.zz9.xlarge")
    with pytest.raises(ConfigError, match="not in the price list"):
        cost.require_affordable(cost.cost_of(settings, "train@dpo"), settings)
    settings = settings_with(instance_type="ml.zz9.xlarge", usd_per_hour=3.0)
    cost.require_affordable(cost.cost_of(settings, "train@dpo"), settings)
    settings = settings_with(instance_type="ml.p4d.24xlarge", max_cost_usd=None)
    cost.require_affordable(cost.cost_of(settings, "train@dpo"), settings)


def test_an_estimate_comes_from_the_last_job_of_the_same_kind(project) -> None:
    settings = settings_with(instance_count=2)
    assert cost.cost_of(settings, "train@dpo").estimate is None
    cost.note_job("train@dpo", "first", "ml.m5.large", 60)
    cost.note_job("train@dpo", "second", "ml.m5.large", 1800)
    cost.note_job("train@dpo", "elsewhere", "ml.g5.xlarge", 9)
    cost.note_job("train@sft", "another", "ml.m5.large", 9)
    found = cost.cost_of(settings, "train@dpo")
    assert found.estimate == pytest.approx(0.5 * 2 * 0.115)
    assert found.estimated_from == "the last job, second"
    assert cost.cost_of(settings_with(expected_minutes=6), "train@dpo").estimate == pytest.approx(0.0115)


def test_the_price_list_says_where_and_when(project) -> None:
    listed = cost.price_list()
    assert listed["region"] == "us-east-1"
    assert re.match(r"\d{4}-\d\d-\d\d$", str(listed["date"]))
    assert listed["source"].startswith("https://aws.amazon.com/")
    assert all(price > 0 for price in listed["usd_per_hour"].values())


def test_the_key_and_so_the_job_changes_with_params_inputs_and_code(project) -> None:
    def prefix(method: str = "dpo") -> str:
        return make_plan(find_stage("train", method), sagemaker_settings()).job_prefix

    names = [prefix(), prefix("sft")]
    Path("pairs/dpo.jsonl").write_text("more\n")
    names.append(prefix())
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: 0", "seed: 1"))
    names.append(prefix())
    Path("tasks/train.py").write_text(Path("tasks/train.py").read_text() + "# changed\n")
    names.append(prefix())
    assert len(set(names)) == 5
    assert all(re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,47}", name) for name in names), "room for the time"
    same = prefix()
    settings_with(instance_type="ml.g5.xlarge", spot=False)
    assert prefix() == same, "where it runs is not what it computes"


def test_names_of_channels_are_names_of_variables_and_a_long_path_keeps_its_end() -> None:
    assert channel_name(Path("assets/rl/starter/pairs.jsonl")) == "rl_starter_pairs"
    assert channel_name(Path("results/e-1/m.x/merged")) == "e_1_m_x_merged"
    long = channel_name(Path("assets") / ("x" * 80) / "problems.jsonl")
    assert len(long) <= 60
    assert long.endswith("problems")


def test_a_hub_model_travels_as_a_channel_of_its_own(project, monkeypatch) -> None:
    cached = Path("cache/models--org--tiny/snapshots/abc")
    cached.mkdir(parents=True)
    (cached / "weights").write_text("hub")
    Path("model/config.json").unlink()
    monkeypatch.setattr("greenlit.launch.channels.resolve", lambda pointing: cached)
    (Path("model") / POINTER).write_text(json.dumps({"source": "org/tiny", "revision": "abc"}))
    channels = {channel.name: channel for channel in channels_of(find_stage("train", "dpo"))}
    assert set(channels) == {"pairs_dpo", "model", "models_org_tiny_snapshots_abc"}
    assert channels["models_org_tiny_snapshots_abc"].of_hub
    (Path("model") / POINTER).write_text(json.dumps({"source": "/elsewhere/model", "revision": None}))
    with pytest.raises(ConfigError, match="finds models of the project only"):
        channels_of(find_stage("train", "dpo"))


def test_the_code_is_small_the_same_twice_and_holds_no_hidden_file(project, tmp_path) -> None:
    Path("custom").mkdir()
    Path("custom/mine.py").write_text("x = 1\n")
    Path("custom/.env").write_text("SECRET=1")
    plan = make_plan(find_stage("train", "dpo"), sagemaker_settings())
    first, second = (make_source(plan, tmp_path / name, None) for name in ("a", "b"))
    assert sorted(file.name for file in first.iterdir()) == ["code.tar.gz", "job.py"]
    assert (first / ARCHIVE).read_bytes() == (second / ARCHIVE).read_bytes()
    with tarfile.open(first / ARCHIVE) as tar:
        names = tar.getnames()
    assert {"params.yaml", "dvc.yaml", "tasks/train.py", "custom/mine.py", "src/greenlit/cli.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or "/." in name or name.startswith((".", "pairs"))]


def test_settings_with_a_quote_stay_out_of_the_shell_file_that_the_container_sources(project) -> None:
    text = Path("params.yaml").read_text().replace("max_steps: 12", 'max_steps: 12, loss_type: "it\'s"')
    Path("params.yaml").write_text(text)
    hyperparameters = make_plan(find_stage("train", "dpo"), sagemaker_settings()).hyperparameters
    assert "params_loss_type" not in hyperparameters
    assert {"stage": "train", "entry": "dpo", "params_max_steps": 12}.items() <= hyperparameters.items()


def test_what_a_stage_reads_must_be_there(project) -> None:
    Path("pairs/dpo.jsonl").unlink()
    with pytest.raises(DataError, match=r"pairs/dpo.jsonl: no such file, and the stage train@dpo reads it"):
        make_plan(find_stage("train", "dpo"), sagemaker_settings())
    with pytest.raises(ConfigError, match="no entry 'grpo' for the stage train"):
        find_stage("train", "grpo")
    with pytest.raises(ConfigError, match="no stage 'trian'"):
        find_stage("trian", None)


def test_every_stage_of_the_real_graph_can_be_described() -> None:
    for name, entry in (
        ("baseline", None),
        ("generate", None),
        ("train", "dpo"),
        ("evaluate", "sft"),
        ("merge", "dpo"),
    ):
        stage = find_stage(name, entry, ROOT)
        assert stage.outs
        assert all(path.parts[0] in {"assets", "results"} for path in (*stage.inputs, *stage.outs))


def test_the_entry_runs_here_in_a_containers_folders(project, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-of-nobody")
    done = greenlit("launch", "train", "--method", "dpo", "--local-container-layout")
    outs = Path(done.stdout.strip())
    assert (outs / "results/small/dpo/adapter/weights").read_text() == "w" * 1000 + "good\n"
    variables = json.loads((outs / "results/small/dpo/metrics.json").read_text())["variables"]
    assert "OPENAI_API_KEY" not in variables
    assert {"SM_MODEL_DIR", "SM_CHANNEL_MODEL", "SM_HPS"} <= set(variables)
    assert not Path("results").exists(), "the project's own results are DVC's"
    assert list(Path(".work/launch/layouts/train@dpo/checkpoints/train").glob("*/place"))
    Path("pairs/dpo.jsonl").write_text("bad\n")
    failed = greenlit("launch", "train", "--method", "dpo", "--local-container-layout", code=2)
    assert "error: pairs/dpo.jsonl:1: not a pair" in failed.stderr
    failure = Path(".work/launch/layouts/train@dpo/output/failure").read_text()
    assert failure == "error: pairs/dpo.jsonl:1: not a pair\nhint: mend it, exit code: 2"


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside"), member("/etc/greenlit-was-here"), member("outs/../../outside"),
        member("outs/link", tarfile.SYMTYPE, "/etc/passwd"), member("outs/hard", tarfile.LNKTYPE, "../../x"),
        member("outs/device", tarfile.CHRTYPE), member("outs/fifo", tarfile.FIFOTYPE),
    ],
    ids=lambda info: info.name,
)  # fmt: skip
def test_an_archive_puts_nothing_outside_of_its_folder(tmp_path: Path, evil: tarfile.TarInfo) -> None:
    archive = archive_of(tmp_path / "model.tar.gz", (evil, b"x" if evil.isfile() else b""))
    with pytest.raises(DataError):
        fetching.unpack(archive, tmp_path / "a/b/result", 1e6)
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "a/outside").exists()
    assert not Path("/etc/greenlit-was-here").exists()
    assert not [
        path for path in (tmp_path / "a").rglob("*") if path.is_symlink() or stat.S_ISFIFO(path.lstat().st_mode)
    ]


def test_an_archive_that_unpacks_to_too_much_or_is_torn_is_refused(tmp_path: Path, monkeypatch) -> None:
    big = archive_of(tmp_path / "big.tar.gz", (member("outs/zeros"), bytes(3_000_000)))
    assert big.stat().st_size < 10_000
    with pytest.raises(DataError, match="max_result_gib"):
        fetching.unpack(big, tmp_path / "one", 1e6)
    monkeypatch.setattr(fetching, "MOST_FILES", 3)
    many = archive_of(tmp_path / "many.tar.gz", *((member(f"outs/{n}"), b"") for n in range(5)))
    with pytest.raises(DataError, match="files and more unpacked"):
        fetching.unpack(many, tmp_path / "two", 1e6)
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes(big.read_bytes()[:-500])
    with pytest.raises(DataError, match="no whole archive"):
        fetching.unpack(torn, tmp_path / "three", 1e9)


@pytest.fixture
def result(project: Path, tmp_path: Path) -> Path:
    """What a job's archive holds, unpacked."""
    folder = tmp_path / "result"
    for name in ("adapter/weights", "metrics.json"):
        file = folder / "outs/results/small/dpo" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    list_files(folder)
    return folder


def list_files(folder: Path, stage: str = "train@dpo") -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != fetching.MANIFEST]
    listed = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in files
    }
    (folder / fetching.MANIFEST).write_text(json.dumps({"stage": stage, "key": "k", "files": listed}))


def test_a_result_is_taken_whole_or_not_at_all(result: Path) -> None:
    stage = find_stage("train", "dpo")
    fetching.verify(result, stage, "k")
    with pytest.raises(DataError, match=r"of train@dpo \(k\), not train@dpo \(other\)"):
        fetching.verify(result, stage, "other")
    weights = result / "outs/results/small/dpo/adapter/weights"
    weights.write_text("changed")
    with pytest.raises(DataError, match="not what the job wrote"):
        fetching.verify(result, stage, "k")
    (result / "outs/params.yaml").write_text("mine now")
    with pytest.raises(DataError, match="differ"):
        fetching.verify(result, stage, "k")
    list_files(result)
    with pytest.raises(DataError, match="no out of train@dpo"):
        fetching.verify(result, stage, "k")
    (result / "outs/params.yaml").unlink()
    weights.unlink()
    weights.parent.rmdir()
    list_files(result)
    with pytest.raises(DataError, match="lacks results/small/dpo/adapter"):
        fetching.verify(result, stage, "k")


def test_older_outs_give_way_and_what_was_told_joins_the_spool(result: Path) -> None:
    out = Path("results/small/dpo/adapter")
    out.mkdir(parents=True)
    (out / "old").write_text("old")
    run = result / "tracking/0123456789abcdef"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    fetching.put_in_place(result, find_stage("train", "dpo"))
    assert [path.name for path in out.iterdir()] == ["weights"]
    assert Path(".work/tracking/0123456789abcdef/run.json").exists()


@pytest.mark.parametrize(
    ("secondary", "words"),
    [
        ("MaxRuntimeExceeded", r"sagemaker.max_runtime_minutes"),
        ("MaxWaitTimeExceeded", r"sagemaker.max_wait_minutes"),
        ("Stopped", "was stopped"),
    ],
)
def test_a_job_that_was_ended_is_no_fault_and_says_by_what(secondary: str, words: str) -> None:
    with pytest.raises(WorldError, match=words) as told:
        driving._require_completed(Job("job", "Stopped", secondary, "", "", None, None))
    assert "goes on from" in told.value.hint


@pytest.mark.parametrize(
    ("reason", "kind", "said"),
    [
        ("AlgorithmError: error: x\nhint: y, exit code: 2", ConfigError, "error: x\nhint: y"),
        ("AlgorithmError: error: x, exit code: 2, exit code: 1", ConfigError, "error: x"),  # torchrun's own comes last
        ("AlgorithmError: error: the disk is full, exit code: 75", WorldError, "the disk is full"),
        ("AlgorithmError: it said exit code 2 somewhere, exit code: 1", GreenlitError, "somewhere"),
        ("ClientError: no such image", GreenlitError, "no such image"),
    ],
)
def test_the_exit_code_of_the_stage_comes_through(reason: str, kind: type, said: str) -> None:
    with pytest.raises(GreenlitError) as told:
        driving._require_completed(Job("job", "Failed", "Failed", "", reason, None, None))
    assert type(told.value) is kind
    assert told.value.args[0].endswith(said)


def test_an_image_without_sent_code_runs_its_own(project: Path, tmp_path: Path) -> None:
    channels = {"SM_CHANNEL_MODEL": str(tmp_path / "m"), "SM_CHANNEL_PAIRS_DPO": str(tmp_path / "p")}
    for folder, file in (("m", "config.json"), ("p", "dpo.jsonl"), ("s", "params.yaml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(Path("params.yaml").read_text())
    params = (tmp_path / "s/params.yaml").read_text()
    (tmp_path / "s/params.yaml").write_text(params + "rewards: {model: model}\n")
    variables = {**channels, "SM_CHANNEL_SETTINGS": str(tmp_path / "s"), "GREENLIT_CHECKPOINT_DIR": str(tmp_path / "c")}
    container._lay_out(tmp_path / "laid", "train", "dpo", variables)
    laid = tmp_path / "laid"
    assert (laid / "src/greenlit/cli.py").is_file()
    assert (laid / "pairs/dpo.jsonl").resolve() == tmp_path / "p/dpo.jsonl"
    assert (laid / "model").resolve() == tmp_path / "m"
    assert (laid / ".work").resolve() == tmp_path / "c"
    with pytest.raises(DataError, match=r"SM_CHANNEL_MODEL: not set"):
        container._lay_out(
            laid, "train", "dpo", {key: variables[key] for key in variables if key != "SM_CHANNEL_MODEL"}
        )


@pytest.mark.parametrize("file", sorted((ROOT / "docs/iam").glob("*.json")), ids=lambda path: path.stem)
def test_a_policy_is_well_formed_and_no_wider_than_it_says(file: Path) -> None:
    policy = json.loads(file.read_text())
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Z]\w+", action) for action in actions), "no wildcard, a service's action"
        if statement.get("Resource") == "*":
            assert set(actions) <= {
                "sagemaker:ListTrainingJobs",
                "cloudwatch:PutMetricData",
                "ecr:GetAuthorizationToken",
            }
        assert statement["Effect"] == "Allow"
        assert statement["Sid"].isalnum()
    page = (ROOT / "docs/sagemaker.md").read_text() + (ROOT / "docs/data-versioning.md").read_text()
    assert f"iam/{file.name}" in page


def test_hadolint_finds_nothing_in_the_image() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed (requirements-dev.txt, Linux)")
    done = subprocess.run([hadolint, str(ROOT / "docker/train.Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_holds_what_it_copies_no_root_and_no_secret() -> None:
    text = (ROOT / "docker/train.Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name.removeprefix('./')}" in ignored, f".dockerignore leaves {name} out of the context"
    assert ignored.index(".env") > max(number for number, line in enumerate(ignored) if line.startswith("!"))
    assert re.search(r"^USER \$USER_ID$", text, re.MULTILINE)
    assert "requirements.lock" in text
    assert not (ROOT / "docker/__init__.py").exists()


def test_nothing_that_runs_in_a_container_knows_its_folders() -> None:
    for file in (ROOT / "docker/job.py", ROOT / "docker/train.Dockerfile", ROOT / "src/greenlit/launch/container.py",
                 *(ROOT / "tasks").glob("*.py"), *(ROOT / "src/greenlit/training").rglob("*.py")):  # fmt: skip
        assert "/opt/ml" not in file.read_text(), file
