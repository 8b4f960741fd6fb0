"""Batches of completions, written by a crew on the cluster: what `processes.in_processes` does on one machine.

The batches are those of one machine, so the completions are too. A batch holds whole problems wherever they fit.
"""

import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from greenlit.cluster import parcel, session
from greenlit.cluster.crew import Crew
from greenlit.cluster.member import Member, Place
from greenlit.cluster.parcel import Parcel
from greenlit.jsonl import read_json, write_json
from greenlit.models import is_adapter, start_of

Work = TypeVar("Work")
Result = TypeVar("Result")


class Sampler(Member):
    """Writes batches with one model."""

    def __init__(self) -> None:
        super().__init__()
        self._folders: dict[str, Path] = {}
        self._work: Callable[[Any], Iterator[Any]] | None = None

    def missing(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Which of these directories are not on this node."""
        found = {one.sha256: parcel.found(one) for one in parcels}
        self._folders = {digest: folder for digest, folder in found.items() if folder is not None}
        return [one for one in parcels if one.sha256 not in self._folders]

    def receive(self, parcels: Sequence[Parcel], pieces: Sequence[Sequence[Any]]) -> None:
        """Take directories out of the object store.

        Args:
            pieces: for each of them the references of its parts.
        """
        import ray

        for one, refs in zip(parcels, pieces, strict=True):
            self._folders[one.sha256] = parcel.unpack(one, (ray.get(ref) for ref in refs))

    def start(
        self,
        parcels: Sequence[Parcel],
        start: Callable[..., None],
        arguments: tuple[Any, ...],
        work: Callable[[Any], Iterator[Any]],
    ) -> None:
        """Load the model.

        Args:
            parcels: the model's directory, or an adapter's and that of its model.
            start: called with the model's directory on this node and `arguments`.
            work: what makes results of a piece.
        """
        folders = [self._folders[one.sha256] for one in parcels]
        start(str(folders[0] if len(folders) == 1 else _on_top(*folders)), *arguments)
        self._work = work

    def shard(self, piece: Any) -> list[Any]:
        """All results of a piece."""
        assert self._work is not None
        return list(self._work(piece))


def on_cluster(
    model: Path,
    start: Callable[..., None],
    arguments: tuple[Any, ...],
    work: Callable[[Work], Iterator[Result]],
    pieces: Sequence[Work],
) -> Iterator[Result]:
    """Yield what `work` yields for each of the pieces, piece by piece, in any order.

    Args:
        model: its directory, which is brought to the nodes that do not have it.
        start: called in each member first, with the model's directory there and `arguments`.

    Raises:
        WorldError: no cluster answers, or members die too often.
        Exception: whatever `start` or `work` raised.
    """
    import ray

    cluster = session.connect()
    gpus = session.gpus_each(cluster)
    size = min(session.most_workers(cluster, gpus), len(pieces))
    each = f"{gpus:g} GPU each" if gpus else "on CPUs"
    print(f"sampling on {cluster.told}; up to {size} workers, {each}", file=sys.stderr)
    parcels = [parcel.parcel_of(folder) for folder in ([model, start_of(model)] if is_adapter(model) else [model])]
    stored: dict[str, list[Any]] = {}

    def sent(one: Parcel) -> list[Any]:
        """The parts in the object store, put there when the first node asks."""
        if one.sha256 not in stored:
            stored[one.sha256] = [ray.put(piece) for piece in parcel.pieces_of(one)]
        return stored[one.sha256]

    def opening(actor: Any, place: Place) -> Generator[Any, Any, None]:
        missing = yield actor.missing.remote(parcels)
        if missing:
            yield actor.receive.remote(missing, [sent(one) for one in missing])
        yield actor.start.remote(parcels, start, arguments, work)

    for _, results in Crew(Sampler, size, opening, gpus).spread(pieces):
        yield from results


def _on_top(adapter: Path, start: Path) -> Path:
    """A directory of the adapter whose configuration names its model's directory on this node."""
    here = Path(tempfile.mkdtemp(prefix="greenlit-adapter-"))
    for path in adapter.iterdir():
        if path.name != "adapter_config.json":
            (here / path.name).symlink_to(path)
    config = read_json(adapter / "adapter_config.json")
    write_json(here / "adapter_config.json", {**config, "base_model_name_or_path": str(start)})
    return here
