"""build: ranked candidates and preference pairs from verdicts.

Reads   assets/datasets/<ds>/train/{problems,candidates_annotated}.jsonl, assets/models/base/ (its tokenizer)
Writes  assets/rl/<ds>/{nbest,pairs}.jsonl, manifest.json
Params  seed, build
"""

import itertools
from pathlib import Path

from greenlit.config import BuildParams, load_params
from greenlit.entry import run_stage
from greenlit.errors import MismatchError
from greenlit.hardware import quiet_libraries
from greenlit.jsonl import atomic_write, read_json, read_rows, to_line, write_json
from greenlit.models import resolve, tokenizer_facts
from greenlit.pairs.manifest import Counts, figures, manifest
from greenlit.pairs.nbest import n_best
from greenlit.pairs.pairs import preference_pairs, shuffle_verdicts
from greenlit.paths import BASE, Paths
from greenlit.problems.files import read_problems
from greenlit.problems.prompts import prompt_hash, render
from greenlit.tracking.runs import tracked
from greenlit.types import Annotated


def run(params: BuildParams, seed: int, problems: Path, annotated: Path, model: Path, out: Path) -> None:
    """Rank and pair, problem by problem."""
    end, chat = tokenizer_facts(resolve(model))
    known = read_problems(problems)
    counts, level = Counts(), ""
    with atomic_write(out / "nbest.jsonl") as nbest_file, atomic_write(out / "pairs.jsonl") as pairs_file:
        for task_id, group in itertools.groupby(read_rows(annotated, Annotated), key=lambda row: row.task_id):
            rows = list(group)
            problem, level = known[task_id], rows[0].level
            prompt = render(problem, chat)
            if rows[0].prompt_hash != prompt_hash(prompt):
                raise MismatchError(f"{annotated}: {task_id}: sampled with another prompt", hint="dvc repro generate")
            if params.shuffle_verdicts:
                rows = shuffle_verdicts(rows, seed)
            pairs = list(preference_pairs(problem, prompt, rows, params.max_pairs, end))
            nbest_file.write(to_line(n_best(problem, prompt, rows, params.n_best, params.n_fails)))
            pairs_file.writelines(map(to_line, pairs))
            counts.add(rows, pairs)
    inputs = {"problems": problems, "candidates_annotated": annotated}
    settings = {"seed": seed, "build": params.model_dump()}
    write_json(out / "manifest.json", manifest(counts, settings, inputs, level))


def main() -> None:
    """Run as params.yaml says."""
    quiet_libraries()
    params = load_params()
    paths = Paths.of(params)
    with tracked(params, "build", "build") as tracker:
        run(params.build, params.seed, paths.problems("train"), paths.annotated, BASE, paths.rl)
        tracker.figures(figures(read_json(paths.rl / "manifest.json")))
        tracker.file(paths.rl / "manifest.json")


if __name__ == "__main__":
    run_stage(main)
