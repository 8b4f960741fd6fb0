"""`training.png`: the curves of one training run, what was measured on held-out rows beside what was trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenlit.pictures import MARKERS, PALETTE, picture

FIRST = (
    "loss", "reward", "pass", "pass/visible", "gap", "kl", "entropy", "completions/mean_length", "rewards/accuracies",
    "accuracy", "rewards/margins", "margin", "learning_rate", "grad_norm",
)  # fmt: skip
"""What is looked at first."""
PANELS = 9
_NO_CURVES = {"step", "epoch"}


def draw_curves(path: Path, logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """A panel per metric, at most PANELS.

    Args:
        logs: rows {"step", metrics} by what they were measured on; a metric `eval_x` stands in the panel of `x`.
    """
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, rows in logs.items():
        for row in rows:
            for key, value in row.items():
                if key not in _NO_CURVES:
                    panel = curves.setdefault(key.removeprefix("eval_"), {})
                    panel.setdefault(name, []).append((row["step"], value))
    shown = [key for key in FIRST if key in curves] + sorted(curves.keys() - set(FIRST))
    shown = shown[:PANELS] or ["loss"]
    wide = min(3, len(shown))
    high = -(-len(shown) // wide)
    with picture(path, 4.0 * wide, 2.8 * high) as figure:
        panels = list(figure.subplots(high, wide, squeeze=False).flat)
        for axes, key in zip(panels, shown, strict=False):
            for at, (name, points) in enumerate(curves.get(key, {}).items()):
                style = {"color": PALETTE[at], "marker": MARKERS[at], "markersize": 3 + 2 * at}
                axes.plot(*zip(*points, strict=True), label=name, **style)
            if len(curves.get(key, {})) > 1:
                axes.legend(frameon=False)
            axes.set_title(key, fontsize=10)
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
