"""The launcher: nothing where stages run here; else settings.yaml, and whether AWS lets us in."""

from collections.abc import Iterator

from greenlit.doctor.lines import INSTALL, Line, installed
from greenlit.errors import ConfigError, GreenlitError
from greenlit.stage.launching import launcher_of, read_settings


def launching() -> Iterator[Line]:
    """A line for the launcher where it is not local, and one for the account."""
    try:
        stages = (read_settings().get("sagemaker") or {}).get("stages") or ["train"]
        if launcher_of(stages[0]) == "local":
            return
    except (ConfigError, AttributeError, IndexError, TypeError) as error:
        yield Line("launcher", "settings.yaml", "red", str(error), "see docs/sagemaker.md")
        return
    if installed("sagemaker") is None:
        yield Line("launcher", "sagemaker", "red", "not installed", INSTALL)
        return
    yield from _sagemaker()


def _sagemaker() -> Iterator[Line]:
    from greenlit.launch.access import account_of, reachable
    from greenlit.launch.settings import sagemaker_settings

    try:
        settings = sagemaker_settings()
    except ConfigError as error:
        yield Line("launcher", "settings.yaml", "red", str(error.args[0]), error.hint or "see docs/sagemaker.md")
        return
    text = f"{', '.join(settings.stages)} on {settings.instance_type}, s3://{settings.bucket}/{settings.prefix}"
    yield Line("launcher", "sagemaker", "green", text)
    try:
        account = account_of(settings)
        reachable(settings)
    except GreenlitError as error:
        yield Line("launcher", "aws", "red", str(error.args[0]), error.hint or "see docs/sagemaker.md")
        return
    if account != settings.account:
        fix = "role and credentials must be of one account: AWS_PROFILE, or `role` in settings.yaml"
        yield Line("launcher", "aws", "red", f"credentials of account {account}, a role of {settings.account}", fix)
    else:
        yield Line("launcher", "aws", "green", f"account {account}, bucket {settings.bucket} is there")
