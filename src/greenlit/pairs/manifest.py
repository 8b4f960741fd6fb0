"""manifest.json: what nbest.jsonl and pairs.jsonl were made from, and what they hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from greenlit.errors import DataError
from greenlit.evaluation.pass_at_k import pass_at_k_P
from greenlit.pairs.groups import first_round
from greenlit.stage.workspace import sha256_file
from greenlit.types import FORMAT_VERSION, Annotated, Kind, Pair


class Counts:
    """Collects what the manifest says about candidates and pairs, problem by problem."""

    def __init__(self, kind: Kind = "program") -> None:
        self.kind = kind
        self.similarities: list[float] = []
        self.exact = 0
        self.problems = 0
        self.candidates = 0
        self.verdicts: Counter[str] = Counter()
        self.truncated = 0
        self.pass_counts: list[tuple[int, int]] = []
        """Graded and passing candidates of each problem: of its first round, so that they are of a random sample."""
        self._graded = self._passing = 0
        self.pairs_per_problem: list[int] = []
        self.reasons: Counter[str] = Counter()
        self.others = 0
        """Pairs that are not of execution."""
        self.diversity = _Diversity()
        self._chosen_tokens: list[int] = []
        self._rejected_tokens: list[int] = []

    def add(self, rows: Sequence[Annotated], pairs: Sequence[Pair]) -> None:
        """Count one problem."""
        self.problems += 1
        self.candidates += len(rows)
        self.verdicts.update(row.verdict for row in rows)
        self.truncated += sum(row.finish_reason == "length" for row in rows)
        first = first_round(rows)
        self.diversity.add(first)
        graded = [row for row in first if row.passed is not None]
        self.pass_counts.append((len(graded), sum(row.passed is True for row in graded)))
        self._graded += sum(row.passed is not None for row in rows)
        self._passing += sum(row.passed is True for row in rows)
        matches = [row.match for row in rows if row.match is not None]
        self.similarities.extend(match.edit_similarity for match in matches)
        self.exact += sum(match.exact for match in matches)
        self.pairs_per_problem.append(len(pairs))
        self.reasons.update(pair.reason for pair in pairs)
        tokens = {row.candidate_idx: row.tokens for row in rows}
        self._chosen_tokens.extend(tokens[pair.chosen_idx] for pair in pairs)
        self._rejected_tokens.extend(tokens[pair.rejected_idx] for pair in pairs)

    def add_other(self, pair: Pair) -> None:
        """Count a pair that a person or an AI judge made."""
        self.others += 1
        self.reasons[pair.reason] += 1

    def check(self, source: Path) -> None:
        """There must be candidates, and verdicts on them.

        Raises:
            DataError: nothing can be built from this file.
        """
        if not self.candidates:
            raise DataError(f"{source}: no candidates in it (the file is empty)", hint="dvc repro --force generate")
        if self.verdicts["infra"] == self.candidates:
            raise DataError(
                f"{source}: no candidate has a verdict (all {self.candidates} are infra: the sandbox failed)",
                hint="`greenlit doctor`, then dvc repro --force annotate",
            )

    def nothing_to_learn(self) -> str | None:
        """Why there are no pairs, in a sentence; None where there are some."""
        if self.others or any(self.pairs_per_problem):
            return None
        told = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.most_common())
        if self.kind == "completion":
            return (
                "no pairs: no problem has two unlike completions whose rewards lie build.margin apart, each ended by "
                f"itself ({told}; {self.truncated} truncated)\nhint: sample more (generate.n), raise "
                "generate.max_new_tokens if many are truncated, or lower build.margin"
            )
        if not self._passing:
            why = "no candidate passes, so that neither DPO nor SFT has anything to learn from"
            then = "sample more (generate.n), start from a stronger model, or give easier problems"
        elif self._passing == self._graded:
            why = "all candidates pass, so that DPO has nothing to learn from (SFT may)"
            then = "give harder problems, or raise generate.temperature"
        else:
            why = "no problem has both a program that passes and an unlike one that fails, each ended by itself"
            then = "sample more (generate.n), or raise generate.max_new_tokens if many are truncated"
        return f"no pairs: {why} ({told}; {self.truncated} truncated)\nhint: {then}"

    def length_bias(self) -> dict[str, float | None]:
        """Mean tokens of chosen and rejected candidates: pairs that differ in length teach length."""
        if not self._chosen_tokens:
            return {"chosen_mean_tokens": None, "rejected_mean_tokens": None}
        chosen, rejected = fmean(self._chosen_tokens), fmean(self._rejected_tokens)
        return {"chosen_mean_tokens": round(chosen, 2), "rejected_mean_tokens": round(rejected, 2)}


class _Diversity:
    """How unlike each problem's candidates are; by the hint that they were sampled with, where there were hints."""

    def __init__(self) -> None:
        self._candidates = self._distinct = 0
        self._novelties: dict[str, list[float]] = {}
        self._outcomes: dict[str, Counter[bool | None]] = {}

    def add(self, rows: Sequence[Annotated]) -> None:
        """Count one problem."""
        self._candidates += len(rows)
        self._distinct += len({row.metrics.ast_hash if row.metrics else row.solution for row in rows})
        for row in rows:
            hint = row.strategy or ""
            novelty = row.metrics.novelty if row.metrics else None
            self._novelties.setdefault(hint, []).extend([] if novelty is None else [novelty])
            self._outcomes.setdefault(hint, Counter())[row.passed] += 1

    def figures(self) -> dict[str, Any]:
        """Returns:
        {"unique_ratio" (programs that differ in more than names and layout / candidates), "novelty_mean" (1 - mean
        similarity to the problem's others), "by_strategy": [{"hint", "candidates", "passed", "novelty_mean"}]}
        """
        every = [novelty for found in self._novelties.values() for novelty in found]
        hints = sorted(self._outcomes) if set(self._outcomes) - {""} else []
        return {
            "unique_ratio": round(self._distinct / self._candidates, 6) if self._candidates else None,
            "novelty_mean": _mean(every),
            "by_strategy": [
                {
                    "hint": hint,
                    "candidates": self._outcomes[hint].total(),
                    "passed": self._outcomes[hint][True],
                    "novelty_mean": _mean(self._novelties[hint]),
                }
                for hint in hints
            ],
        }


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 6) if values else None


