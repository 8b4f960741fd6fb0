"""What a job needs, on its way to S3: the code in one small archive, every input once, whatever job reads it.

An input lies below `inputs/<hash of its content>/`, and `inputs/<hash>.done` beside it says that all of it is there: a
base model of many gigabytes goes up once, and not for every method and attempt.
"""

import gzip
import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenlit.errors import ConfigError
from greenlit.jsonl import write_json
from greenlit.launch.channels import Channel
from greenlit.launch.plan import ENTRY, Plan
from greenlit.launch.stages import CODE
from greenlit.stage.progress import progress
from greenlit.stage.secrets import redacted
from greenlit.stage.workspace import sha256_path
from greenlit.tracking.spool import Header

ARCHIVE = "code.tar.gz"
PARENT = "execution.json"
"""Beside the archive: the run that the stage's own run lies below, for the trackers."""
FILES = ("params.yaml", "dvc.yaml", "requirements.txt", "requirements.lock", "pyproject.toml")
IGNORED = ("__pycache__", "*.pyc", ".*", "*.egg-info")
"""Never sent: what Python makes, and every hidden file, `.env` among them."""
MOST_CODE = 16 << 20
"""Bytes of the packed code; more is no code."""


def make_source(plan: Plan, folder: Path, parent: Header | None, root: Path = Path()) -> Path:
    """A folder with the entry script and the code's archive, and nothing else: what the SDK uploads.

    Args:
        parent: the execution that the stage belongs to.

    Raises:
        ConfigError: the code is too large, or params.yaml holds a secret.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_entry_script(root), folder / ENTRY)
    _require_no_secret(root)
    note = folder / PARENT
    if parent:
        write_json(note, parent.model_dump())
    if plan.settings.requirements:
        named = root / plan.settings.requirements
        if not named.is_file():
            raise ConfigError(f"settings.yaml: sagemaker.requirements: no such file ({named})")
        shutil.copyfile(named, folder / "requirements.txt")
    archive = folder / ARCHIVE
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path, name in _code_files(root):
            tar.addfile(*_member(path, name))
    if archive.stat().st_size > MOST_CODE:
        size = archive.stat().st_size >> 20
        raise ConfigError(f"{', '.join(CODE)}: {size} MiB packed: no code", hint="data belongs below assets/ or data/")
    return folder


def _code_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Files of code and settings, with their names in the archive, in a fixed order."""
    for name in FILES:
        if (root / name).is_file():
            yield root / name, name
    for folder in CODE:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root / folder)
            ignored = any(Path(part).match(pattern) for part in inside.parts for pattern in IGNORED)
            if path.is_file() and not ignored:
                yield path, (Path(folder) / inside).as_posix()


def _member(path: Path, name: str) -> tuple[tarfile.TarInfo, io.BytesIO]:
    """Content without owner and time, so that the same code is the same archive."""
    content = path.read_bytes()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    return member, io.BytesIO(content)


def _entry_script(root: Path) -> Path:
    path = root / "docker" / ENTRY
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, and every job starts with it", hint="`git checkout docker`")
    return path


def _require_no_secret(root: Path) -> None:
    """params.yaml travels: a secret in it would lie in S3 and in the results."""
    for name in ("params.yaml", "dvc.yaml"):
        text = (root / name).read_text(encoding="utf-8")
        if redacted(text) != text:
            raise ConfigError(f"{name}: holds a secret of your environment or .env", hint="secrets belong into .env")


def send_inputs(plan: Plan, s3: Any) -> dict[str, str]:
    """Upload what is not there yet; returns channel -> S3 URI."""
    waiting = []
    uris = {}
    for channel in plan.channels:
        digest = _digest(channel)
        prefix = f"{plan.settings.prefix}/inputs/{digest}"
        uris[channel.name] = f"s3://{plan.settings.bucket}/{prefix}/"
        if not _is_there(s3, plan.settings.bucket, f"{prefix}.done"):
            waiting.append((channel, prefix))
    if waiting:
        total = sum(channel.size for channel, _ in waiting)
        with progress("send", max(1, total >> 20), "MiB") as bar:
            for channel, prefix in waiting:
                _send(plan, s3, channel, prefix, _Counted(bar))
    return uris


def _digest(channel: Channel) -> str:
    """Of content and names: two files may hold the same under different names. A hub model's is its revision."""
    if channel.of_hub:
        return channel.place.name
    if channel.path.is_dir():
        return sha256_path(channel.path)
    return hashlib.sha256(f"{channel.path.name}\0{sha256_path(channel.path)}".encode()).hexdigest()


class _Counted:
    """Bytes as they go, into a bar of MiB."""

    def __init__(self, bar: Any) -> None:
        self._bar, self._bytes = bar, 0

    def __call__(self, count: int) -> None:
        before = self._bytes >> 20
        self._bytes += count
        if (whole := (self._bytes >> 20) - before) > 0:
            self._bar.advance(whole)


def _send(plan: Plan, s3: Any, channel: Channel, prefix: str, counted: _Counted) -> None:
    root = channel.path if channel.path.is_dir() else channel.path.parent
    files = sorted(item for item in root.rglob("*") if item.is_file()) if channel.path.is_dir() else [channel.path]
    for file in files:
        key = f"{prefix}/{file.relative_to(root).as_posix()}"
        s3.upload_file(str(file), plan.settings.bucket, key, ExtraArgs=encryption(plan), Callback=counted)
    s3.put_object(Bucket=plan.settings.bucket, Key=f"{prefix}.done", Body=b"", **encryption(plan))


def encryption(plan: Plan) -> dict[str, str]:
    """Arguments for S3 where a key is named."""
    key = plan.settings.kms_key
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}


def _is_there(s3: Any, bucket: str, key: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            return False
        raise
    return True
