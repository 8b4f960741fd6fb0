"""baseline: sample and grade validation and test with the base model.

Reads   assets/datasets/<ds>/{validation,test}/problems.jsonl, assets/models/base/
Writes  assets/datasets/<ds>/{validation,test}/candidates_baseline.jsonl     greedy and sampled, with verdicts
        assets/datasets/<ds>/test/evaluations_baseline.json                  figures of both splits
Params  seed, annotate, evaluate
"""

import sys

from greenlit.config import load_params
from greenlit.evaluation.compare import metrics_of
from greenlit.evaluation.measure import measure
from greenlit.evaluation.summary import detectable_effect_of, effect_sentence, final_split, headline_figures
from greenlit.paths import BASE, Paths
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import limit_threads, quiet_libraries
from greenlit.tracking.runs import tracked


def main() -> None:
    """Run as params.yaml says; tell what change the problems are enough to show."""
    quiet_libraries()
    limit_threads(1)
    params = load_params()
    paths = Paths.of(params)
    with tracked(params, "baseline", "annotate", "evaluate") as tracker:
        document = measure(BASE, params, paths, None)
        tracker.figures(headline_figures(document))
        tracker.file(paths.evaluation(None))
    print(
        effect_sentence(detectable_effect_of(document, final_split(document)), metrics_of(document)[0]), file=sys.stderr
    )


if __name__ == "__main__":
    run_stage(main)
