"""A small project whose `train` is a stand-in that counts steps: what a job does around a stage, without torch."""

import shutil
from pathlib import Path

import sagemaker_server

ROOT = Path(__file__).parent.parent
PARAMS = """\
experiment: small
seed: 0
dataset: {name: file, path: pairs/dpo.jsonl}
base: {model: model}
annotate: {allow_portable: true}
methods:
  dpo: {method: dpo, reads: pairs/dpo.jsonl, start: model, learning_rate: 0.001, max_steps: 12, save_steps: 4}
  sft: {method: sft, reads: pairs/sft.jsonl, start: model, learning_rate: 0.001, max_steps: 6, save_steps: 3}
tracking: {report_to: []}
"""
DVC = """\
stages:
  train:
    foreach: ${methods}
    do:
      cmd: exec python -m tasks.train --method ${key}
      params: [seed, "methods.${key}"]
      deps: ["${item.reads}", "${item.start}", tasks/train.py, src/greenlit/stage]
      outs: ["results/${experiment}/${key}/adapter"]
      metrics: ["results/${experiment}/${key}/metrics.json"]
"""
TRAIN = '''\
"""train: a stand-in that counts steps and keeps its place."""

import json
import os
import sys
import time
from pathlib import Path

from greenlit.config import load_params_and_method
from greenlit.errors import DataError
from greenlit.stage.entry import run_stage
from greenlit.stage.stopping import postponed
from greenlit.stage.workspace import work_dir


def main() -> None:
    params, name = load_params_and_method(__doc__)
    method = params.methods[name]
    if os.environ.get("RANK", "0") != "0":
        print("the other process", flush=True)
        return
    rows = Path(method.reads).read_text()
    if "bad" in rows:
        raise DataError(f"{method.reads}:1: not a pair", hint="mend it")
    inputs = [Path(method.reads), Path(method.start)]
    with work_dir("train", method.model_dump(), inputs) as work, postponed() as stopping:
        place = work / "place"
        done = int(place.read_text()) if place.exists() else 0
        print(f"goes on after {done}", flush=True)
        for step in range(done + 1, method.max_steps + 1):
            time.sleep(0.2 if "slow" in rows else 0.01)
            print(f"PROGRESS train {step}/{method.max_steps} steps", flush=True)
            if step % method.save_steps == 0 or stopping():
                place.write_text(str(step))
                print(f"saved {step}", flush=True)
            if stopping():
                return
        out = Path("results") / params.experiment / name
        (out / "adapter").mkdir(parents=True)
        (out / "adapter/weights").write_bytes(Path(method.start, "weights").read_bytes() + rows.encode())
        names = sorted(os.environ)
        (out / "metrics.json").write_text(json.dumps({"steps": method.max_steps, "variables": names}))


if __name__ == "__main__":
    run_stage(main, "--method")
'''
SETTINGS = f"""\
sagemaker:
  role: {sagemaker_server.ROLE}
  bucket: {sagemaker_server.BUCKET}
  region: {sagemaker_server.REGION}
  instance_type: ml.m5.large
  poll_s: 0.2
  capacity_wait_s: 1.1
  capacity_retries: 2
  max_runtime_minutes: 60
"""


def make_project(folder: Path) -> Path:
    """The project, with greenlit's own code by link."""
    for name, text in {
        "params.yaml": PARAMS, "dvc.yaml": DVC, "settings.yaml": SETTINGS, "tasks/train.py": TRAIN,
        "pairs/dpo.jsonl": "good\n", "pairs/sft.jsonl": "good\n", "model/weights": "w" * 1000,
        "model/config.json": "{}", ".env": "HF_TOKEN=hf_canaryInTheEnvFile\n",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copyfile(ROOT / "tasks/__init__.py", folder / "tasks/__init__.py")
    (folder / "src").symlink_to(ROOT / "src")
    (folder / "docker").symlink_to(ROOT / "docker")
    return folder
