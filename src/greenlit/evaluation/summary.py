"""One evaluation: from annotated candidates to pass@k, greedy, verdicts and errors of a split.

Of problems without tests it is edit similarity and exact match instead, see matches.py.

What could not be measured (`passed_all` is null: the sandbox failed) is no failure of the model: such a candidate does
not count among the samples, and a problem left with fewer than k of them is left out of pass@k and counted in `infra`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from greenlit.errors import DataError, MismatchError
from greenlit.evaluation.compare import (
    DetectableEffect,
    detectable_effect,
    detectable_effect_of_means,
    interval,
    metrics_of,
    values_by_problem,
)
from greenlit.evaluation.matches import MatchTally
from greenlit.types import FORMAT_VERSION, Annotated, Kind, Split

_ERROR_CLASS = re.compile(r"(?:test \d+: )?(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)\s*(?::|$)")


@dataclass
class _Tally:
    """What is remembered of one problem while its rows stream by."""

    prompt_hash: str
    indices: set[int] = field(default_factory=set)
    programs: set[bytes] = field(default_factory=set)
    sampled: int = 0
    measured: int = 0
    passing: int = 0
    has_greedy: bool = False
    greedy: bool | None = None
    match: MatchTally = field(default_factory=MatchTally)

    def add(self, row: Annotated) -> None:
        self.match.add(row)
        if row.candidate_idx in self.indices:
            raise DataError(f"{row.task_id}: candidate_idx {row.candidate_idx} stands twice")
        if row.prompt_hash != self.prompt_hash:
            raise MismatchError(
                f"{row.task_id}: candidates answer different prompts ({self.prompt_hash}, {row.prompt_hash})"
            )
        self.indices.add(row.candidate_idx)
        if row.decoding == "greedy":
            if self.has_greedy:
                raise DataError(f"{row.task_id}: has two greedy candidates")
            self.has_greedy, self.greedy = True, row.passed_all
            return
        self.sampled += 1
        self.programs.add(hashlib.blake2b(row.solution.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        if row.passed_all is not None:
            self.measured += 1
            self.passing += row.passed_all


def error_class(error: str) -> str:
    """`test 1: NameError: name 'x' is not defined` -> `NameError`; `other` where the line starts with no class name."""
    match = _ERROR_CLASS.match(error.strip())
    return match[1] if match else "other"


def summarise(rows: Iterable[Annotated], ks: list[int], confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    """Figures of one split, streaming: memory grows with the problems and their distinct programs' hashes only.

    Args:
        rows: sampled and greedy candidates in any order.

    Returns:
        {"kind": of the problems, "passed": samples that pass all tests (null without tests),
        "pass@1": {"value", "low", "high", "n"}, ..., "greedy": {...}, "infra": {metric: problems left out},
        "candidates": {"sampled", "greedy", "unmeasured"}, "verdicts": {"sampled": {verdict: count}, "greedy": {...}}
        (of the shown and reward tests), "errors": {class: count} and "tokens_mean" of the samples, "unique_ratio"
        (distinct programs / samples, within problems), "model", "level", "backend" (with its dtype), "served_by"
        (models that an endpoint says it is), "prompt_hash",
        "problems": {task_id: {"n", "c", "greedy"}}}

    Raises:
        DataError: no rows, a candidate twice, two models, no greedy candidate, or fewer than k samples of a problem.
        MismatchError: candidates of one problem answer different prompts.
    """
    tallies: dict[str, _Tally] = {}
    verdicts: dict[str, Counter[str]] = {"sampled": Counter(), "greedy": Counter()}
    errors: Counter[str] = Counter()
    models: set[str] = set()
    levels: set[str] = set()
    kinds: set[Kind] = set()
    backends: set[str] = set()
    served: set[str] = set()
    tokens = 0
    for row in rows:
        tallies.setdefault(row.task_id, _Tally(row.prompt_hash)).add(row)
        verdicts[row.decoding][row.verdict] += 1
        models.add(row.model)
        levels.add(row.level)
        kinds.add("program" if row.match is None else "completion")
        backends.add(" ".join(filter(None, (row.backend, row.dtype))))
        served.update(filter(None, [row.served_by]))
        if row.decoding == "sampled":
            tokens += row.tokens
            if row.error and row.verdict != "failed":  # a wrong answer is no error
                errors[error_class(row.error)] += 1
    untested = kinds == {"completion"}
    _require_complete(tallies, models, kinds, 1 if untested else max(ks))
    problems = {
        task_id: tally.match.figures()
        if untested
        else {"n": tally.measured, "c": tally.passing, "greedy": tally.greedy}
        for task_id, tally in sorted(tallies.items())
    }
    kind: Kind = "completion" if untested else "program"
    names = metrics_of({"kind": kind, "settings": {"ks": ks}})
    samples = sum(tally.sampled for tally in tallies.values())
    measured = {metric: list(values_by_problem(problems, metric).values()) for metric in names}
    unmeasured = sum(tally.sampled - tally.measured + (tally.greedy is None) for tally in tallies.values())
    return {
        "kind": kind,
        "passed": None if untested else sum(tally.passing for tally in tallies.values()),
        **{name: interval(values, confidence, resamples, seed).as_dict() for name, values in measured.items()},
        "infra": {name: len(problems) - len(values) for name, values in measured.items()},
        "candidates": {
            "sampled": samples,
            "greedy": len(tallies),
            "unmeasured": 0 if untested else unmeasured,
        },
        "verdicts": {decoding: _by_count(counts) for decoding, counts in verdicts.items()},
        "errors": _by_count(errors),
        "tokens_mean": tokens / samples,
        "unique_ratio": sum(len(tally.programs) for tally in tallies.values()) / samples,
        "model": models.pop(),
        "level": "+".join(sorted(levels - {""})),
        "backend": "+".join(sorted(backends - {""})),
        "served_by": sorted(served),
        "prompt_hash": _hash_of({task_id: tally.prompt_hash for task_id, tally in tallies.items()}),
        "problems": problems,
    }


def _require_complete(tallies: Mapping[str, _Tally], models: set[str], kinds: set[Kind], k: int) -> None:
    if not tallies:
        raise DataError("evaluation: no candidates", hint="run the stage that samples them: `dvc repro`")
    if len(models) > 1:
        raise DataError(f"evaluation: candidates of more than one model ({', '.join(sorted(models))})")
    if len(kinds) > 1:
        raise DataError("evaluation: candidates of problems with tests and of problems without")
    for task_id, tally in sorted(tallies.items()):
        if tally.sampled < k:
            raise DataError(f"{task_id}: pass@{k} is undefined with fewer than {k} samples (found {tally.sampled})")
        if not tally.has_greedy:
            raise DataError(f"{task_id}: has no greedy candidate")


def _by_count(counts: Counter[str]) -> dict[str, int]:
    """Most frequent first, then by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _hash_of(parts: Mapping[str, str]) -> str:
    text = "\n".join(f"{key}\0{parts[key]}" for key in sorted(parts))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def evaluation_document(
    splits: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any], limits: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """The content of evaluations_baseline.json and evaluations_after.json.

    Args:
        splits: split -> what `summarise` returned for it.
        settings: the `evaluate` section of params.yaml.
        limits: the `annotate` section: a program that was given more time may pass where another failed.

    Raises:
        DataError: the splits were answered by different models, or are of two kinds of problems.
    """
    models = {split["model"] for split in splits.values()}
    kinds = {split.get("kind", "program") for split in splits.values()}
    if len(kinds) != 1:
        raise DataError("evaluation: one split's problems have tests, and another one's have none")
    if len(models) != 1:
        raise DataError(f"evaluation: splits answered by other models ({', '.join(sorted(models))})")
    return {
        "format": FORMAT_VERSION,
        "kind": kinds.pop(),
        "model": models.pop(),
        "prompt_hash": _hash_of({name: split["prompt_hash"] for name, split in splits.items()}),
        "level": "+".join(sorted({split["level"] for split in splits.values()} - {""})),
        "backend": "+".join(sorted({split["backend"] for split in splits.values()} - {""})),
        "settings": dict(settings),
        "limits": dict(limits),
        "seed": seed,
        "splits": {name: dict(split) for name, split in splits.items()},
    }


