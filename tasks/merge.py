"""merge: start model + adapter → one model directory that computes the same.

Reads   methods.<m>.start, results/<e>/<m>/adapter/, assets/datasets/<ds>/validation/problems.jsonl (real prompts)
Writes  results/<e>/<m>/merged/        safetensors, tokenizer, chat template, model card, greenlit.json
Params  methods.<m>
"""

import itertools
from pathlib import Path
from typing import Any

from greenlit.config import DpoParams, SftParams, load_params_and_method, method_of
from greenlit.entry import run_stage
from greenlit.errors import MismatchError
from greenlit.hardware import facts, limit_threads, quiet_libraries
from greenlit.jsonl import read_json, read_rows, write_json
from greenlit.models import load_tokenizer, resolve, weights_sha256
from greenlit.paths import Paths
from greenlit.problems.prompts import has_chat_template, render
from greenlit.tracking.runs import tracked
from greenlit.training.lora import merge
from greenlit.training.model_card import model_card
from greenlit.types import Problem
from greenlit.workspace import atomic_folder

PROMPTS = 16


def run(params: DpoParams | SftParams, name: str, paths: Paths) -> dict[str, Any]:
    """Merge one method's adapter, and prove that nothing was lost; returns what the proof measured."""
    folder = paths.method(name)
    start = resolve(Path(params.start))
    start_sha256 = weights_sha256(start)
    trained_from = (folder / "adapter" / "start.sha256").read_text().strip()
    if trained_from != start_sha256:
        raise MismatchError(f"{folder}/adapter: trained from another model than {params.start}", hint="dvc repro train")
    problems = itertools.islice(read_rows(paths.problems("validation"), Problem), PROMPTS)
    chat = has_chat_template(load_tokenizer(start))
    prompts = [render(problem, chat) for problem in problems]
    with atomic_folder(folder / "merged") as out:
        result = merge(start, folder / "adapter", out, prompts)
        manifest = {
            "weights_sha256": weights_sha256(out),
            "start": params.start,
            "start_sha256": start_sha256,
            "method": params.model_dump(),
            "training": read_json(folder / "metrics.json"),
            "merge": result,
            "made_with": facts(),
        }
        write_json(out / "greenlit.json", manifest)
        (out / "README.md").write_text(model_card(name, paths.experiment, manifest), encoding="utf-8")
    return result


def main() -> None:
    """Run as params.yaml says."""
    params, name = load_params_and_method(__doc__)
    quiet_libraries()
    limit_threads(1)
    paths = Paths.of(params)
    with tracked(params, "merge", "methods", method=name) as tracker:
        tracker.figures(run(method_of(params, name), name, paths))
        tracker.file(paths.method(name) / "merged" / "greenlit.json")
        tracker.file(paths.method(name) / "merged" / "README.md")


if __name__ == "__main__":
    run_stage(main)
