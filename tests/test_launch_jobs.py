"""Stages as SageMaker jobs that really run, in moto's server: what comes back, what is stopped, what goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import interruption
import launch_project
import pytest
import yaml
from sagemaker_server import BUCKET, KEY, REGION, ROLE, SECRET, Cloud, Weather

from greenlit.errors import ConfigError, GreenlitError, WorldError
from greenlit.launch.access import NoCapacity
from greenlit.launch.driving import drive
from greenlit.launch.stages import find_stage

OUT = Path("results/small/dpo")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud")).start()
    yield cloud
    cloud.stop()


@cache
def one_session() -> object:
    """boto3's, for all tests: each new one reads SageMaker's whole description again, for half a second."""
    import boto3

    return boto3.Session(KEY, SECRET, region_name=REGION)


@pytest.fixture(scope="module", autouse=True)
def settings_checked_once() -> Iterator[None]:
    """The SDK checks the same settings nine times a job, and the schema before each, for 2 s of CPU time."""
    import jsonschema

    validate, known = jsonschema.validate, []

    def once(config: dict, schema: dict) -> None:
        if (config, id(schema)) not in known:
            validate(config, schema)
            known.append((config, id(schema)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonschema, "validate", once)
        yield


@pytest.fixture
def cloud(running: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The cloud, in good weather, and a project of this test to stand in; its jobs are its own by the model's bytes."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GREENLIT_"))]:
        monkeypatch.delenv(name)
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS", "SAGEMAKER_VALIDATE_ROLE"):
        monkeypatch.setenv(name, {"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "8"}.get(name, "false"))
    monkeypatch.setattr("greenlit.launch.jobs.session_of", lambda settings: one_session())
    folder = launch_project.make_project(tmp_path / "project")
    (folder / "model/weights").write_text(tmp_path.name)
    monkeypatch.chdir(folder)
    running.weather = Weather()
    running.operations.clear()
    return running


def train(method: str = "dpo"):
    return drive(find_stage("train", method))


def mine(cloud: Cloud) -> list:
    """Jobs of this test's project."""
    from greenlit.launch.plan import make_plan
    from greenlit.launch.settings import sagemaker_settings

    prefixes = {make_plan(find_stage("train", name), sagemaker_settings()).job_prefix for name in ("dpo", "sft")}
    return [job for job in cloud.jobs() if job.training_job_name[:-15] in prefixes]


def test_a_job_gives_back_what_the_stage_wrote(cloud: Cloud, capsys) -> None:
    job = train()
    assert (OUT / "adapter/weights").read_text() == Path("model/weights").read_text() + "good\n"
    assert json.loads((OUT / "metrics.json").read_text())["steps"] == 12
    said = capsys.readouterr().err
    assert re.findall(r"^PROGRESS train (\d+)/12 steps$", said, re.MULTILINE) == [str(step) for step in range(1, 13)]
    assert f"{job.name}: Completed (Training job completed)" in said
    assert said.index("PROGRESS train 12/12") < said.index("done, its result is here")
    assert not list(Path(".work/launch").glob("*-*")), "nothing is left of what was sent and fetched"


def test_a_finished_job_that_nobody_fetched_is_fetched_and_not_run_again(cloud: Cloud, capsys, monkeypatch) -> None:
    Path("pairs/dpo.jsonl").write_text("good, twice\n")
    train()
    (OUT / "metrics.json").unlink()
    train()
    assert (OUT / "metrics.json").exists()
    assert len(mine(cloud)) == 1
    assert "is done: fetching its result" in capsys.readouterr().err
    monkeypatch.setenv("GREENLIT_LAUNCH_ANEW", "1")
    again = train()
    assert len(mine(cloud)) == 2
    assert "goes on after 0" in cloud.log_of(again.name), "not from the checkpoints of the one that is done"
    monkeypatch.delenv("GREENLIT_LAUNCH_ANEW")
    uploaded = [key for key in cloud.objects("greenlit/inputs/") if key.endswith(".done")]
    Path("pairs/dpo.jsonl").write_text("other pairs\n")
    train()
    assert len([key for key in cloud.objects("greenlit/inputs/") if key.endswith(".done")]) == len(uploaded) + 1
    assert len(mine(cloud)) == 1, "other inputs are another job"


