"""merge: start model + adapter → one model directory that computes the same.

Reads   methods.<m>.start, results/<e>/<m>/adapter/, assets/datasets/<ds>/validation/problems.jsonl (real prompts)
Writes  results/<e>/<m>/merged/        safetensors, tokenizer, chat template, model card, greenlit.json
Params  methods.<m>
"""

import itertools
from pathlib import Path
from typing import Any

from greenlit.config import DpoParams, SftParams, load_params_and_method, method_of
from greenlit.errors import DataError, MismatchError
from greenlit.jsonl import read_json, read_rows, write_json
from greenlit.merging.lora import merge
from greenlit.merging.model_card import model_card
from greenlit.models import load_tokenizer, resolve, weights_sha256
from greenlit.paths import Paths
from greenlit.problems.prompts import has_chat_template, render
from greenlit.stage.entry import run_stage
from greenlit.stage.hardware import limit_threads, made_with, quiet_libraries
from greenlit.stage.workspace import atomic_folder
from greenlit.tracking.runs import tracked
from greenlit.types import Problem

PROMPTS = 16


def run(params: DpoParams | SftParams, name: str, seed: int, paths: Paths) -> dict[str, Any]:
    """Merge one method's adapter, and prove that nothing was lost; returns what the proof measured."""
    folder = paths.method(name)
    start = resolve(Path(params.start))
    start_sha256 = weights_sha256(start)
    mark = folder / "adapter" / "start.sha256"
    if not mark.exists():
        raise DataError(f"{mark}: no such file: no adapter of ours", hint=f"dvc repro train@{name}")
    trained_from = mark.read_text().strip()
    if trained_from != start_sha256:
        raise MismatchError(
            f"{folder}/adapter: trained from another model than {params.start} "
            f"(sha256 {trained_from[:12]}, expected {start_sha256[:12]})",
            hint=f"dvc repro train@{name}",
        )
    chat = has_chat_template(load_tokenizer(start))
    file = paths.problems("validation")
    prompts = [render(problem, chat) for problem in itertools.islice(read_rows(file, Problem), PROMPTS)]
    if not prompts:
        raise DataError(f"{file}: no problems in it, and the merged model is compared on real prompts")
    with atomic_folder(folder / "merged") as out:
        result = merge(start, folder / "adapter", out, prompts)
        manifest = {
            "weights_sha256": weights_sha256(out),
            "start": params.start,
            "start_sha256": start_sha256,
            "method": params.model_dump(),
            "training": read_json(folder / "metrics.json"),
            "merge": result,
            "made_with": made_with(seed),
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
        tracker.figures(run(method_of(params, name), name, params.seed, paths))
        tracker.file(paths.method(name) / "merged" / "greenlit.json")
        tracker.file(paths.method(name) / "merged" / "README.md")


if __name__ == "__main__":
    run_stage(main, "--method")
