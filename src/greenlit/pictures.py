"""Pictures as PNG: readable in grey, the same bytes for the same numbers.

Colours: Okabe and Ito's palette for colour-blind readers; shapes and labels carry the meaning too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from greenlit.jsonl import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
MARKERS = "osD^vPX"


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """A figure in matplotlib's own style, whatever the user's, saved at the end without a date or a version.

    Args:
        width, height: in inches, of 120 points each.
    """
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.style.context("default"):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with atomic_write(path) as stream:
            figure.savefig(stream.buffer, dpi=120, format="png", metadata={"Software": None})