def test_a_stage_that_fails_by_its_data_is_the_users_to_fix(cloud: Cloud, capsys) -> None:
    Path("pairs/dpo.jsonl").write_text("bad\n")
    with pytest.raises(
        ConfigError, match=r"failed: AlgorithmError: error: pairs/dpo.jsonl:1: not a pair\nhint: mend it"
    ):
        train()
    assert "error: pairs/dpo.jsonl:1: not a pair" in capsys.readouterr().err
    (job,) = mine(cloud)
    assert (job.training_job_status, job.failure_reason[-12:]) == ("Failed", "exit code: 2")
    assert not OUT.exists()


def test_taken_away_twice_it_ends_right_and_repeats_fewer_steps_than_lie_between_two_saves(cloud: Cloud) -> None:
    Path("pairs/dpo.jsonl").write_text("slow\n")
    cloud.weather.interrupt_at.extend(["PROGRESS train 6/", "PROGRESS train 10/"])
    job = train()
    lines = cloud.log_of(job.name).splitlines()
    went_on, last, redone = [], 0, []
    for line in lines:
        if found := re.match(r"goes on after (\d+)", line):
            went_on.append(int(found[1]))
            redone.append(last - int(found[1]))
        elif found := re.match(r"PROGRESS train (\d+)/", line):
            last = int(found[1])
    assert went_on[0] == 0
    assert len(went_on) == 3
    assert went_on[1] >= 4
    assert went_on[2] >= 8
    assert all(0 <= steps < 4 for steps in redone)
    (described,) = mine(cloud)
    assert [move["Status"] for move in described.secondary_status_transitions].count("Interrupted") == 2
    assert described.enable_managed_spot_training
    assert described.stopping_condition == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}


def start(*command: str) -> subprocess.Popen:
    """The stage as DVC starts it, in the folder of this test."""
    settings = {"PYTHONPATH": str(Path("src").resolve()), "GREENLIT_LAUNCHER": "sagemaker"}
    return interruption.start(Path.cwd(), sys.executable, "-m", "tasks.train", *command, **settings)


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    yield
    interruption.end_all()


def test_a_signal_stops_the_job_and_the_next_one_goes_on_from_its_checkpoint(cloud: Cloud) -> None:
    Path("pairs/dpo.jsonl").write_text("slow\n")
    driver = start("--method", "dpo")
    interruption.wait_for(Path.cwd(), "PROGRESS train 5/")
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 143
    (job,) = mine(cloud)
    assert job.training_job_status == "Stopped"
    said = Path("output.txt").read_text()
    assert "stopping the job" in said
    assert "stopped by SIGTERM" in said
    again = train()
    assert again.name != job.training_job_name
    assert "goes on after 0" not in cloud.log_of(again.name)
    assert json.loads((OUT / "metrics.json").read_text())["steps"] == 12


def test_a_driver_that_was_killed_leaves_the_job_to_the_next_one(cloud: Cloud, capsys) -> None:
    Path("pairs/dpo.jsonl").write_text("slow\n")
    driver = start("--method", "dpo", "--launcher", "sagemaker")
    interruption.wait_for(Path.cwd(), "PROGRESS train 2/")
    driver.kill()
    driver.wait()
    job = train()
    assert [one.training_job_name for one in mine(cloud)] == [job.name], "one job, not two"
    said = capsys.readouterr().err
    assert "runs already: following it" in said
    assert "PROGRESS train 1/12 steps" in said, "the log is there from its start"
    assert json.loads((OUT / "metrics.json").read_text())["steps"] == 12


