"""The model card of a version: what it learned from, how, its figures with intervals, and what nobody knows of it.

Its head is the hub's, https://huggingface.co/docs/hub/model-cards, so that the hub shows the figures.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from greenlit.config import Params
from greenlit.evaluation.markdown import table
from greenlit.evaluation.report import change_text, figure_text


def version_card(
    params: Params, name: str, summary: Mapping[str, Any], audit: Mapping[str, Any], tags: Mapping[str, str]
) -> str:
    """The README.md of a version.

    Args:
        name: of the method.
        summary: results/reports/<experiment>_summary.json.
        audit: audit.json of the problems.
        tags: of the version.
    """
    parts = [
        f"---\n{_head(params, name, summary)}---",
        f"# {params.experiment}/{name}",
        f"Trained by Greenlit with {params.methods[name].method.upper()} from "
        f"`{params.methods[name].start}` (base model: `{params.base.model}`), on `{params.methods[name].reads}`.",
        "## Figures",
        f"Test problems of `{params.dataset.name}`, measured by {tags['measured_by']}. Brackets are intervals of "
        f"{params.evaluate.confidence:.0%} confidence, by bootstrap over problems; the difference is paired.",
        _figures(summary, name),
        "## Training data",
        _data(params, audit),
        "## Limits",
        *_limits(params, summary, audit),
        "## Use",
        "The model writes programs. Run what it writes in a sandbox.",
        f"```python\nimport mlflow\nimport pandas\n\n"
        f"model = mlflow.pyfunc.load_model('models:/{params.registration.model}@champion')\n"
        "model.predict(pandas.DataFrame({'prompt': ['def add(a, b):']}), params={'max_new_tokens': 64})\n```",
        "## Settings",
        f"```yaml\n{yaml.safe_dump(params.methods[name].model_dump(mode='json'), sort_keys=False).rstrip()}\n```",
        _origin(tags),
    ]
    return "\n\n".join(parts) + "\n"


def _head(params: Params, name: str, summary: Mapping[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=params.dataset.name,
            dataset_name=f"{params.dataset.name}, test",
            metric_type=metric,
            metric_value=round(found["value"], 6),
        )
        for metric, found in summary["after_test"][name].items()
        if found["value"] is not None
    ]
    at_the_hub = "/" in params.base.model and not params.base.model.startswith((".", "/"))
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["greenlit", params.methods[name].method],
        base_model=params.base.model if at_the_hub else None,
        model_name=f"{params.experiment}-{name}",
        eval_results=results,
    )
    return f"{data.to_yaml()}\n"


def _figures(summary: Mapping[str, Any], name: str) -> str:
    before, after, delta = summary["baseline_test"], summary["after_test"][name], summary["delta"][name]
    rows = [
        (
            metric,
            figure_text(before[metric]),
            figure_text(after[metric]),
            change_text(delta[metric]),
            str(delta[metric]["n"]),
        )
        for metric in after
    ]
    return table(("figure", "before", "after", "difference", "n"), rows)


def _data(params: Params, audit: Mapping[str, Any]) -> str:
    revision = f", revision `{params.dataset.revision}`" if params.dataset.revision else ""
    kept = ", ".join(f"{count} {split}" for split, count in audit["kept"].items())
    dropped = sum(audit.get("dropped_by_reason", {}).values())
    quarantined = sum(audit.get("quarantined_by_split", {}).values())
    removed = audit.get("leaks", {}).get("removed_from", {})
    return (
        f"Dataset `{params.dataset.name}`{revision}: {kept} problems; {dropped} records dropped, {quarantined} "
        f"quarantined by the oracle audit, {sum(removed.values())} removed because they repeat what is measured on."
    )


def _limits(params: Params, summary: Mapping[str, Any], audit: Mapping[str, Any]) -> list[str]:
    lines = [
        "The figures hold for problems like these, prompts like these and this way of sampling.",
        "What the base model had seen before is not known.",
        f"Programs ran at the sandbox level `{summary['sandbox_level']}`."
        + (" Limits, without a jail." if summary["sandbox_level"] == "portable" else ""),
        *(f"Not checked for leaks: {what}." for what in audit.get("leaks", {}).get("not_checked", ())),
        "How often its test set had been looked at stands on the version in the registry, as `test_looks`.",
    ]
    return ["\n".join(f"- {line}" for line in lines)]


def _origin(tags: Mapping[str, str]) -> str:
    hashes = "\n".join(f"- {key}: `{value}`" for key, value in sorted(tags.items()) if key.endswith("_sha256"))
    return f"## Origin\n\n- git commit: `{tags['git_commit']}`\n- seed: {tags['seed']}\n{hashes}"
