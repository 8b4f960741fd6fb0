"""The report as Markdown. Programs of models are quoted so that nothing in them can break out of its block."""

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from greenlit import jsonl
from greenlit.evaluation.compare import DetectableEffect, greedy_metric
from greenlit.evaluation.report import (
    COLUMNS,
    Example,
    first_metric,
    headline,
    is_untested,
    leading_method,
    table_rows,
    table_title,
)
from greenlit.evaluation.summary import effect_sentence
from greenlit.evaluation.tables import shown_split, split_block
from greenlit.types import Annotated, Verdict

_UNSEEN = (
    "Test was not measured (`evaluate.test` is false in params.yaml): all figures here are of validation, which "
    "choices are made on."
)
NO_TESTS = (
    "The problems have no tests: nothing was run, and `passed` is null for every candidate. The figures say how near "
    "completions come to the text that stands in the file; they do not say that a completion works.",
)
_LINES = 60
"""Lines of a program that are shown."""


def write_markdown(
    path: Path,
    summary: Mapping[str, Any],
    examples: Mapping[str, Sequence[Example]],
    images: Mapping[str, Path],
) -> None:
    """Write the report.

    Args:
        examples: won and lost problems by method, see `report.pick_examples`.
        images: title -> picture; linked relative to the report's folder.
    """
    sections = [
        f"# {_text(summary['experiment'])}: before and after",
        headline(summary),
        *(NO_TESTS if is_untested(summary) else ()),
        *(_comparison(summary, "test") if shown_split(summary) == "test" else [_UNSEEN]),
        *_comparison(summary, "validation"),
        *_headroom(summary),
        *(f"![{_text(title)}]({_link(image, path.parent)})" for title, image in images.items()),
        *_outcomes(summary),
        *_changed(summary, examples),
        *_audit(summary),
        *_leaks(summary),
        *_adaptive(summary),
        *_meaning(summary),
        *_facts(summary),
    ]
    with jsonl.atomic_write(path) as stream:
        stream.write("\n\n".join(sections) + "\n")


def _link(image: Path, folder: Path) -> str:
    return image.resolve().relative_to(folder.resolve()).as_posix().replace(" ", "%20")


def _comparison(summary: Mapping[str, Any], split: str) -> list[str]:
    return [
        f"## evaluate: {split}",
        _text(table_title(summary, split)) + ".",
        table(COLUMNS, table_rows(summary, split)),
    ]


def _headroom(summary: Mapping[str, Any]) -> list[str]:
    metric = first_metric(summary)
    greedy = greedy_metric(summary["validation"]["baseline"])
    rows = [
        (method, *("none left" if share is None else f"{share:+.1%}" for share in (found[metric], found[greedy])))
        for method, found in summary["headroom_recovered"].items()
    ]
    explained = "the change divided by what the baseline had left to gain (1 - baseline)."
    return [f"Headroom recovered on {shown_split(summary)}: {explained}", table(("method", metric, greedy), rows)]


def _outcomes(summary: Mapping[str, Any]) -> list[str]:
    """Verdicts and error classes of the sampled candidates."""
    after = {f"after {method}": outcome for method, outcome in summary["outcomes"]["after"].items()}
    columns = {"baseline": summary["outcomes"]["baseline"], **after}
    totals = [one["candidates"]["sampled"] for one in columns.values()]

    def shares(names: Iterable[str], found: Sequence[Mapping[str, int]]) -> list[tuple[str, ...]]:
        return [
            (name, *(f"{one[name]} ({one[name] / n:.1%})" for one, n in zip(map(Counter, found), totals, strict=True)))
            for name in names
            if any(name in one for one in found)
        ]

    verdicts = shares(get_args(Verdict), [one["verdicts"]["sampled"] for one in columns.values()])
    counted = [one["errors"] for one in columns.values()]
    errors = shares(sorted({name for one in counted for name in one}), counted)
    more = [
        ("samples", *(str(one["candidates"]["sampled"]) for one in columns.values())),
        *([("passed", *("null (no tests)" for _ in columns))] if is_untested(summary) else []),
        ("tokens per sample, mean", *(f"{one['tokens_mean']:.1f}" for one in columns.values())),
        ("distinct programs / samples", *(f"{one['unique_ratio']:.3f}" for one in columns.values())),
        ("not measured (sandbox)", *(str(one["candidates"]["unmeasured"]) for one in columns.values())),
    ]
    return [
        "## annotate: what became of the samples",
        "What is seen without running: there are no tests."
        if is_untested(summary)
        else "Verdicts on the shown and reward tests; the figures above count all tests, hidden ones too.",
        table(("verdict", *columns), verdicts),
        *([table(("error class", *columns), errors)] if errors else []),
        table(("", *columns), more),
    ]


