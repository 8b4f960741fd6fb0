"""annotate: run every candidate against its problem's tests, and say what it earns.

Reads   assets/datasets/<ds>/train/{problems,candidates}.jsonl
Writes  assets/datasets/<ds>/train/candidates_annotated.jsonl     one row per candidate, in the order of the candidates
        assets/datasets/<ds>/train/timings.jsonl                  measured times, apart from what must repeat
Params  annotate, rewards
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenlit.cluster.judging import judge_of_stage
from greenlit.config import AnnotateParams, RewardsParams, load_params
from greenlit.execution.cache import VerdictCache
from greenlit.execution.cheats.gate import refuse_forgeable
from greenlit.grading import annotate, timing
from greenlit.jsonl import atomic_writes, read_lines, read_rows, to_line
from greenlit.paths import Paths
from greenlit.problems.files import kind_of, read_problems
from greenlit.rewards.judge import require_permitted
from greenlit.rewards.rating import of_candidates, rate, require_rewards
from greenlit.rewards.sample import Rated, Sample
from greenlit.rewards.speed import runs_needed
from greenlit.rewards.statistics import Statistics, tell_faults
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import workers
from greenlit.stage.progress import progress
from greenlit.tracking.runs import tracked
from greenlit.types import Candidate


def run(
    params: AnnotateParams,
    problems: Path,
    candidates: Path,
    annotated: Path,
    timings: Path,
    rewards: RewardsParams | None = None,
) -> dict[str, Any]:
    """Judge all candidates, unless the judge in use can be fooled: rewards come from these verdicts.

    Args:
        rewards: null: the share of the tests alone.

    Returns:
        {"programs", "verdicts": {verdict: count}, "earned": {figure: value}}; what is earned is of the first round,
        where candidates were sampled in rounds
    """
    verdicts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    earned = Statistics()
    total = sum(1 for _ in read_lines(candidates))
    known = read_problems(problems)
    kind = kind_of(known.values())
    weighing = of_candidates(rewards or RewardsParams(), kind)
    require_rewards(kind, weighing)

    def rated(samples: Sequence[Sample]) -> list[Rated]:
        found = rate(samples, weighing)
        kept = [place for place, sample in enumerate(samples) if not sample.chosen]
        earned.add([samples[place] for place in kept], [found[place] for place in kept])
        for one in found:
            faults.update(one.faults)
        return found

    with judge_of_stage(kind, params, workers(), earns=True) as judge:
        print(judge.banner, file=sys.stderr)
        refuse_forgeable(judge)
        with (
            VerdictCache() as cache,
            progress("annotate", total, "programs") as bar,
            atomic_writes(annotated, timings) as (rows, times),
        ):
            source = read_rows(candidates, Candidate)
            for row, judgement in annotate(known, source, judge, bar, cache, rated, runs_needed(weighing)):
                rows.write(to_line(row))
                times.write(json.dumps(timing(row, judgement)) + "\n")
                verdicts[row.verdict] += 1
    tell_faults(faults, total)
    return {"programs": verdicts.total(), "verdicts": verdicts, "earned": earned.figures()}


def main() -> None:
    """Run as params.yaml says."""
    params = load_params()
    require_permitted(params.rewards, params.dataset.name)
    paths = Paths.of(params)
    with tracked(params, "annotate", "annotate", "rewards") as tracker:
        files = (paths.problems("train"), paths.candidates, paths.annotated, paths.timings)
        tracker.figures(run(params.annotate, *files, params.rewards))


if __name__ == "__main__":
    run_stage(main)