def test_no_capacity_is_tried_again_and_then_told(cloud: Cloud, capsys) -> None:
    lacking = "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different type."
    cloud.weather.refusals.append(("CapacityError", "Insufficient capacity"))
    cloud.weather.reasons.append(lacking)
    train()
    assert len(mine(cloud)) == 2, "one was refused, one failed, one ran"
    assert capsys.readouterr().err.count("no machine: ") == 2
    Path("pairs/dpo.jsonl").write_text("good again\n")
    cloud.weather.reasons.extend([lacking] * 3)
    with pytest.raises(NoCapacity, match="no machine after 3 tries") as told:
        train()
    assert told.value.exit_code == 75


def test_a_quota_and_a_refusal_are_the_users_to_fix_and_are_not_tried_again(cloud: Cloud) -> None:
    for code, words in (("ResourceLimitExceeded", "quota"), ("AccessDeniedException", "docs/iam")):
        cloud.starts.clear()
        cloud.weather.refusals.append((code, "The account-level service limit is 0 Instances"))
        with pytest.raises(ConfigError, match=words):
            train()
        assert len(cloud.starts) == 1


def test_throttled_requests_are_repeated(cloud: Cloud) -> None:
    cloud.weather.throttle.update(describe_training_job=2, get_log_events=2, list_training_jobs=1)
    train()
    assert not +cloud.weather.throttle


def test_out_of_reach_the_job_goes_on_and_is_followed_later(cloud: Cloud, monkeypatch, capsys) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with Path("settings.yaml").open("a") as settings:
        settings.write("  out_of_reach_minutes: 0.005\n")
    Path("pairs/dpo.jsonl").write_text("slow\n")
    cloud.weather.throttle.update(get_log_events=1000)
    with pytest.raises(WorldError, match=r"goes on") as told:
        train()
    assert told.value.exit_code == 75
    cloud.weather = Weather()
    job = train()
    assert [one.training_job_name for one in mine(cloud)] == [job.name]
    assert "runs already" in capsys.readouterr().err


def test_two_methods_run_at_the_same_time(cloud: Cloud) -> None:
    Path("pairs/dpo.jsonl").write_text("slow\n")
    Path("pairs/sft.jsonl").write_text("slow\n")
    drivers = [start("--method", name) for name in ("dpo", "sft")]
    assert [driver.wait(200) for driver in drivers] == [0, 0], Path("output.txt").read_text()
    jobs = mine(cloud)
    assert [job.training_job_status for job in jobs] == ["Completed", "Completed"]
    ran = []
    for job in jobs:
        times = {move["Status"]: move["StartTime"] for move in job.secondary_status_transitions}
        ran.append((times["Training"], times["Uploading"]))
    assert ran[0][0] < ran[1][1]
    assert ran[1][0] < ran[0][1]
    for name, steps in (("dpo", 12), ("sft", 6)):
        assert json.loads(Path(f"results/small/{name}/metrics.json").read_text())["steps"] == steps


def test_several_processes_run_under_torchrun_and_give_one_result(cloud: Cloud) -> None:
    with Path("settings.yaml").open("a") as settings:
        settings.write("  processes: 2\n")
    job = train()
    log = cloud.log_of(job.name)
    assert "--nproc_per_node=2" in log
    assert log.count("the other process") == 1
    assert json.loads((OUT / "metrics.json").read_text())["steps"] == 12


