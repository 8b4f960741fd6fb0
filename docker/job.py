"""What a job starts in its container; the code beside it, packed or not, is the project's."""

import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = [HERE / "src", HERE.parent / "src"]


def unpacked() -> Path:
    """The folder with greenlit's code: beside this file, one above (in the image), or unpacked from code.tar.gz."""
    for source in SOURCES:
        if (source / "greenlit").is_dir():
            return source
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="greenlit-code-"))
    with tarfile.open(HERE / "code.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


if __name__ == "__main__":
    sys.path.insert(0, str(unpacked()))
    from greenlit.launch.container import main

    main()
