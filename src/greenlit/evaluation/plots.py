"""The report's pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from greenlit.evaluation.report import is_untested
from greenlit.evaluation.tables import BASELINE, problem_rows, shown_split, split_block, training_rows
from greenlit.pictures import MARKERS, PALETTE, picture
from greenlit.types import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "#7F7F7F"
_VERDICT_COLOURS = {
    "passed": "#009E73",
    "failed": "#E69F00",
    "error": "#D55E00",
    "timeout": "#0072B2",
    "memory": "#56B4E9",
    "syntax": "#CC79A7",
    "no_code": "#F0E442",
    "untested": "#BBBBBB",
    "infra": _GREY,
}
_HATCHES = dict(zip(_VERDICT_COLOURS, ("", "//", "\\\\", "..", "xx", "--", "++", "", "oo"), strict=True))
_CURVES_FIRST = ("loss", "reward", "rewards/accuracies", "rewards/margins", "kl", "learning_rate", "grad_norm")
_PANELS = 6


def plot_pass_at_k(path: Path, summary: Mapping[str, Any]) -> None:
    """Every figure of a split with its interval: the baseline and each method side by side."""
    split = shown_split(summary)
    block = split_block(summary, split)
    series = {BASELINE: block["baseline"], **{f"after {m}": f for m, f in block["after"].items()}}
    metrics = list(block["baseline"])
    with picture(path, 1.8 + 1.6 * len(metrics), 4.2) as figure:
        axes = figure.subplots()
        for at, (name, figures) in enumerate(series.items()):
            shift = (at - (len(series) - 1) / 2) * 0.6 / len(series)
            for x, metric in enumerate(metrics):
                _point(axes, x + shift, figures[metric], at, name if x == 0 else None)
        axes.set_xticks(range(len(metrics)), metrics)
        axes.set_xlim(-0.5, len(metrics) - 0.5)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(axis="y", alpha=0.3)
        axes.set_ylabel("mean over problems" if is_untested(summary) else "share of problems")
        axes.set_title(f"{summary['experiment']}: {split}, {summary['confidence']:.0%} intervals", fontsize=11)
        axes.legend(frameon=False)


def _point(axes: "Axes", x: float, figure: Mapping[str, Any], series: int, label: str | None) -> None:
    colour = _GREY if series == 0 else PALETTE[(series - 1) % len(PALETTE)]
    marker = MARKERS[series % len(MARKERS)]
    if figure["value"] is None:
        axes.plot([], [], marker=marker, color=colour, linestyle="", label=label)
        return
    reach = [[figure["value"] - figure["low"]], [figure["high"] - figure["value"]]]
    axes.errorbar([x], [figure["value"]], reach, fmt=marker, color=colour, capsize=4, markersize=7, label=label)
    axes.annotate(f"{figure['value']:.3f}", (x, figure["value"]), (7, 4), textcoords="offset points", fontsize=8)


def plot_by_problem(
    path: Path, baseline: Mapping[str, Any], after: Mapping[str, Mapping[str, Any]], split: str
) -> None:
    """Each problem's pass rate (without tests: edit similarity) before and after; a circle's area tells how many
    problems share the place."""
    rows = problem_rows(baseline, after, split)
    figure_name = "edit_similarity" if baseline.get("kind") == "completion" else "pass_rate"
    told = figure_name.replace("_", " ")
    x_key, y_key = f"baseline_{figure_name}", f"after_{figure_name}"
    with picture(path, 4.2 * len(after), 4.6) as figure:
        panels = figure.subplots(1, len(after), squeeze=False, sharey=True)[0]
        for at, (axes, method) in enumerate(zip(panels, after, strict=True)):
            places = Counter(
                (row[x_key], row[y_key])
                for row in rows
                if row["method"] == method and None not in (row[x_key], row[y_key])
            )
            before, later = [x for x, _ in places], [y for _, y in places]
            largest = max(places.values(), default=1)
            sizes = [20 + 380 * count / largest for count in places.values()]
            axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
            axes.scatter(before, later, s=sizes, color=PALETTE[at % len(PALETTE)], alpha=0.6, edgecolors="black")
            axes.set(xlim=(-0.08, 1.08), ylim=(-0.08, 1.08), xlabel=f"{told} before")
            axes.set_box_aspect(1)
            better = sum(n for (x, y), n in places.items() if y > x)
            worse = sum(n for (x, y), n in places.items() if y < x)
            same = places.total() - better - worse
            axes.set_title(f"{method}: {better} better, {worse} worse, {same} same", fontsize=10)
        panels[0].set_ylabel(f"{told} after (above the line: better)")


def plot_verdicts(path: Path, summary: Mapping[str, Any]) -> None:
    """What became of the sampled candidates, as shares."""
    outcomes = summary["outcomes"]
    bars = {BASELINE: outcomes["baseline"], **{f"after {m}": one for m, one in outcomes["after"].items()}}
    shares = {name: _shares(one["verdicts"]["sampled"]) for name, one in bars.items()}
    with picture(path, 8.0, 1.6 + 0.5 * len(bars)) as figure:
        axes = figure.subplots()
        left = dict.fromkeys(bars, 0.0)
        for verdict in get_args(Verdict):
            if not any(one[verdict] for one in shares.values()):
                continue
            widths = [one[verdict] for one in shares.values()]
            style = {"color": _VERDICT_COLOURS[verdict], "hatch": _HATCHES[verdict], "edgecolor": "white"}
            drawn = axes.barh(list(bars), widths, left=list(left.values()), label=verdict, **style)
            labels = [f"{width:.0%}" if width >= 0.05 else "" for width in widths]
            plate = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
            for text, label in zip(axes.bar_label(drawn, labels, label_type="center", fontsize=8), labels, strict=True):
                if label:
                    text.set_bbox(plate)
            left = {name: left[name] + one[verdict] for name, one in shares.items()}
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="share of samples")
        axes.legend(
            frameon=False, ncols=8, columnspacing=1.2, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0)
        )


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {verdict: counts.get(verdict, 0) / total for verdict in get_args(Verdict)}


def plot_training(path: Path, logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    """Training curves of all methods, a panel per metric; false, and no picture, when nothing was logged by step."""
    rows = [row for row in training_rows(logs) if row["step"] is not None]
    columns = [
        key for key in (rows[0] if rows else {}) if key not in {"method", "step", "epoch"} and _is_curve(rows, key)
    ]
    shown = [*(key for key in _CURVES_FIRST if key in columns), *(key for key in columns if key not in _CURVES_FIRST)]
    shown = shown[:_PANELS]
    if not shown:
        return False
    wide = min(3, len(shown))
    high = -(-len(shown) // wide)
    with picture(path, 4.0 * wide, 2.8 * high) as figure:
        panels = figure.subplots(high, wide, squeeze=False).flat
        for axes, key in zip(panels, shown, strict=False):
            for at, method in enumerate(logs):
                points = [(row["step"], row[key]) for row in rows if row["method"] == method and row[key] is not None]
                style = {"color": PALETTE[at % len(PALETTE)], "marker": MARKERS[at % len(MARKERS)], "markersize": 3}
                if points:
                    axes.plot(*zip(*points, strict=True), label=method, **style)
            axes.set_title(key, fontsize=10)
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
        for axes in list(panels):
            axes.set_visible(False)
        figure.axes[0].legend(frameon=False)
    return True


def _is_curve(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """A curve has at least two points; a total logged once at the end is none."""
    return sum(row[key] is not None for row in rows) > 1


def write_plots(
    folder: Path,
    summary: Mapping[str, Any],
    baseline: Mapping[str, Any],
    after: Mapping[str, Mapping[str, Any]],
    logs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Path]:
    """Write `<experiment>_{pass_at_k,by_problem,verdicts,training}.png`.

    Returns:
        What each picture shows -> its path, for `markdown.write_markdown`; no training curves when nothing was logged.
    """
    paths = {
        name: folder / f"{summary['experiment']}_{name}.png"
        for name in ("pass_at_k", "by_problem", "verdicts", "training")
    }
    plot_pass_at_k(paths["pass_at_k"], summary)
    split = shown_split(summary)
    plot_by_problem(paths["by_problem"], baseline, after, split)
    plot_verdicts(paths["verdicts"], summary)
    told, seen = (
        ("Edit similarity", "What is seen without running") if is_untested(summary) else ("Pass rate", "Verdicts")
    )
    images = {
        f"{split.capitalize()} figures before and after, with intervals": paths["pass_at_k"],
        f"{told} of each {split} problem before and after": paths["by_problem"],
        f"{seen} of the {split} samples before and after": paths["verdicts"],
    }
    if plot_training(paths["training"], logs):
        images["Training curves"] = paths["training"]
    return images
