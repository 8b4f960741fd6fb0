"""A job's result: the archive from S3, unpacked with care, compared with its own list, moved into the stage's outs.

greenlit.json       {"stage", "key", "files": {path: {"sha256", "bytes"}}}
outs/<path>         the stage's outs, as they lie in the project
tracking/<run>/     what the stage told the trackers
"""

import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

from greenlit.errors import DataError, WorldError
from greenlit.jsonl import read_json
from greenlit.launch.access import told
from greenlit.launch.jobs import Jobs
from greenlit.launch.stages import Stage
from greenlit.stage.progress import progress
from greenlit.stage.workspace import WORK, sha256_file
from greenlit.tracking.spool import SPOOL

MANIFEST, OUTS, TRACKING = "greenlit.json", "outs", "tracking"
MOST_FILES = 100_000
_STRANGE = "the archive is not what our container writes: look at the job's image and at who may write to the bucket"


def fetch(jobs: Jobs, artifacts: str, folder: Path) -> Path:
    """Download a job's archive.

    Raises:
        WorldError: it is not there, or came incomplete.
    """
    place = urlparse(artifacts)
    bucket, key = place.netloc, place.path.lstrip("/")
    target = folder / "model.tar.gz"
    with told():
        try:
            size = jobs.s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
        except jobs.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in {"404", "NoSuchKey"}:
                raise
            raise WorldError(f"{artifacts}: the job is done, and its result is not there") from None
        free = shutil.disk_usage(folder).free
        if free < 3 * size:
            need = 3 * size >> 20
            raise WorldError(f"{folder}: the disk is full: {need} MiB are needed", hint="free some; run it again")
        with progress("fetch", max(1, size >> 20), "MiB") as bar:
            came = 0

            def count(more: int) -> None:
                nonlocal came
                before, came = came >> 20, came + more
                if came >> 20 > before:
                    bar.advance((came >> 20) - before)

            jobs.s3.download_file(bucket, key, str(target), Callback=count)
    if target.stat().st_size != size:
        raise WorldError(f"{artifacts}: {target.stat().st_size} bytes came of {size}", hint="run it again")
    return target


def unpack(archive: Path, folder: Path, most_bytes: float) -> Path:
    """Unpack an archive of which nothing is known: no links, no devices, nothing outside of the folder, not too much.

    Raises:
        DataError: it holds something else than files and folders of a reasonable size.
    """
    folder.mkdir(parents=True)
    files = total = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                files, total = files + 1, total + member.size
                if PurePosixPath(member.name).is_absolute() or ".." in PurePosixPath(member.name).parts:
                    raise DataError(f"{archive}: {member.name}: outside of the result", hint=_STRANGE)
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"{archive}: {member.name}: neither a file nor a folder", hint=_STRANGE)
                if files > MOST_FILES or total > most_bytes:
                    told_size = f"{total / 2**30:.1f} GiB in {files:,} files"
                    raise DataError(
                        f"{archive}: {told_size} and more unpacked (at most {most_bytes / 2**30:g} GiB)",
                        hint="settings.yaml: sagemaker.max_result_gib",
                    )
                tar.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise DataError(f"{archive}: {error}", hint=_STRANGE) from None
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{archive}: no whole archive ({error})", hint="run it again") from None
    return folder


def verify(folder: Path, stage: Stage, key: str) -> None:
    """The unpacked result must be the stage's, whole, and nothing besides.

    Raises:
        DataError: it is not.
    """
    if not (folder / MANIFEST).is_file():
        raise DataError(f"{MANIFEST}: missing in the result", hint=_STRANGE)
    manifest = read_json(folder / MANIFEST)
    if (found := manifest.get("stage")) != stage.address or manifest.get("key") != key:
        raise DataError(f"the result is of {found} ({manifest.get('key')}), not {stage.address} ({key})", hint=_STRANGE)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    listed: dict[str, Any] = manifest["files"]
    if there != set(listed):
        odd = sorted(there ^ set(listed))[:3]
        raise DataError(f"the result and its list differ ({', '.join(odd)})", hint=_STRANGE)
    for name, facts in listed.items():
        path = folder / name
        if path.stat().st_size != facts["bytes"] or sha256_file(path) != facts["sha256"]:
            raise DataError(f"{name}: not what the job wrote", hint="run it again")
    for name in listed:
        inside = PurePosixPath(name)
        allowed = inside.parts[0] == TRACKING or any(
            inside == PurePosixPath(OUTS, out) or PurePosixPath(OUTS, out) in inside.parents for out in stage.outs
        )
        if not allowed:
            raise DataError(f"{name}: no out of {stage.address}", hint=_STRANGE)
    missing = [str(out) for out in stage.outs if not (folder / OUTS / out).exists()]
    if missing:
        raise DataError(f"the result lacks {', '.join(missing)}", hint=_STRANGE)


def put_in_place(folder: Path, stage: Stage) -> None:
    """Move the outs to where DVC looks for them, each whole, and what was told to the spool."""
    for out in stage.outs:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            shutil.rmtree(out)
        (folder / OUTS / out).replace(out)
    for run in (folder / TRACKING).glob("*/run.json"):
        if not (SPOOL / run.parent.name).exists():
            SPOOL.mkdir(parents=True, exist_ok=True)
            run.parent.replace(SPOOL / run.parent.name)


def bring(archive: Path, stage: Stage, key: str, most_gib: float) -> None:
    """Unpack, compare, put in place; what is there already stays until all of it is known to be good."""
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="launch-", dir=WORK) as folder:
        unpacked = unpack(archive, Path(folder) / "result", most_gib * 2**30)
        verify(unpacked, stage, key)
        put_in_place(unpacked, stage)
