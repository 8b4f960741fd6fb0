"""evaluate: as baseline, with a method's merged model.

Reads   assets/datasets/<ds>/{validation,test}/problems.jsonl, results/<e>/<m>/merged/
Writes  assets/datasets/<ds>/{validation,test}/<m>/candidates_after.jsonl     greedy and sampled, with verdicts
        assets/datasets/<ds>/test/<m>/evaluations_after.json                  figures of both splits
Params  seed, annotate, evaluate
"""

import argparse

from greenlit.config import load_params, method_of
from greenlit.errors import exit_cleanly
from greenlit.evaluation.measure import measure
from greenlit.hardware import quiet_libraries
from greenlit.paths import Paths


def main() -> None:
    """Run as params.yaml says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", required=True, help="name under `methods` in params.yaml")
    name = parser.parse_args().method
    quiet_libraries()
    params = load_params()
    method_of(params, name)
    paths = Paths.of(params)
    measure(paths.method(name) / "merged", params, paths, name)


if __name__ == "__main__":
    exit_cleanly(main)
