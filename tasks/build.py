"""build: ranked candidates and preference pairs from verdicts, and from what people and AI judges say, where they do.

Reads   assets/datasets/<ds>/train/{problems,candidates_annotated}.jsonl, assets/models/base/ (its tokenizer)
        human/<ds>/{preferences,demonstrations}.jsonl, and validation's and test's problems, to refuse what is of them
        calibration/<ds>/, where an AI judge is to count
Writes  assets/rl/<ds>/{nbest,pairs}.jsonl, manifest.json
Params  seed, annotate, build
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenlit.config import Params, load_params
from greenlit.errors import MismatchError
from greenlit.jsonl import atomic_writes, dump_json, read_json, to_line
from greenlit.models import resolve, tokenizer_facts
from greenlit.pairs.ai import AiRows
from greenlit.pairs.groups import by_problem
from greenlit.pairs.human import HumanRows
from greenlit.pairs.manifest import Counts, figures, manifest
from greenlit.pairs.nbest import n_best
from greenlit.pairs.pairs import preference_pairs, shuffle_verdicts
from greenlit.paths import BASE, Paths
from greenlit.preferences.files import Problems, Said, read_said
from greenlit.problems.files import read_problems
from greenlit.problems.prompts import prompt_hash, render
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import made_with, quiet_libraries
from greenlit.tracking.runs import tracked
from greenlit.types import Annotated, Problem


def run(params: Params, paths: Paths, model: Path = BASE) -> None:
    """Rank and pair, problem by problem; say so where there is nothing to learn from."""
    end, chat = tokenizer_facts(resolve(model))
    train = read_problems(paths.problems("train"))
    said = what_people_say(params, paths, train)
    human = HumanRows(said, params.build.human, train, params.seed, end, chat)
    human.check_demonstrations(params.annotate)
    counts, level = Counts(), ""
    files = (paths.rl / "nbest.jsonl", paths.rl / "pairs.jsonl", paths.rl / "manifest.json")
    with atomic_writes(*files) as (nbest_file, pairs_file, manifest_file):
        for problem, prompt, rows in candidates(params, paths, train, chat):
            level = rows[0].level
            pairs = list(preference_pairs(problem, prompt, rows, params.build.max_pairs, end))
            shown = human.best_of(problem)
            nbest_file.write(to_line(n_best(problem, prompt, rows, params.build.n_best, params.build.n_fails, shown)))
            pairs_file.writelines(map(to_line, pairs))
            counts.add(rows, pairs)
            human.compare(problem, rows)
        counts.check(paths.annotated)
        nbest_file.writelines(map(to_line, human.other_best()))
        ai = ai_rows(params, paths, end)
        asked = ai.pairs(candidates(params, paths, train, chat), params.annotate) if ai else ()
        for pair in itertools.chain(human.pairs(), asked):
            pairs_file.write(to_line(pair))
            counts.add_other(pair)
        inputs = {"problems": paths.problems("train"), "candidates_annotated": paths.annotated, **said.files}
        made = manifest(counts, settings(params), inputs, level)
        told = {**human.facts(), **(ai.facts() if ai else {})}
        dump_json(manifest_file, {**made, **told, "made_with": made_with(params.seed)})
    if warning := counts.nothing_to_learn():
        print(f"warning: {files[1]}: {warning}", file=sys.stderr)


def candidates(
    params: Params, paths: Paths, train: dict[str, Problem], chat: bool
) -> Iterator[tuple[Problem, str | list[dict[str, str]], list[Annotated]]]:
    """Each problem with its prompt and its candidates.

    Raises:
        MismatchError: the candidates were sampled with another prompt.
    """
    for problem, rows in by_problem(paths.annotated, train):
        prompt = render(problem, chat)
        if any(row.prompt_hash != prompt_hash(prompt) for row in rows):
            raise MismatchError(
                f"{paths.annotated}: {problem.task_id}: sampled with another prompt than this one's",
                hint="dvc repro generate",
            )
        yield problem, prompt, shuffle_verdicts(rows, params.seed) if params.build.shuffle_verdicts else rows


def what_people_say(params: Params, paths: Paths, train: dict[str, Problem]) -> Said:
    """Their rows, each checked; a placebo learns from none."""
    held_out = {split: paths.problems(split) for split in ("validation", "test")}
    said = read_said(paths.human, Problems(train, held_out))
    if said.files and params.build.shuffle_verdicts:
        print(f"warning: {paths.human}: left out of the placebo (build.shuffle_verdicts)", file=sys.stderr)
        return Said()
    return said


def ai_rows(params: Params, paths: Paths, end: str) -> AiRows | None:
    """The AI judge, where there is one; a placebo asks none."""
    if params.build.ai is None or params.build.shuffle_verdicts:
        return None
    return AiRows(params.build.ai, params.seed, end, paths.dataset)


def settings(params: Params) -> dict[str, Any]:
    """What the manifest says of the settings; those of people and AI judges stand beside what came of them."""
    return {"seed": params.seed, "build": params.build.model_dump(exclude={"human", "ai"})}


def main() -> None:
    """Run as params.yaml says."""
    quiet_libraries()
    params = load_params()
    paths = Paths.of(params)
    with tracked(params, "build", "annotate", "build") as tracker:
        run(params, paths)
        tracker.figures(figures(read_json(paths.rl / "manifest.json")))
        tracker.file(paths.rl / "manifest.json")


if __name__ == "__main__":
    run_stage(main)
