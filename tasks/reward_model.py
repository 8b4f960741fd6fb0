"""reward_model: a reward learned from preference pairs.

Reads   reward_models.<r>.reads, reward_models.<r>.start
Writes  results/<e>/reward_models/<r>/model/         one model directory, an adapter merged; reward.json: its scale
        results/<e>/reward_models/<r>/metrics.json   accuracy on pairs held out, beside what length alone achieves
        results/<e>/reward_models/<r>/logs/          training_log.{jsonl,txt}, eval_log.jsonl, eval_results.json,
                                                     training.png
        results/<e>/reward_models/<r>/config.yaml    resolved settings, hashes of what was read and started from
Params  seed, reward_models.<r>
"""

from contextlib import AbstractContextManager
from pathlib import Path

from greenlit.config import load_params_and_reward_model
from greenlit.paths import Paths
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import limit_threads, quiet_libraries
from greenlit.tracking.runs import Run, tracked
from greenlit.training.reward_model import make_reward_model


def main() -> None:
    """Run as params.yaml says."""
    params, name = load_params_and_reward_model(__doc__)
    quiet_libraries()
    limit_threads(1)

    def open_run(work: Path) -> AbstractContextManager[Run]:
        return tracked(params, "reward_model", "reward_models", method=name, work=work, live=True)

    settings = params.reward_models[name]
    record = {"experiment": params.experiment, "name": name, "seed": params.seed, **settings.model_dump()}
    make_reward_model(settings, record, params.seed, Paths.of(params).reward_model(name), open_run)


if __name__ == "__main__":
    run_stage(main, "--name")
