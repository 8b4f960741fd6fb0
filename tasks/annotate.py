"""annotate: run every candidate against its problem's tests.

Reads   assets/datasets/<ds>/train/{problems,candidates}.jsonl
Writes  assets/datasets/<ds>/train/candidates_annotated.jsonl     one row per candidate, in the order of the candidates
        assets/datasets/<ds>/train/timings.jsonl                  measured times, apart from what must repeat
Params  annotate
"""

import json
import sys
from collections import Counter
from pathlib import Path

from greenlit.config import AnnotateParams, load_params
from greenlit.execution.cache import VerdictCache
from greenlit.execution.cheats.gate import refuse_forgeable
from greenlit.execution.judges import Judge
from greenlit.grading import annotate, timing
from greenlit.jsonl import atomic_writes, read_lines, read_rows, to_line
from greenlit.paths import Paths
from greenlit.problems.files import read_problems
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import workers
from greenlit.stage.progress import progress
from greenlit.tracking.runs import tracked
from greenlit.types import Candidate


def run(params: AnnotateParams, problems: Path, candidates: Path, annotated: Path, timings: Path) -> Counter[str]:
    """Judge all candidates, unless the judge in use can be fooled: rewards come from these verdicts, counted here."""
    verdicts: Counter[str] = Counter()
    total = sum(1 for _ in read_lines(candidates))
    known = read_problems(problems)
    with Judge(params, workers()) as judge:
        print(judge.banner, file=sys.stderr)
        refuse_forgeable(judge)
        with (
            VerdictCache() as cache,
            progress("annotate", total, "programs") as bar,
            atomic_writes(annotated, timings) as (rows, times),
        ):
            for row, judgement in annotate(known, read_rows(candidates, Candidate), judge, bar, cache):
                rows.write(to_line(row))
                times.write(json.dumps(timing(row, judgement)) + "\n")
                verdicts[row.verdict] += 1
    return verdicts


def main() -> None:
    """Run as params.yaml says."""
    params = load_params()
    paths = Paths.of(params)
    with tracked(params, "annotate", "annotate") as tracker:
        verdicts = run(params.annotate, paths.problems("train"), paths.candidates, paths.annotated, paths.timings)
        tracker.figures({"programs": verdicts.total(), "verdicts": verdicts})


if __name__ == "__main__":
    run_stage(main)
