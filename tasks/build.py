"""build: ranked candidates and preference pairs from verdicts, and from what people and AI judges say, where they do.

Reads   assets/datasets/<ds>/train/{problems,candidates_annotated}.jsonl, assets/models/base/ (its tokenizer)
        human/<ds>/{preferences,demonstrations}.jsonl, and validation's and test's problems, to refuse what is of them
        calibration/<ds>/, where an AI judge is to count
Writes  assets/rl/<ds>/{nbest,pairs}.jsonl, manifest.json
Params  seed, generate, annotate, build
"""

import itertools
import sys
from pathlib import Path

from greenlit.config import Params, load_params
from greenlit.jsonl import atomic_writes, dump_json, read_json, to_line
from greenlit.models import resolve, tokenizer_facts
from greenlit.pairs.ai import AiRows
from greenlit.pairs.groups import with_prompts
from greenlit.pairs.human import HumanRows
from greenlit.pairs.manifest import Counts, figures, manifest
from greenlit.pairs.nbest import n_best
from greenlit.pairs.pairs import preference_pairs, shuffle_verdicts
from greenlit.pairs.rounds import RoundCounts
from greenlit.paths import BASE, Paths
from greenlit.preferences.files import Problems, Said, read_said
from greenlit.problems.files import kind_of, read_problems
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import made_with, quiet_libraries
from greenlit.tracking.runs import tracked
from greenlit.types import Problem


def run(params: Params, paths: Paths, model: Path = BASE) -> None:
    """Rank and pair, problem by problem; say so where there is nothing to learn from."""
    build, seed = params.build, params.seed
    end, chat = tokenizer_facts(resolve(model))
    train = read_problems(paths.problems("train"))
    said = what_people_say(paths, train, build.shuffle_verdicts)
    human = HumanRows(said, build.human, train, seed, end, chat)
    human.check_demonstrations(params.annotate)
    asks = build.ai is not None and not build.shuffle_verdicts
    ai = AiRows(build.ai, seed, end, paths.dataset) if asks else None
    counts, sampled, level = Counts(kind_of(train.values())), RoundCounts(params.generate), ""
    files = (paths.rl / "nbest.jsonl", paths.rl / "pairs.jsonl", paths.rl / "manifest.json")
    with atomic_writes(*files) as (nbest_file, pairs_file, manifest_file):
        for problem, prompt, rows in with_prompts(paths.annotated, train, chat):
            level = rows[0].level
            human.compare(problem, rows)
            sampled.add(rows)
            if build.shuffle_verdicts:
                rows = shuffle_verdicts(rows, seed)
            pairs = list(preference_pairs(problem, prompt, rows, build.max_pairs, end, build.margin))
            shown = human.best_of(problem)
            best = n_best(problem, prompt, rows, build.n_best, build.n_fails, shown, build.least_reward)
            nbest_file.write(to_line(best))
            pairs_file.writelines(map(to_line, pairs))
            counts.add(rows, pairs)
        counts.check(paths.annotated)
        nbest_file.writelines(map(to_line, human.other_best()))
        judged = ai.pairs(with_prompts(paths.annotated, train, chat), params.annotate) if ai else ()
        for pair in itertools.chain(human.pairs(), judged):
            pairs_file.write(to_line(pair))
            counts.add_other(pair)
        inputs = {"problems": paths.problems("train"), "candidates_annotated": paths.annotated, **said.files}
        settings = {"seed": seed, "build": build.model_dump(exclude={"human", "ai"})}  # those stand beside their counts
        told = {**sampled.figures(), **human.facts(), **(ai.facts() if ai else {}), "made_with": made_with(seed)}
        dump_json(manifest_file, {**manifest(counts, settings, inputs, level), **told})
    if warning := counts.nothing_to_learn():
        print(f"warning: {files[1]}: {warning}", file=sys.stderr)
    if told_of_rounds := sampled.told():
        print(told_of_rounds, file=sys.stderr)


def what_people_say(paths: Paths, train: dict[str, Problem], placebo: bool) -> Said:
    """Their rows, each checked; a placebo learns from none."""
    held_out = {split: paths.problems(split) for split in ("validation", "test")}
    said = read_said(paths.human, Problems(train, held_out))
    if said.files and placebo:
        print(f"warning: {paths.human}: left out of the placebo (build.shuffle_verdicts)", file=sys.stderr)
        return Said()
    return said


def main() -> None:
    """Run as params.yaml says."""
    quiet_libraries()
    params = load_params()
    paths = Paths.of(params)
    with tracked(params, "build", "generate", "annotate", "build") as tracker:
        run(params, paths)
        tracker.figures(figures(read_json(paths.rl / "manifest.json")))
        tracker.file(paths.rl / "manifest.json")


if __name__ == "__main__":
    run_stage(main)