def figures(made: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a manifest."""
    return {key: value for key, value in made.items() if key not in {"format", "settings", "inputs_sha256"}}


def manifest(counts: Counts, settings: dict[str, Any], inputs: dict[str, Path], sandbox_level: str) -> dict[str, Any]:
    """The manifest as a JSON-able dict; pass@k is of the train split, over shown and reward tests, of the candidates
    that every problem has: with adaptive sampling those of the first round (see `rounds`).

    Without tests there is none, and what counts passing candidates is null.
    """
    n_P, c_P = zip(*counts.pass_counts, strict=True)
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if min(n_P) >= k]
    untested = counts.kind == "completion"
    train_figures: dict[str, Any] = (
        {
            "train_edit_similarity": round(fmean(counts.similarities), 6),
            "train_exact_match": round(counts.exact / len(counts.similarities), 6),
        }
        if untested
        else {"train_pass@k": {str(k): round(float(pass_at_k_P(n_P, c_P, k).mean()), 6) for k in ks}}
    )
    return {
        "format": FORMAT_VERSION,
        "kind": counts.kind,
        "settings": settings,
        "inputs_sha256": {name: sha256_file(path) for name, path in inputs.items()},
        "sandbox_level": sandbox_level,
        "problems": counts.problems,
        "problems_with_pairs": sum(bool(n) for n in counts.pairs_per_problem),
        "problems_all_pass": None if untested else sum(c == n > 0 for n, c in counts.pass_counts),
        "problems_none_passes": None if untested else sum(c == 0 for _, c in counts.pass_counts),
        "candidates": counts.candidates,
        "verdicts": dict(sorted(counts.verdicts.items())),
        "truncated": counts.truncated,
        **train_figures,
        "pairs": sum(counts.pairs_per_problem) + counts.others,
        "pairs_by_reason": dict(sorted(counts.reasons.items())),
        "length_bias": counts.length_bias(),
        "diversity": counts.diversity.figures(),
    }
