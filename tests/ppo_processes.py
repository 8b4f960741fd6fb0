"""A small PPO training for test_ppo_processes.py; under torchrun, each process has its share of the same batch.

python tests/ppo_processes.py MODEL FOLDER COMPLETIONS_PER_PROCESS
"""

import os
import sys
from pathlib import Path

from greenlit.config import LoraParams, PpoParams
from greenlit.jsonl import write_json
from greenlit.training.ppo.loop import train_ppo

ROWS = [{"prompt": f"q{i}\n", "task_id": f"t{i}"} for i in range(6)]


class Letters:
    """Share of small letters; unknown for what holds a digit; measures how many it has seen."""

    def __call__(self, *, completions, **_) -> list[float | None]:
        self.seen = len(completions)
        scores = [sum("a" <= letter <= "z" for letter in text) / 4 for text in completions]
        return [None if any(map(str.isdigit, text)) else score for text, score in zip(completions, scores, strict=True)]

    def measured(self) -> dict[str, float]:
        return {"seen": self.seen}


def main() -> None:
    model, folder, share = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    params = PpoParams(
        method="ppo", reads="problems.jsonl", start="base", learning_rate=1e-2, batch_size=share, group_size=2,
        minibatch_size=share // 2, accumulate=2, max_new_tokens=4, max_length=64, max_steps=3, epochs=10.0, beta=0.05,
        kl="adaptive", curriculum="easy_first", lora=LoraParams(r=4, alpha=8), entropy_coef=0.01, eval_rows=2,
        eval_steps=2,
    )  # fmt: skip
    rows: list[dict[str, float]] = []
    (folder / "work").mkdir(parents=True, exist_ok=True)
    facts = train_ppo(
        params, ROWS, ROWS[:3], model, folder / "work", folder / "adapter", 0,
        lambda step, metrics: rows.append({"step": step, **metrics}), Letters(),
        lambda step, metrics: "enough" if step == 3 and "loss" in metrics else None,
    )  # fmt: skip
    write_json(folder / f"process_{os.environ.get('RANK', '0')}.json", {"facts": facts, "rows": rows})


if __name__ == "__main__":
    main()
