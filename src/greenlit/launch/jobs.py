"""SageMaker's training jobs: start, find, look at, stop. The SDK's ModelTrainer starts them, boto3 does the rest.

A job is found again by the prefix of its name, which is the stage and the hash of all that the result depends on. So a
driver that was lost goes on with the job that it had started, and nobody pays for two.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from greenlit.launch.access import NO_CAPACITY, session_of, told
from greenlit.launch.plan import CHECKPOINTS, ENTRY, Plan

ENDED = frozenset({"Completed", "Failed", "Stopped"})
_THEIR_FAULT = ("internalservererror", "internal error", "internal failure")


@dataclass(frozen=True)
class Job:
    """What SageMaker says of a job."""

    name: str
    status: str
    """InProgress, Stopping, Completed, Failed or Stopped."""
    secondary: str
    """Starting, Downloading, Training, Interrupted, Uploading, MaxRuntimeExceeded, ..."""
    message: str
    """The last transition's."""
    reason: str
    """Of a failure."""
    artifacts: str | None
    """S3 URI of model.tar.gz."""
    billable_s: int | None

    @property
    def ended(self) -> bool:
        """Does nothing run and cost any more?"""
        return self.status in ENDED

    @property
    def lacked_capacity(self) -> bool:
        """Did it fail by no fault of ours, so that another one may do?"""
        reason = self.reason.lower()
        return self.status == "Failed" and any(words in reason for words in (*NO_CAPACITY, *_THEIR_FAULT))


class Jobs:
    """The account's jobs, as far as they are ours."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._completed = 0
        # the role is checked by AWS when the job is made; the SDK's own simulation also refuses roles that would do
        os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")

    @cached_property
    def session(self) -> Any:
        """boto3's session."""
        return session_of(self.plan.settings)

    @cached_property
    def s3(self) -> Any:
        """Client for S3."""
        return self.session.client("s3")

    @cached_property
    def logs(self) -> Any:
        """Client for CloudWatch Logs."""
        return self.session.client("logs")

    @property
    def checkpoints(self) -> str:
        """S3 URI: what was interrupted is gone on with, and after a job that came to its end one begins anew."""
        return f"{self.plan.checkpoints}{self._completed}/"

    @cached_property
    def _sagemaker(self) -> Any:
        return self.session.client("sagemaker")

    def newest(self) -> Job | None:
        """The job of this plan that was started last."""
        with told():
            found: list[dict[str, Any]] = []
            pages = self._sagemaker.get_paginator("list_training_jobs").paginate(
                NameContains=self.plan.job_prefix, SortBy="CreationTime", SortOrder="Descending"
            )
            for page in pages:
                found += page["TrainingJobSummaries"]
        ours = [row for row in found if row["TrainingJobName"].startswith(f"{self.plan.job_prefix}-")]
        self._completed = sum(row["TrainingJobStatus"] == "Completed" for row in ours)
        newest = max(ours, key=lambda row: (row["CreationTime"], row["TrainingJobName"]), default=None)
        return self.look_at(newest["TrainingJobName"]) if newest else None

    def look_at(self, name: str) -> Job:
        """One job, as it is now."""
        with told():
            said = self._sagemaker.describe_training_job(TrainingJobName=name)
        transitions = said.get("SecondaryStatusTransitions") or [{}]
        return Job(
            name=name,
            status=said["TrainingJobStatus"],
            secondary=said.get("SecondaryStatus", ""),
            message=transitions[-1].get("StatusMessage", ""),
            reason=said.get("FailureReason", ""),
            artifacts=said.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
            billable_s=said.get("BillableTimeInSeconds"),
        )

    def stop(self, name: str) -> None:
        """Ask SageMaker to end a job; one that has ended is left alone."""
        with told():
            try:
                self._sagemaker.stop_training_job(TrainingJobName=name)
            except self._sagemaker.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "ValidationException":
                    raise

    def start(self, source: Path, channels: dict[str, str]) -> str:
        """Start a job; returns its name.

        Args:
            source: folder with the entry script and the code.
            channels: name -> S3 URI.

        Raises:
            NoCapacity: there is none (or greenlit.launch.access's other errors).
            ConfigError: AWS refuses the job as it is.
        """
        with told():
            trainer = self._trainer(source, channels)
            trainer.train(wait=False, logs=False)
            return str(trainer._latest_training_job.training_job_name)

    def _trainer(self, source: Path, channels: dict[str, str]) -> Any:
        """The plan in the SDK's words."""
        import logging

        from sagemaker.core.helper.session_helper import Session
        from sagemaker.core.shapes import Tag
        from sagemaker.core.training.configs import (
            CheckpointConfig,
            Compute,
            InputData,
            Networking,
            OutputDataConfig,
            SourceCode,
            StoppingCondition,
        )
        from sagemaker.train import ModelTrainer
        from sagemaker.train.distributed import Torchrun

        logging.getLogger("sagemaker").setLevel(logging.CRITICAL)  # what it has to say, its exceptions say too
        plan, settings = self.plan, self.plan.settings
        several = settings.processes > 1 or settings.instance_count > 1
        return ModelTrainer(
            sagemaker_session=Session(
                boto_session=self.session,
                default_bucket=settings.bucket,
                default_bucket_prefix=f"{settings.prefix}/code",
                sagemaker_config={
                    "SchemaVersion": "1.0",
                    "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
                },
            ),
            role=settings.role,
            base_job_name=plan.job_prefix,
            training_image=plan.image,
            source_code=SourceCode(
                source_dir=str(source),
                entry_script=ENTRY,
                requirements="requirements.txt" if settings.requirements else None,
            ),
            distributed=Torchrun(process_count_per_node=settings.processes) if several else None,
            compute=Compute(
                instance_type=settings.instance_type,
                instance_count=settings.instance_count,
                volume_size_in_gb=settings.volume_gib,
                enable_managed_spot_training=settings.spot,
                **({"volume_kms_key_id": settings.volume_kms_key} if settings.volume_kms_key else {}),
            ),
            networking=Networking(
                enable_network_isolation=settings.network_isolation,
                enable_inter_container_traffic_encryption=settings.encrypt_traffic,
                **({"subnets": settings.subnets, "security_group_ids": settings.security_groups}
                   if settings.subnets else {}),
            ),
            stopping_condition=StoppingCondition(
                max_runtime_in_seconds=60 * settings.max_runtime_minutes,
                **({"max_wait_time_in_seconds": 60 * settings.wait_minutes} if settings.spot else {}),
            ),
            output_data_config=OutputDataConfig(
                s3_output_path=plan.results,
                compression_type="GZIP",
                **({"kms_key_id": settings.kms_key} if settings.kms_key else {}),
            ),
            checkpoint_config=CheckpointConfig(s3_uri=self.checkpoints, local_path=CHECKPOINTS),
            input_data_config=[InputData(channel_name=name, data_source=uri) for name, uri in channels.items()],
            hyperparameters=plan.hyperparameters,
            environment=plan.environment,
            tags=[Tag(key=key, value=value) for key, value in plan.tags.items()],
        )  # fmt: skip