def _changed(summary: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]) -> list[str]:
    sections, split = ["## Won and lost problems"], shown_split(summary)
    for method, found in summary["changed"].items():
        deltas = split_block(summary, split)["delta"][method]
        n, won, lost = deltas[greedy_metric(deltas)]["n"], len(found["wins"]), len(found["losses"])
        changed = (
            f"completion of {won} came nearer to the held-back text, and of {lost} less near."
            if is_untested(summary)
            else f"program of {won} changed from failing to passing and of {lost} from passing to failing."
        )
        sections.append(f"{method}: of {n} {split} problems, the greedy {changed}")
        sections += [_example(method, example) for example in examples.get(method, ())]
    return sections


def _example(method: str, example: Example) -> str:
    parts = [f"### {_text(example.task_id)}: {example.outcome} by {method}"]
    if example.statement.strip():
        parts.append(fenced(example.statement, "text"))
    cells = [
        f"<td>\n\n{title}: {_verdict(row)}\n\n{fenced(row.solution, 'python')}\n\n</td>"
        for title, row in (("base", example.before), (method, example.after))
    ]
    return "\n\n".join([*parts, "<table><tr>\n" + "\n".join(cells) + "\n</tr></table>"])


def _verdict(row: Annotated) -> str:
    if row.match is not None:
        return f"edit similarity {row.match.edit_similarity:.3f}" + (", exact" if row.match.exact else "")
    hidden = "" if row.passed_all or row.verdict != "passed" else " (but not the hidden tests)"
    return f"{row.verdict}{hidden}" + (f", {inline(row.error)}" if row.error else "")


_PASS_AT_K = (
    "pass@1 is the chance that one sample passes all tests of a problem, at the sampling temperature; pass@k that "
    "at least one of k does (unbiased estimator). greedy is the share of problems whose single most likely program "
    "passes; training that only sharpens the distribution raises pass@1 but not greedy."
)
_SIMILARITY = (
    "Edit similarity is 1 - Levenshtein distance / length of the longer of two texts, over characters; exact match "
    "leaves out blanks at line ends. Both compare a completion, up to the end of its block, with the text that was "
    "held back: the mean over a problem's samples at the sampling temperature; greedy is the likeliest completion. "
    "What is learnt from (`rewards`) is measured otherwise."
)


def _meaning(summary: Mapping[str, Any]) -> list[str]:
    confidence = summary["confidence"]
    untested = is_untested(summary)
    lines = [
        _SIMILARITY if untested else _PASS_AT_K,
        f"Intervals are {confidence:.0%} bootstrap intervals over problems ({summary['resamples']} resamples). They "
        "cover the choice of problems and the sampling, not a repetition of the training with another seed.",
        f"p is two-sided and paired by problem: sign-flip permutation for {'means' if untested else 'pass@k'}, exact "
        f"McNemar for {'greedy exact match' if untested else 'greedy'}. It is not corrected for the number of methods "
        "and metrics shown.",
        f"Choices between methods are made on validation (here: {leading_method(summary)}); {_of_choices(summary)}",
        f"{effect_sentence(DetectableEffect(**summary['mde']), first_metric(summary))}.",
        *(_of_completions() if untested else _of_tests(summary)),
    ]
    return ["## What the numbers mean, and what they do not", "\n".join(f"- {line}" for line in lines)]


def _of_tests(summary: Mapping[str, Any]) -> list[str]:
    return [
        "Tests decide what passes: a program that passes them may still be wrong, and a gain on these problems says "
        "nothing about problems of another kind.",
        f"Programs ran at sandbox level {inline(summary['sandbox_level'] or 'unknown')}. Where the sandbox failed, the "
        "candidate is left out, not counted as failed.",
    ]


def _of_completions() -> list[str]:
    return [
        "There are no tests, and no pass@k. A completion that works may be written otherwise than the file goes on, "
        "and counts little; one that differs by a sign may not work, and counts much.",
        "A public file may have been part of what the base model was trained on: then it remembers, and the figures "
        "before and after are both too high.",
    ]


def _of_choices(summary: Mapping[str, Any]) -> str:
    if shown_split(summary) == "test":
        return "test is for the final figure only, and loses that meaning when it is looked at again and again."
    return "so are the figures here, which flatter what was chosen by them; test is kept for the final figure."


