"""What happens at every optimizer step besides learning: the JSONL log, the progress bar, the tracker."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from greenlit.jsonl import read_json_lines, write_json

Log = Callable[[int, Mapping[str, float]], None]
"""Called with (step, numeric metrics)."""

_OF_THE_PROCESS = {"num_tokens"}
"""What TRL counts anew in a run that goes on."""


def step_callback(log: Log) -> Any:
    """A transformers TrainerCallback that hands every step's numeric metrics to `log`."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for row in state.log_history:  # of a run that goes on
                self.on_log(args, state, control, {key: row[key] for key in row if key != "step"}, row["step"])

        def on_log(
            self,
            args: Any,
            state: Any,
            control: Any,
            logs: Mapping[str, Any] | None = None,
            step: int | None = None,
            **_: Any,
        ) -> None:
            if logs and "loss" in logs:  # the last call of a run sums it up instead
                metrics = {
                    key: value
                    for key, value in logs.items()
                    if isinstance(value, int | float) and key not in _OF_THE_PROCESS
                }
                log(state.global_step if step is None else step, metrics)

    return Steps()


class TrainingLog:
    """`training_log.jsonl` (every number), `training_log.txt` (to read) and `rewards.json` of one training run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rows = (folder / "training_log.jsonl").open("w", encoding="utf-8")
        self._text = (folder / "training_log.txt").open("w", encoding="utf-8")

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step."""
        rounded = {key: float(f"{metrics[key]:.6g}") for key in sorted(metrics, key=lambda key: (key != "loss", key))}
        self._rows.write(json.dumps({"step": step, **rounded}) + "\n")
        shown_first = [(key, metrics[key]) for key in ("loss", "learning_rate") if key in metrics]
        shown = "  ".join(f"{key} {value:.4g}" for key, value in shown_first)
        accuracy = metrics.get("rewards/accuracies")
        self._text.write(f"step {step}  {shown}{'' if accuracy is None else f'  pair accuracy {accuracy:.3f}'}\n")
        self._rows.flush()
        self._text.flush()

    def write_rewards(self, meaning: str) -> None:
        """`rewards.json`: what the log says of rewards, step by step; no steps where the method has none."""
        steps = [
            {"step": row["step"], **{key.removeprefix("rewards/"): row[key] for key in row if key.startswith("reward")}}
            for _, row in read_json_lines(self._folder / "training_log.jsonl")
        ]
        write_json(self._folder / "rewards.json", {"meaning": meaning, "steps": [row for row in steps if len(row) > 1]})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._text.close()
