"""What happens at every optimizer step besides learning: the JSONL log, the progress bar, the tracker."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from greenlit.jsonl import atomic_write, read_json_lines, write_json
from greenlit.training.curves import draw_curves

Log = Callable[[int, Mapping[str, float]], None]
"""Called with (step, numeric metrics); a measurement on held-out rows comes apart, its metrics named `eval_...`."""

_OF_THE_PROCESS = {"num_tokens", "eval_num_tokens"}
"""What TRL counts anew in a run that goes on."""
_OF_THE_CLOCK = {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}
"""What no promise of repetition covers."""


def step_callback(log: Log) -> Any:
    """A transformers TrainerCallback that hands the numeric metrics of every step and measurement to `log`."""
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
            if logs and ("loss" in logs or is_measurement(logs)):  # the last call of a run sums it up instead
                log(state.global_step if step is None else step, repeatable(logs))

    return Steps()


def measure_callback(every: int | None) -> Any:
    """A transformers TrainerCallback that has held-out rows measured: before the first step (the trainer's own
    `eval_on_start`), every so many steps, and at the end."""
    from transformers import TrainerCallback

    class Measure(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if (every is not None and state.global_step % every == 0) or state.global_step >= state.max_steps:
                control.should_evaluate = True

    return Measure()


def repeatable(logs: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that another run with the same seed logs too."""
    left_out = _OF_THE_PROCESS | _OF_THE_CLOCK
    return {key: value for key, value in logs.items() if isinstance(value, int | float) and key not in left_out}


def is_measurement(metrics: Mapping[str, Any]) -> bool:
    """Are these metrics of held-out rows?"""
    return any(key.startswith("eval_") for key in metrics)


class TrainingLog:
    """The logs of one training run, in one folder; `FILES` says what each is."""

    FILES: ClassVar[Mapping[str, str]] = {
        "training_log.jsonl": "every number of every step",
        "training_log.txt": "the same to read",
        "eval_log.jsonl": "measurements on the rows held out of training; empty where none are",
        "rewards.json": "what the log says of rewards, and what they are",
        "rewards.jsonl": "the same, a line per step; empty where the method has no rewards",
        "training.png": "the curves",
    }

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rows = (folder / "training_log.jsonl").open("w", encoding="utf-8")
        self._text = (folder / "training_log.txt").open("w", encoding="utf-8")
        self._measurements = (folder / "eval_log.jsonl").open("w", encoding="utf-8")

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step, or one measurement."""
        rounded = {key: float(f"{metrics[key]:.6g}") for key in sorted(metrics, key=lambda key: (key != "loss", key))}
        if is_measurement(metrics):
            self._measurements.write(json.dumps({"step": step, **rounded}) + "\n")
            self._measurements.flush()
            return
        self._rows.write(json.dumps({"step": step, **rounded}) + "\n")
        shown_first = [(key, metrics[key]) for key in ("loss", "learning_rate") if key in metrics]
        shown = "  ".join(f"{key} {value:.4g}" for key, value in shown_first)
        accuracy = metrics.get("rewards/accuracies")
        self._text.write(f"step {step}  {shown}{'' if accuracy is None else f'  pair accuracy {accuracy:.3f}'}\n")
        self._rows.flush()
        self._text.flush()

    def write_rewards(self, meaning: str) -> None:
        """`rewards.json` and `rewards.jsonl`: the rewards of the log; no steps where the method has none."""
        steps = [
            {"step": row["step"], **{key.removeprefix("rewards/"): row[key] for key in row if key.startswith("reward")}}
            for row in read_log(self._folder / "training_log.jsonl")
        ]
        steps = [row for row in steps if len(row) > 1]
        write_json(self._folder / "rewards.json", {"meaning": meaning, "steps": steps})
        with atomic_write(self._folder / "rewards.jsonl") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in steps)

    def draw(self) -> None:
        """`training.png`: loss, reward, KL, entropy, length and what else was logged, of held-out rows too."""
        files = {"train": "training_log.jsonl", "eval": "eval_log.jsonl"}
        draw_curves(
            self._folder / "training.png", {name: read_log(self._folder / file) for name, file in files.items()}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._text.close()
        self._measurements.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log in JSON lines."""
    return [row for _, row in read_json_lines(path)]
