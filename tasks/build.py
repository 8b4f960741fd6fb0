"""build: ranked candidates and preference pairs from verdicts.

Reads   assets/datasets/<ds>/train/{problems,candidates_annotated}.jsonl, assets/models/base/ (its tokenizer)
Writes  assets/rl/<ds>/{nbest,pairs}.jsonl, manifest.json
Params  seed, build
"""

import sys
from pathlib import Path

from greenlit.config import BuildParams, load_params
from greenlit.errors import MismatchError
from greenlit.jsonl import atomic_writes, dump_json, read_json, to_line
from greenlit.models import resolve, tokenizer_facts
from greenlit.pairs.groups import by_problem
from greenlit.pairs.manifest import Counts, figures, manifest
from greenlit.pairs.nbest import n_best
from greenlit.pairs.pairs import preference_pairs, shuffle_verdicts
from greenlit.paths import BASE, Paths
from greenlit.problems.files import read_problems
from greenlit.problems.prompts import prompt_hash, render
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import made_with, quiet_libraries
from greenlit.tracking.runs import tracked


def run(params: BuildParams, seed: int, problems: Path, annotated: Path, model: Path, out: Path) -> None:
    """Rank and pair, problem by problem; say so where there is nothing to learn from."""
    end, chat = tokenizer_facts(resolve(model))
    known = read_problems(problems)
    counts, level = Counts(), ""
    files = (out / "nbest.jsonl", out / "pairs.jsonl", out / "manifest.json")
    with atomic_writes(*files) as (nbest_file, pairs_file, manifest_file):
        for problem, rows in by_problem(annotated, known):
            level = rows[0].level
            prompt = render(problem, chat)
            if any(row.prompt_hash != prompt_hash(prompt) for row in rows):
                raise MismatchError(
                    f"{annotated}: {problem.task_id}: sampled with another prompt than this one's",
                    hint="dvc repro generate",
                )
            if params.shuffle_verdicts:
                rows = shuffle_verdicts(rows, seed)
            pairs = list(preference_pairs(problem, prompt, rows, params.max_pairs, end))
            nbest_file.write(to_line(n_best(problem, prompt, rows, params.n_best, params.n_fails)))
            pairs_file.writelines(map(to_line, pairs))
            counts.add(rows, pairs)
        counts.check(annotated)
        inputs = {"problems": problems, "candidates_annotated": annotated}
        settings = {"seed": seed, "build": params.model_dump()}
        made = {**manifest(counts, settings, inputs, level), "made_with": made_with(seed)}
        dump_json(manifest_file, made)
    if warning := counts.nothing_to_learn():
        print(f"warning: {out / 'pairs.jsonl'}: {warning}", file=sys.stderr)


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
