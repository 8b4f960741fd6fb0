"""generate: sample candidates for the problems of the train split.

Reads   assets/datasets/<ds>/train/problems.jsonl, assets/models/base/
Writes  assets/datasets/<ds>/train/candidates.jsonl     generate.n rows per problem, in the order of the problems; with
                                                       generate.adaptive up to max_n, as many as its pairs need
Params  seed, generate
"""

from pathlib import Path

from greenlit.config import GenerateParams, load_params
from greenlit.generation.adaptive import by_execution
from greenlit.generation.sample import sample
from greenlit.jsonl import write_rows
from greenlit.paths import BASE, Paths
from greenlit.problems.files import read_problems
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import quiet_libraries, workers
from greenlit.stage.workspace import work_dir
from greenlit.tracking.runs import tracked


def run(params: GenerateParams, seed: int, problems: Path, model: Path, candidates: Path) -> int:
    """Sample; an interrupted run goes on where it stopped. Returns how many candidates there are."""
    settings = {"params": params.model_dump(), "seed": seed}
    train = list(read_problems(problems).values())
    with work_dir("generate", settings, [problems, model]) as work:
        rows = sample(
            model,
            train,
            params,
            seed=seed,
            greedy=False,
            work=work,
            workers=workers(),
            label="generate",
            go_on=by_execution(params.adaptive, train, workers()) if params.adaptive else None,
        )
        return write_rows(candidates, rows)


def main() -> None:
    """Run as params.yaml says."""
    quiet_libraries()
    params = load_params()
    paths = Paths.of(params)
    with tracked(params, "generate", "generate") as tracker:
        count = run(params.generate, params.seed, paths.problems("train"), BASE, paths.candidates)
        tracker.figures({"candidates": count})


if __name__ == "__main__":
    run_stage(main)
