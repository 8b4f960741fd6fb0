"""Round after round, the choice between them, and one look at test at the end.

Nothing is remembered between two commands but the copies themselves: a round that is done has nothing left to do there,
and DVC finds that out in seconds. So a command that was stopped or killed goes on when it is given again.
"""

import sys
from collections.abc import Callable
from typing import Any

from greenlit.iterate.choosing import Choice
from greenlit.iterate.plan import Model, Plan, Step
from greenlit.iterate.results import merged_model, on_test, round_rows, rounds_file
from greenlit.jsonl import read_json, write_json
from greenlit.stage.entry import only_one


def follow(plan: Plan, run: Callable[[Step], Any]) -> dict[str, Any]:
    """Run the rounds of a plan, choose one, measure it and the base on test; return the content of the rounds' file.

    The file is written after every round. Test is looked at only if a round is better than the base.

    Args:
        run: runs a step, or raises.

    Raises:
        WorldError: the same rounds are at work already.
        MismatchError: two rounds were measured differently, e.g. at another sandbox level.
    """
    with only_one(f"iterate {plan.name}"):
        choice: Choice | None = None
        steps: list[Step] = []
        models: list[Model | None] = [None]
        while choice is None or _goes_on(plan, choice):
            step = plan.round_step(len(models), models[-1])
            _say(step, f"{step.folder}/, from {models[-1].folder if models[-1] else plan.params.base.model}")
            run(step)
            choice = choice or Choice(read_json(step.evaluation(None)))
            choice.add(read_json(step.evaluation(plan.method)))
            steps.append(step)
            models.append(merged_model(step, len(models), plan.method))
            found = _document(plan, choice, steps, models)
            write_json(rounds_file(plan.name), found)
        found |= {"chosen": choice.best, "ended": "rounds" if len(steps) == plan.rounds else "patience"}
        if choice.best and plan.params.evaluate.test:
            found |= _on_test(plan, run, models[choice.best], choice.metrics, found["test_looks"])
        write_json(rounds_file(plan.name), found)
        return found


def _goes_on(plan: Plan, choice: Choice) -> bool:
    return len(choice.documents) <= plan.rounds and choice.without_gain < plan.patience


def _on_test(
    plan: Plan, run: Callable[[Step], Any], chosen: Model, metrics: list[str], looks: list[str]
) -> dict[str, Any]:
    """The base and the chosen model, measured on test."""
    documents = []
    for model in (None, chosen):
        step = plan.test_step(model)
        _say(step, f"{step.folder}/")
        run(step)
        documents.append(read_json(step.evaluation(None)))
    block = on_test(documents[0], documents[1], metrics)
    return {"test": block, "test_looks": sorted({*looks, chosen.md5})}


def _say(step: Step, where: str) -> None:
    print(f"{step.name}: {where}", file=sys.stderr, flush=True)


def _document(plan: Plan, choice: Choice, steps: list[Step], models: list[Model | None]) -> dict[str, Any]:
    """The rounds so far, nothing chosen yet."""
    file = rounds_file(plan.name)
    return {
        "experiment": plan.name,
        "method": plan.method,
        "seed": plan.params.seed,
        "confidence": plan.params.evaluate.confidence,
        "metric": choice.metrics[0],
        "rounds_asked": plan.rounds,
        "patience": plan.patience,
        "rounds": round_rows(plan, choice, steps, models),
        "chosen": None,
        "ended": None,
        "test": None,
        "test_looks": read_json(file)["test_looks"] if file.exists() else [],
    }
