"""The command behind `greenlit prefer`: a person ranks candidates of the train split; or a file of others is added."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from greenlit.appending import Appending
from greenlit.config import load_params
from greenlit.jsonl import read_json_lines
from greenlit.pairs.groups import by_problem
from greenlit.paths import Paths
from greenlit.preferences.adding import HumanFile
from greenlit.preferences.files import Problems, read_said
from greenlit.preferences.importing import import_rows, tell
from greenlit.preferences.questions import Key, Question, key_of, questions
from greenlit.preferences.records import PREFERENCES
from greenlit.preferences.terminal import KEYS, keys, show
from greenlit.problems.files import read_problems
from greenlit.stage.entry import only_one
from greenlit.stage.stopping import Stopped
from greenlit.stage.workspace import WORK


@dataclass(frozen=True)
class Options:
    """As they stand on the command line."""

    dataset: str | None
    source: Path | None
    verdicts: bool


def prefer_command(options: Options) -> int:
    """Ask, or import; return the exit code.

    Raises:
        GreenlitError: files that are missing or malformed, another session at work.
    """
    params = load_params()
    dataset = options.dataset or params.dataset.name
    paths = Paths(dataset, params.experiment)
    with only_one(f"greenlit prefer {dataset}"):
        if options.source is not None:
            found = import_rows(options.source, paths.human, _problems(paths))
            if not paths.problems("train").exists():
                print(f"note: no problems of {dataset} here yet: `build` will check the rest", file=sys.stderr)
            tell(found)
            return 0
        return _ask_all(paths, params.seed, options.verdicts)


def _problems(paths: Paths) -> Problems | None:
    """What rows are checked against; None before `prepare` has run."""
    if not paths.problems("train").exists():
        return None
    held_out = {split: paths.problems(split) for split in ("validation", "test")}
    return Problems(read_problems(paths.problems("train")), held_out)


def _ask_all(paths: Paths, seed: int, verdicts: bool) -> int:
    train = read_problems(paths.problems("train"))
    skipped = _Skipped(paths.dataset)
    answered = {key_of(row) for _, row in read_said(paths.human, _problems(paths)).preferences}
    left = list(questions(by_problem(paths.annotated, train), seed, answered | skipped.keys))
    code = 0
    with HumanFile(paths.human / PREFERENCES) as file:
        try:
            _ask(left, file, skipped, verdicts)
        except KeyboardInterrupt as stopped:  # Ctrl-C as a key, or a signal
            code = stopped.exit_code if isinstance(stopped, Stopped) else 130
        rest = len(left) - file.added - skipped.added
        print(f"{file.path}: {file.added} added; {rest} questions left", file=sys.stderr)
    if rest and not code:
        print("`greenlit prefer` goes on from here; `greenlit run` learns from them", file=sys.stderr)
    return code


def _ask(left: list[Question], file: HumanFile, skipped: "_Skipped", verdicts: bool) -> None:
    from rich.console import Console

    console = Console(stderr=True)
    with keys() as pressed:
        for number, question in enumerate(left, 1):
            show(console, question, verdicts, f"{question.problem.task_id}  ({number} of {len(left)})")
            print(KEYS, file=sys.stderr)
            key = next((key for key in pressed if key in "120q"), "q")
            if key == "q":
                return
            if key == "0":
                skipped.add(question.key)
            else:
                file.add([question.answer(left_is_better=key == "1")])


class _Skipped:
    """Questions that a person did not want to answer; not asked again here, and no part of the data."""

    def __init__(self, dataset: str) -> None:
        self.path = WORK / "prefer" / f"{dataset}.jsonl"
        self.added = 0
        rows = read_json_lines(self.path) if self.path.exists() else ()
        self.keys: set[Key] = {(row["task_id"], frozenset(row["programs"])) for _, row in rows}

    def add(self, key: Key) -> None:
        """Remember a question."""
        task_id, programs = key
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with Appending(self.path) as file:
            file.append([json.dumps({"task_id": task_id, "programs": sorted(programs)}).encode() + b"\n"])
        self.added += 1
