"""SageMaker on this machine: moto's server, whose training jobs really run.

moto keeps jobs and calls them done at once. Here CreateTrainingJob starts a thread that does with a job what SageMaker
does: fetches channels and checkpoints from S3 into a folder that stands for /opt/ml, runs the container's command (the
SDK's own sm_train.sh and drivers) in a process of its own, sends its output to CloudWatch, and puts model.tar.gz into
S3. Machines may be taken away (spot), missing (capacity), and requests refused (throttling).

What it cannot show: rights, quotas, the image, GPUs, the network, real timing. Nothing of AWS is reached.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import psutil

ACCOUNT, REGION, BUCKET = "123456789012", "us-east-1", "greenlit-test"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/greenlit-job"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "canary/secret+access-key-of-nobody"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
OPT_ML = "/opt/ml"
JOB_ENDS_S = 900
"""Longest a job may take; a test that hangs shall not hang for ever."""
STOP_GRACE_S = 0.5
"""SageMaker's is 120 s. Its SIGTERM reaches the SDK's shell, which ignores it as a container's first process."""


@dataclass
class Weather:
    """What is to go wrong, in order; each is used up as it happens."""

    interrupt_at: deque[str | int] = field(default_factory=deque)
    """Texts in the log, or steps that a checkpoint has reached, at each of which the machine is taken away."""
    lose_newest_file: bool = False
    """When a machine is taken away, the largest file of the last checkpoint had not been sent."""
    reasons: deque[str] = field(default_factory=deque)
    """Jobs that fail before they run, with these reasons."""
    refusals: deque[tuple[str, str]] = field(default_factory=deque)
    """Codes and messages with which CreateTrainingJob is refused."""
    throttle: Counter = field(default_factory=Counter)
    """Operation -> how many requests are throttled."""