def test_what_a_job_is_told_is_what_settings_and_params_say(cloud: Cloud) -> None:
    extra = {
        "kms_key": "alias/mine", "subnets": ["subnet-1"], "security_groups": ["sg-1"], "tags": {"team": "code"},
        "environment": {"GREENLIT_SAVE_EVERY_S": "5"}, "spot": False, "volume_gib": 7, "image": "here/greenlit:mine",
    }  # fmt: skip
    content = yaml.safe_load(Path("settings.yaml").read_text())
    content["sagemaker"] |= extra
    Path("settings.yaml").write_text(yaml.safe_dump(content))
    train()
    (job,) = mine(cloud)
    assert job.algorithm_specification["TrainingImage"] == "here/greenlit:mine"
    assert job.vpc_config == {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    assert job.output_data_config["KmsKeyId"] == "alias/mine"
    assert job.resource_config["VolumeSizeInGB"] == 7
    assert job.enable_network_isolation is True
    assert not job.enable_managed_spot_training
    assert job.role_arn == ROLE
    assert {"Key": "team", "Value": "code"} in job.tags
    assert job.environment["GREENLIT_SAVE_EVERY_S"] == "5"
    assert (job.hyper_parameters["params_method"], job.hyper_parameters["params_learning_rate"]) == ("dpo", "0.001")
    channels = {channel["ChannelName"] for channel in job.input_data_config}
    assert channels == {"pairs_dpo", "model", "code", "sm_drivers"}
    assert job.checkpoint_config["S3Uri"].startswith(f"s3://{BUCKET}/greenlit/checkpoints/greenlit-train-dpo-")


def test_no_secret_is_in_what_is_sent_logged_described_or_brought_back(cloud: Cloud, monkeypatch, capsys) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canaryInTheEnvironment")
    Path(".netrc").write_text("password canaryInAHiddenFile")
    Path("tasks/.secret").write_text("canaryInAHiddenFile")
    secrets = (SECRET, "hf_canaryInTheEnvFile", "sk-canaryInTheEnvironment", "canaryInAHiddenFile")
    job = train()
    (described,) = mine(cloud)
    told = json.dumps(vars(described), default=str) + cloud.log_of(job.name) + capsys.readouterr().err
    held = [b"".join(cloud.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in cloud.objects())]
    for archive in Path(cloud.root).glob(f"{job.name}/*/input/data/code/code.tar.gz"):
        with tarfile.open(archive) as tar:
            assert not [name for name in tar.getnames() if "/." in name or name.startswith(".")]
            held += [tar.extractfile(name).read() for name in tar.getnames()]
    for place in (*held, told.encode(), *(file.read_bytes() for file in OUT.rglob("*") if file.is_file())):
        assert not [secret for secret in secrets if secret.encode() in place]
    variables = json.loads((OUT / "metrics.json").read_text())["variables"]
    assert not [
        name for name in variables if name.startswith("AWS") or "KEY" in name.replace("GREENLIT_LAUNCH_KEY", "")
    ]
    assert "GREENLIT_LAUNCH_KEY" in variables


def test_a_secret_in_params_is_not_sent(cloud: Cloud, monkeypatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "alias-of-nobody")
    Path("params.yaml").write_text(
        Path("params.yaml").read_text().replace("experiment: small", "experiment: alias-of-nobody")
    )
    with pytest.raises(ConfigError, match=r"params.yaml: holds a secret"):
        train()
    assert not mine(cloud)


def test_only_what_the_policy_allows_is_asked_of_aws(cloud: Cloud, monkeypatch) -> None:
    import botocore.client

    from greenlit.launch.following import stop_and_wait
    from greenlit.launch.jobs import Jobs
    from greenlit.launch.plan import make_plan
    from greenlit.launch.settings import sagemaker_settings

    asked: set[str] = set()
    call = botocore.client.BaseClient._make_api_call

    def noted(client, operation, arguments):
        if client.meta.endpoint_url == cloud.url and threading.current_thread() not in cloud._threads:
            asked.add(f"{client.meta.service_model.service_name}:{operation}")
        return call(client, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", noted)
    job = train()
    stop_and_wait(Jobs(make_plan(find_stage("train", "dpo"), sagemaker_settings())), job.name)
    policy = json.loads((launch_project.ROOT / "docs/iam/launcher.json").read_text())
    allowed = {action for statement in policy["Statement"] for action in listed(statement["Action"])}
    as_actions = {
        "s3:HeadBucket": "s3:ListBucket", "s3:HeadObject": "s3:GetObject", "s3:ListObjectsV2": "s3:ListBucket",
        "s3:CreateMultipartUpload": "s3:PutObject", "s3:UploadPart": "s3:PutObject",
        "s3:CompleteMultipartUpload": "s3:PutObject", "sts:GetCallerIdentity": None,
        # the SDK asks, and does without where it may not
        "iam:SimulatePrincipalPolicy": None, "s3:ListBuckets": None,
    }  # fmt: skip
    needed = {as_actions.get(name, name) for name in asked} - {None}
    assert {"sagemaker:CreateTrainingJob", "s3:PutObject", "logs:GetLogEvents"} <= needed
    # a job with tags and a role needs these two beside the request itself
    assert needed | {"sagemaker:AddTags", "iam:PassRole"} <= allowed, sorted(needed - allowed)


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def dvc(*arguments: str, **settings: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"} | settings
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], env=environment, capture_output=True, text=True)


def test_dvc_sees_no_difference_between_launchers(cloud: Cloud) -> None:
    assert dvc("init", "--no-scm", "-q").returncode == 0
    done = dvc("repro", "train@sft", GREENLIT_LAUNCHER="sagemaker")
    assert done.returncode == 0, done.stderr
    assert [job.training_job_status for job in mine(cloud)] == ["Completed"]
    assert "Running stage 'train@sft'" in done.stdout
    weights = Path("results/small/sft/adapter/weights").read_text()
    for launcher in ("local", "sagemaker"):
        assert "is changed" not in (said := dvc("status", "train@sft", GREENLIT_LAUNCHER=launcher).stdout), said
        again = dvc("repro", "train@sft", GREENLIT_LAUNCHER=launcher)
        assert "Running stage" not in again.stdout
    Path("results/small/sft/adapter/weights").unlink()
    dvc("repro", "train@sft", "--force", GREENLIT_LAUNCHER="local")
    assert Path("results/small/sft/adapter/weights").read_text() == weights
    assert len(mine(cloud)) == 1


def test_a_fault_of_the_stages_own_keeps_its_kind(cloud: Cloud) -> None:
    Path("tasks/train.py").write_text("import sys\nprint('killed by its own memory')\nsys.exit(75)\n")
    with pytest.raises(WorldError, match="killed by its own memory"):
        train()
    Path("tasks/train.py").write_text("raise RuntimeError('nobody foresaw it')\n")
    with pytest.raises(GreenlitError, match="nobody foresaw it") as told:
        train()
    assert told.value.exit_code == 1


def test_doctor_looks_at_the_account_only_where_the_launcher_is_not_local(cloud: Cloud, monkeypatch) -> None:
    from greenlit.doctor.launching import launching

    assert list(launching()) == []
    monkeypatch.setenv("GREENLIT_LAUNCHER", "sagemaker")
    assert [(line.name, line.state) for line in launching()] == [("sagemaker", "green"), ("aws", "green")]
    text = Path("settings.yaml").read_text()
    Path("settings.yaml").write_text(text.replace(BUCKET, "another-bucket"))
    (_, aws) = launching()
    assert (aws.state, aws.value) == ("red", "settings.yaml: sagemaker.bucket: no bucket another-bucket")
    Path("settings.yaml").write_text(text.replace("123456789012", "210987654321"))
    assert "credentials of account 123456789012, a role of 210987654321" in [line.value for line in launching()]
    Path("settings.yaml").write_text(text)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (_, aws) = launching()
    assert (aws.state, "no credentials" in aws.value) == ("red", True)
    Path("settings.yaml").write_text("launcher: nowhere\n")
    monkeypatch.delenv("GREENLIT_LAUNCHER")
    assert [(line.name, line.state) for line in launching()] == [("settings.yaml", "red")]