def flat_figures(document: Mapping[str, Any]) -> dict[str, float | int | None]:
    """The content of eval_results.json: the figures of an evaluation with one level of keys.

    Returns:
        of the test split {"pass@1", "pass@1_low", "pass@1_high", "pass@1_n" (problems measured), ..., "greedy", ...,
        "n" (problems)}, and the same of the other splits with the split's name before it: "validation_pass@1"
    """
    flat: dict[str, float | int | None] = {}
    for split, figures in sorted(document["splits"].items(), key=lambda item: item[0] != "test"):
        prefix = "" if split == "test" else f"{split}_"
        for metric in metrics_of(document):
            found = figures[metric]
            flat[f"{prefix}{metric}"] = found["value"]
            flat |= {f"{prefix}{metric}_{key}": found[key] for key in ("low", "high", "n")}
        flat[f"{prefix}n"] = len(figures["problems"])
    return flat


def headline_figures(document: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of an evaluation by split, without those of each problem and each error."""
    return {
        split: {key: value for key, value in figures.items() if key not in {"problems", "errors"}}
        for split, figures in document["splits"].items()
    }


def final_split(document: Mapping[str, Any]) -> Split:
    """The split that an evaluation answers with: test, or validation where test was not measured."""
    return "test" if "test" in document["splits"] else "validation"


def detectable_effect_of(document: Mapping[str, Any], split: str) -> DetectableEffect:
    """The effect on the first figure that this baseline allows to see; see `compare.detectable_effect`."""
    rows = document["splits"][split]["problems"].values()
    if document.get("kind") == "completion":
        noise = [row["variance"] / row["n"] for row in rows if row["variance"] is not None]
        return detectable_effect_of_means(
            [row["edit_similarity"] for row in rows], noise, document["settings"]["confidence"]
        )
    return detectable_effect([row["n"] for row in rows], [row["c"] for row in rows], document["settings"]["confidence"])


def effect_sentence(effect: DetectableEffect, metric: str = "pass@1") -> str:
    """The detectable effect as one line to print before training starts."""
    if effect.high is None:
        return f"Detectable change of {metric}: not known; the baseline's {effect.n} problems show no spread in it"
    between = f"between {effect.low:.3f} and {effect.high:.3f}" if effect.low is not None else f"{effect.high:.3f}"
    return (
        f"Detectable change of {metric}: {between} (power {effect.power:.0%}, confidence {effect.confidence:.0%}, "
        f"n = {effect.n} problems); smaller gains will mostly drown in noise"
    )