class Cloud:
    """The server and its machines."""

    def __init__(self, root: Path) -> None:
        self.root, self.weather = root, Weather()
        self.operations: Counter = Counter()
        self.starts: list[float] = []
        self._threads: list[threading.Thread] = []
        self._processes: dict[str, subprocess.Popen] = {}
        self._stopping: set[str] = set()
        self._undo: list[tuple[Any, str, Any]] = []

    def start(self) -> "Cloud":
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self._patch()
        self.s3.create_bucket(Bucket=BUCKET)
        return self

    def stop(self) -> None:
        for name in list(self._processes):
            self._kill(name)
        for thread in self._threads:
            thread.join(30)
        for holder, name, before in reversed(self._undo):
            setattr(holder, name, before) if before is not None else delattr(holder, name)
        self._server.stop()

    @cached_property
    def s3(self) -> Any:
        import boto3

        secret = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        return boto3.client("s3", endpoint_url=self.url, region_name=REGION, **secret)

    def environment(self) -> dict[str, str]:
        """Of a user with credentials for it."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(self.root / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(self.root / "none"),
        }  # fmt: skip

    def jobs(self) -> list[Any]:
        """All jobs, oldest first."""
        return list(_backend("sagemaker").training_jobs.values())

    def log_of(self, name: str) -> str:
        """What a job printed."""
        streams = _backend("logs").groups[LOG_GROUP].streams
        return "\n".join(event.message for key, one in streams.items() if key.startswith(name) for event in one.events)

    def objects(self, prefix: str = "") -> list[str]:
        """Objects in the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [row["Key"] for page in pages for row in page.get("Contents", [])]

    def _patch(self) -> None:
        from moto import backends
        from moto.core.exceptions import AccessDeniedError
        from moto.iam.responses import IamResponse
        from moto.logs.responses import LogsResponse
        from moto.sagemaker.responses import SageMakerResponse

        cloud, create = self, SageMakerResponse.create_training_job

        def create_training_job(response: Any) -> Any:
            cloud.starts.append(time.monotonic())
            if cloud.weather.refusals:
                raise _error(*cloud.weather.refusals.popleft())
            answer = create(response)
            job = _backend("sagemaker").training_jobs[response._get_param("TrainingJobName")]
            cloud._begin(job, response._get_param("Environment") or {})
            return answer

        def stop_training_job(response: Any) -> Any:
            from moto.core.responses import EmptyResult

            job = _backend("sagemaker").training_jobs[response._get_param("TrainingJobName")]
            if job.training_job_status != "InProgress":
                raise _error("ValidationException", "The request was rejected because the training job is in status "
                             f"{job.training_job_status}.")  # fmt: skip
            job.training_job_status = "Stopping"
            cloud._stopping.add(job.training_job_name)
            return EmptyResult()

        def simulate_principal_policy(response: Any) -> Any:
            raise AccessDeniedError(ROLE, "iam:SimulatePrincipalPolicy")

        modules = tuple(backends.list_of_moto_modules())  # moto looks into its own folder at every request
        self._set(backends, "list_of_moto_modules", lambda: modules)
        self._set(SageMakerResponse, "create_training_job", create_training_job)
        self._set(SageMakerResponse, "stop_training_job", stop_training_job)
        self._set(IamResponse, "simulate_principal_policy", simulate_principal_policy)
        for holder, operation in (
            (SageMakerResponse, "describe_training_job"), (SageMakerResponse, "list_training_jobs"),
            (LogsResponse, "get_log_events"),
        ):  # fmt: skip
            self._set(holder, operation, self._throttled(operation, getattr(holder, operation)))

    def _throttled(self, operation: str, call: Any) -> Any:
        def throttled(response: Any) -> Any:
            self.operations[operation] += 1
            if self.weather.throttle[operation] > 0:
                self.weather.throttle[operation] -= 1
                raise _error("ThrottlingException", "Rate exceeded")
            return call(response)

        return throttled

    def _set(self, holder: Any, name: str, value: Any) -> None:
        self._undo.append((holder, name, getattr(holder, name, None)))
        setattr(holder, name, value)

    def _begin(self, job: Any, environment: dict[str, str]) -> None:
        job.environment, job.failure_reason = environment, None
        job.training_job_status, job.secondary_status_transitions = "InProgress", []
        _move(job, "Starting", "Preparing the instances for training")
        thread = threading.Thread(target=self._live, args=(job,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _live(self, job: Any) -> None:
        """A job's life."""
        name = job.training_job_name
        began = time.monotonic()
        try:
            if self.weather.reasons:
                return _end(job, "Failed", self.weather.reasons.popleft())
            for attempt in range(1, 10):
                machine = Machine(self, job, self.root / name / str(attempt))
                outcome = machine.run()
                if outcome != "interrupted":
                    break
                _move(job, "Interrupted", "The instance was taken away")
            if outcome == "stopped":
                return _end(job, "Stopped")
            if isinstance(outcome, int) and outcome:
                reason = machine.failure.read_text() if machine.failure.exists() else "no failure file"
                return _end(job, "Failed", f"AlgorithmError: {reason}, exit code: {outcome}"[:1024])
            _move(job, "Uploading", "Uploading generated training model")
            machine.upload_model()
            return _end(job, "Completed")
        except Exception as fault:
            return _end(job, "Failed", f"the fixture itself: {fault!r}")
        finally:
            job.billable_time_in_seconds = max(1, int(time.monotonic() - began))

    def _signal(self, name: str, number: int) -> None:
        if name in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(self._processes[name].pid, number)

    def _kill(self, name: str) -> None:
        self._stopping.add(name)
        self._signal(name, signal.SIGKILL)


class Machine:
    """One attempt of a job, on a machine of its own."""

    def __init__(self, cloud: Cloud, job: Any, root: Path) -> None:
        self.cloud, self.job, self.root = cloud, job, root
        self.name = job.training_job_name
        self.failure = root / "output/failure"
        self.checkpoints = root / "checkpoints"
        self.interrupted = False

    def run(self) -> int | str:
        """Exit code, `interrupted` or `stopped`."""
        _move(self.job, "Downloading", "Downloading input data")
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints", "tmp"):
            (self.root / folder).mkdir(parents=True)
        for channel in self.job.input_data_config:
            source = channel["DataSource"]["S3DataSource"]["S3Uri"]
            self._download(source, self.root / "input/data" / channel["ChannelName"])
        self._download(self.job.checkpoint_config["S3Uri"], self.checkpoints)
        self._configure()
        _move(self.job, "Training", "Training image download completed. Training in progress.")
        if self.name in self.cloud._stopping:
            return "stopped"
        code = self._train()
        self._empty()
        if self.interrupted and self.cloud.weather.lose_newest_file:
            self._lose()
        self._upload(self.checkpoints, self.job.checkpoint_config["S3Uri"])
        if self.name in self.cloud._stopping:
            return "stopped"
        return "interrupted" if self.interrupted else code

    def _train(self) -> int:
        arguments = [part.replace(OPT_ML, str(self.root)) for part in (
            *self.job.algorithm_specification["ContainerEntrypoint"],
            *self.job.algorithm_specification["ContainerArguments"],
        )]  # fmt: skip
        process = subprocess.Popen(
            arguments, cwd=self.root, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.cloud._processes[self.name] = process
        watch = threading.Timer(JOB_ENDS_S, lambda: self.cloud._kill(self.name))
        watch.start()
        stopper = threading.Thread(target=self._end_when_stopped, args=(process,), daemon=True)
        stopper.start()
        assert process.stdout is not None
        for line in process.stdout:
            self._print(line.rstrip("\n"))
            due = self.cloud.weather.interrupt_at
            if due and isinstance(due[0], str) and due[0] in line:
                self._interrupt(process)
        code = process.wait()
        watch.cancel()
        del self.cloud._processes[self.name]
        return code

    def _empty(self) -> None:
        """Until nothing runs here any more: a stage that the warm process runs is killed a moment later."""
        until = time.monotonic() + 20
        while any(Path(one.info["cwd"] or "/").is_relative_to(self.root) for one in psutil.process_iter(["cwd"])):
            assert time.monotonic() < until, "processes are left on the machine"
            time.sleep(0.05)

    def _end_when_stopped(self, process: subprocess.Popen) -> None:
        """Take the machine away when it is time; kill what is to stop."""
        while process.poll() is None and self.name not in self.cloud._stopping:
            time.sleep(0.05)
            due = self.cloud.weather.interrupt_at
            if due and isinstance(due[0], int) and self._newest_checkpoint() >= due[0]:
                self._interrupt(process)
        until = time.monotonic() + STOP_GRACE_S
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _interrupt(self, process: subprocess.Popen) -> None:
        if not self.interrupted:
            self.interrupted = True
            self.cloud.weather.interrupt_at.popleft()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _newest_checkpoint(self) -> int:
        """Step of the newest that is complete; -1 where there is none."""
        marks = self.checkpoints.rglob("checkpoint-*/complete")
        return max((int(mark.parent.name.rpartition("-")[2]) for mark in marks), default=-1)

    def _environment(self) -> dict[str, str]:
        """Of a container: nothing of this process but where Python is."""
        said = {key: value.replace(OPT_ML, str(self.root)) for key, value in self.job.environment.items()}
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.root),
            "TMPDIR": str(self.root / "tmp"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GREENLIT_WORKERS": "1",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/canary-role-credentials", **said,
            "TRAINING_JOB_NAME": self.name,
        }  # fmt: skip

    def _configure(self) -> None:
        """The files that SageMaker writes; the SDK's drivers, which name /opt/ml, get our folder's name."""
        config = self.root / "input/config"
        instance = self.job.resource_config["InstanceType"]
        (config / "hyperparameters.json").write_text(json.dumps(self.job.hyper_parameters))
        hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps({**hosts, "current_instance_type": instance}))
        channels = {channel["ChannelName"]: {"TrainingInputMode": "File"} for channel in self.job.input_data_config}
        (config / "inputdataconfig.json").write_text(json.dumps(channels))
        for file in (self.root / "input/data/sm_drivers").rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                file.write_bytes(file.read_bytes().replace(OPT_ML.encode(), str(self.root).encode()))

    def _lose(self) -> None:
        newest = next(self.checkpoints.rglob(f"checkpoint-{self._newest_checkpoint()}"))
        max(newest.iterdir(), key=lambda file: file.stat().st_size).unlink()
        self.cloud.weather.lose_newest_file = False

    def _download(self, uri: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        prefix = urlparse(uri).path.strip("/")
        for key in self.cloud.objects(f"{prefix}/"):
            target = folder / key.removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self.cloud.s3.download_file(BUCKET, key, str(target))

    def _upload(self, folder: Path, uri: str) -> None:
        prefix = urlparse(uri).path.strip("/")
        for key in self.cloud.objects(f"{prefix}/"):
            self.cloud.s3.delete_object(Bucket=BUCKET, Key=key)
        for file in folder.rglob("*"):
            if file.is_file():
                self.cloud.s3.upload_file(str(file), BUCKET, f"{prefix}/{file.relative_to(folder)}")

    def upload_model(self) -> None:
        """model.tar.gz, where the job's description says."""
        archive = self.root / "model.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(self.root / "model", arcname=".")
        key = urlparse(self.job.model_artifacts["S3ModelArtifacts"]).path.strip("/")
        self.cloud.s3.upload_file(str(archive), BUCKET, key)

    def _print(self, line: str) -> None:
        logs, stream = _backend("logs"), f"{self.name}/algo-1-1"
        if LOG_GROUP not in logs.groups:
            logs.create_log_group(LOG_GROUP, {})
        if stream not in logs.groups[LOG_GROUP].streams:
            logs.create_log_stream(LOG_GROUP, stream)
        logs.put_log_events(LOG_GROUP, stream, [{"timestamp": int(time.time() * 1000), "message": line}])


def _backend(service: str) -> Any:
    from moto.backends import get_backend

    return get_backend(service)[ACCOUNT][REGION]


def _error(code: str, message: str) -> Exception:
    """HTTP 400, which botocore does not take for a failure of the server."""
    from moto.core.exceptions import JsonRESTError

    return JsonRESTError(code, message)


def _move(job: Any, secondary: str, message: str) -> None:
    from moto.core.utils import utcnow

    job.secondary_status = secondary
    job.secondary_status_transitions.append({"Status": secondary, "StartTime": utcnow(), "StatusMessage": message})


def _end(job: Any, status: str, reason: str | None = None) -> None:
    job.failure_reason = reason
    _move(job, status, f"Training job {status.lower()}")
    job.training_job_status = status