def _audit(summary: Mapping[str, Any]) -> list[str]:
    """What the problems are worth that all of this was measured on."""
    found = summary["audit"]
    rows = [
        (
            split,
            *(str(count) for count in (kept, *found["grades"][split].values(), found["quarantined_by_split"][split])),
        )
        for split, kept in found["kept"].items()
    ]
    reasons = [
        *((f"kept, marked: {mark}", str(count)) for mark, count in found["marks"].items()),
        *((f"dropped: {reason}", str(count)) for reason, count in found["dropped_by_reason"].items()),
        *((f"quarantined: {reason}", str(count)) for reason, count in found["quarantined_by_reason"].items()),
    ]
    return [
        "## prepare: oracle audit",
        "A: the reference passes twice, and the tests catch wrong versions of it. B: it passes, but the tests are weak "
        "or few, or it is slow. C: nothing could be checked, for lack of a reference or of tests. Quarantined: not fit "
        "to learn from, and not used.",
        table(("split", "kept", "A", "B", "C", "quarantined"), rows),
        *([table(("problems", "count"), reasons)] if reasons else []),
    ]


def _leaks(summary: Mapping[str, Any]) -> list[str]:
    """What was looked for among the problems that are measured on, and where nobody looked."""
    found = summary["audit"]["leaks"]
    rows = [
        (
            of,
            *(str(size[key]) for key in ("problems", "statements", "references")),
            str(found["by_evaluation"].get(of, 0)),
        )
        for of, size in found["against"].items()
    ]
    removed = [(check, str(count)) for check, count in found["by_check"].items()]
    absent = "".join(f"\n- not checked {what}" for what in found["not_checked"])
    return [
        "## prepare: leak checks",
        "Train problems that repeat a problem of test, validation or a benchmark are removed from train, and "
        f"validation problems that repeat one of test. Compared were: {', '.join(found['checks'])}. A paraphrase that "
        f"shares no run of words, with another solution, is not found. audit.json names what was removed.{absent}",
        table(("checked against", "problems", "with a statement", "with a reference", "removed"), rows),
        *([table(("removed by", "problems"), removed)] if removed else []),
    ]


def _adaptive(summary: Mapping[str, Any]) -> list[str]:
    """What sampling in rounds took and saved, where it was done."""
    found = summary.get("adaptive")
    if not found:
        return []
    rows = [
        ("samples of a problem", ", ".join(f"{count} (of {of} problems)" for count, of in found["samples"].items())),
        ("samples saved", f"{found['saved']}, against {found['max_n']} of every problem"),
        ("done: enough pass and fail", f"{found['stopped']['enough']} problems"),
        (f"not done after {found['max_n']}", f"{found['stopped']['max_n']} problems"),
        ("done by other verdicts than annotate found", f"{found['stopped']['other_verdicts']} problems"),
    ]
    return [
        "## generate: adaptive sampling",
        f"{found['n']} samples of every train problem, then {found['round']} more at a time, until {found['passes']} "
        f"unlike programs passed and {found['fails']} failed. Later samples are more often of hard problems: what the "
        "manifest tells of pass rates is of the first round alone.",
        table(("what", "value"), rows),
    ]


def _facts(summary: Mapping[str, Any]) -> list[str]:
    rows = [
        ("experiment", summary["experiment"]),
        ("seed", str(summary["seed"])),
        ("rl_manifest", summary["rl_manifest"]),
        *((f"checkpoint of {method}", path) for method, path in summary["checkpoint"].items()),
        ("sandbox level", summary["sandbox_level"]),
        *_flat({key: value for key, value in summary["made_with"].items() if key != "seed"}),
    ]
    return ["## How it was made", table(("what", "value"), rows)]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in nested.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", str(value))]
    return rows


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; cells may hold any text."""
    lines = [header, ["---"] * len(header), *rows]
    rule = lines[1]
    return "\n".join(f"| {' | '.join(cell if line is rule else _text(cell) for cell in line)} |" for line in lines)


_SPECIAL = re.compile(r"[\\`*|~]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|^[#>+-](?=\s)")
_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")


def _text(text: str) -> str:
    """Text that Markdown and HTML leave alone, on one line; what cannot be mistaken stays as it is."""
    line = re.sub(r"\s+", " ", visible(text)).strip()
    return _MARKUP.sub(lambda match: html.escape(match[0]), _SPECIAL.sub(r"\\\g<0>", line))


def inline(text: str) -> str:
    """Text as a code span, whatever backticks it holds."""
    line = re.sub(r"\s+", " ", visible(text))
    ticks = "`" * (_longest_run(line) + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`"


def fenced(text: str, language: str) -> str:
    """Text as a code block: its fence is longer than any run of backticks inside; long programs are cut."""
    lines = visible(text).rstrip().split("\n")
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], f"... {len(lines) - _LINES} more lines"]
    body = "\n".join(lines)
    fence = "`" * max(3, _longest_run(body) + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall(r"`+", text)), default=0)


def visible(text: str) -> str:
    """Control characters as their pictures (U+2400 ...), lone surrogates as `?`: safe in a terminal and in UTF-8."""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", _picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "�"
