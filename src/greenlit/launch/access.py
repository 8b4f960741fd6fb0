"""How AWS is reached: region, credentials, patience; and its refusals as errors of ours, each with what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from greenlit.errors import ConfigError, GreenlitError, WorldError
from greenlit.launch.settings import SageMaker
from greenlit.stage.faults import first_line

ATTEMPTS = 8
"""Of every request; botocore waits longer and longer between them, also when AWS throttles."""
_REFUSED = frozenset(
    {
        "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "InvalidClientTokenId", "ExpiredToken",
        "ExpiredTokenException", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidAccessKeyId", "403",
    }
)  # fmt: skip
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "SlowDown", "RequestLimitExceeded"}
)
NO_CAPACITY = ("capacityerror", "insufficient capacity", "insufficientcapacity", "unable to provision")


class NoCapacity(WorldError):
    """The region has no such machine free now, or SageMaker failed by itself."""


class OutOfReach(WorldError):
    """AWS does not answer, or throttles us for long; what runs there goes on."""


def region_of(settings: SageMaker) -> str:
    """That of the settings, the environment or the profile.

    Raises:
        ConfigError: none is set.
    """
    if said := settings.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return said
    import boto3

    if said := boto3.Session().region_name:
        return str(said)
    raise ConfigError("settings.yaml: sagemaker.region: is missing", hint="or set AWS_DEFAULT_REGION, `aws configure`")


def session_of(settings: SageMaker) -> Any:
    """boto3's session, whose requests are patient, as are those that the SDK makes by itself."""
    os.environ.setdefault("AWS_RETRY_MODE", "standard")
    os.environ.setdefault("AWS_MAX_ATTEMPTS", str(ATTEMPTS))
    import boto3

    return boto3.Session(region_name=region_of(settings))


def account_of(settings: SageMaker) -> str:
    """The account of the credentials in use.

    Raises:
        ConfigError: there are none, or they are not valid.
    """
    with told():
        return str(session_of(settings).client("sts").get_caller_identity()["Account"])


def reachable(settings: SageMaker) -> None:
    """The bucket must be there: the SDK would make one.

    Raises:
        ConfigError: it is not, or we may not look.
    """
    with told():
        s3 = session_of(settings).client("s3")
        try:
            s3.head_bucket(Bucket=settings.bucket)
        except s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
                raise
            raise ConfigError(
                f"settings.yaml: sagemaker.bucket: no bucket {settings.bucket}",
                hint=f"aws s3 mb s3://{settings.bucket} --region {region_of(settings)}",
            ) from None


@contextmanager
def told() -> Iterator[None]:
    """AWS's refusals and failures as errors of ours."""
    from botocore import exceptions as aws

    try:
        yield
    except GreenlitError:
        raise
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.ProfileNotFound, aws.TokenRetrievalError) as error:
        hint = "`aws configure`, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment or .env"
        raise ConfigError(f"AWS: no credentials ({first_line(error)})", hint=hint) from None
    except aws.NoRegionError:
        raise ConfigError("AWS: no region", hint="settings.yaml: sagemaker.region, or AWS_DEFAULT_REGION") from None
    except (aws.HTTPClientError, aws.ConnectionError) as error:
        raise OutOfReach(f"AWS is out of reach ({first_line(error)})", hint="check the network") from None
    except aws.ClientError as error:
        raise _of_aws(error) from None
    except Exception as error:  # the SDK and S3's transfers wrap what botocore raises
        cause = error.__cause__ or error.__context__
        if isinstance(cause, aws.ClientError):
            raise _of_aws(cause) from None
        raise


def _of_aws(error: Any) -> GreenlitError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"AWS: {error.operation_name}: {first_line(error).rpartition(': ')[2] or code}"
    if code in _REFUSED:
        return ConfigError(f"{said} ({code})", hint="which rights are needed stands in docs/iam/")
    if code == "ResourceLimitExceeded":
        hint = "wait for other jobs, take another instance_type, or ask for a higher quota (AWS's Service Quotas)"
        return ConfigError(f"{said} (the account's quota)", hint=hint)
    if any(words in f"{code} {said}".lower() for words in NO_CAPACITY):
        return NoCapacity(said, hint="another instance_type or region, or later")
    if code in _THROTTLED or status >= 500:
        return OutOfReach(f"{said} ({code}), also after {ATTEMPTS} tries", hint="try again in a while")
    return ConfigError(f"{said} ({code})", hint="see `sagemaker:` in settings.yaml and docs/sagemaker.md")
