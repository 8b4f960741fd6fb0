"""evaluate: as baseline, with a method's merged model.

Reads   assets/datasets/<ds>/{validation,test}/problems.jsonl, results/<e>/<m>/merged/
Writes  assets/datasets/<ds>/{validation,test}/<m>/candidates_after.jsonl     greedy and sampled, with verdicts
        assets/datasets/<ds>/test/<m>/evaluations_after.json                  figures of both splits
        results/<e>/<m>/logs/eval_results.json                                the same figures, flat
Params  seed, annotate, evaluate
"""

from greenlit.config import load_params_and_method
from greenlit.evaluation.measure import measure
from greenlit.evaluation.summary import flat_figures, headline_figures
from greenlit.jsonl import write_json
from greenlit.paths import Paths
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import limit_threads, quiet_libraries
from greenlit.tracking.runs import tracked


def main() -> None:
    """Run as params.yaml says."""
    params, name = load_params_and_method(__doc__)
    quiet_libraries()
    limit_threads(1)
    paths = Paths.of(params)
    with tracked(params, "evaluate", "annotate", "evaluate", method=name) as tracker:
        document = measure(paths.method(name) / "merged", params, paths, name)
        write_json(paths.log(name, "eval_results.json"), flat_figures(document))
        tracker.figures(headline_figures(document))
        tracker.file(paths.evaluation(name))
        tracker.file(paths.log(name, "eval_results.json"))


if __name__ == "__main__":
    run_stage(main, "--method")
