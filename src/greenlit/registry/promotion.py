"""The promotion gate: `champion` moves only to a model that is surely better, by verdicts that can be trusted.

A version becomes champion when
    - the paired difference to the incumbent on the same test problems lies above the margin with its whole interval
      (the first incumbent is the base model it was trained from),
    - both were measured alike: settings, prompts, limits, seed, sandbox level, backend,
    - no known cheat forged a verdict at that level, and
    - nothing it learned from is in the test set.

The decision stands on the version with its numbers, whatever it was; nothing but `rollback` moves the alias otherwise.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from greenlit.errors import DataError, MismatchError
from greenlit.evaluation.compare import compare
from greenlit.evaluation.report import change_text
from greenlit.registry.turns import turn
from greenlit.registry.versions import (
    BASE,
    BEFORE,
    CANDIDATE,
    CHAMPION,
    Version,
    champion_of,
    count_versions,
    evaluations_of,
    find_version,
    read_file,
    versions,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

DECISION, LOOKS, ROLLED_BACK = "decision", "test_looks", "rolled_back"
PROMOTED_BY, BEFORE_IT = "promoted_by", "champion_before"
TEST, REMEASURED_ON, OPEN_LEAKS = "test_sha256", "remeasured_test_sha256", "open_leaks"


@dataclass(frozen=True)
class Decision:
    """What the gate found about one version."""

    version: int
    promoted: bool
    incumbent: str
    """`v3`, or `base`."""
    metric: str
    """What it was about: the first figure of the evaluation."""
    delta: Mapping[str, Any] | None
    """{"value", "low", "high", "n", "p"}: the version minus the incumbent; null where they cannot be compared."""
    margin: float
    looks: int
    """Times that a model was measured on these test problems, this one included."""
    reasons: tuple[str, ...] = ()
    """Why the champion stays; empty when it moved."""
    settled: bool = field(default=True)
    """False while the alias is being moved: a decision that a kill cut short is made again."""

    def sentence(self) -> str:
        """The decision in a line, with its numbers."""
        change = f", {self.metric} {_difference(self.delta)} against {self.incumbent}" if self.delta else ""
        told = f"is champion now{change}" if self.promoted else "; ".join(self.reasons)
        return f"v{self.version}: {told} (look {self.looks} at this test set)"


def decide(
    version: Version,
    after: Sequence[Mapping[str, Any]],
    incumbent: str,
    before: Sequence[Mapping[str, Any]],
    margin: float,
    looks: int,
) -> Decision:
    """Is a version surely better than the incumbent?

    Args:
        after, before: evaluation documents of either; the first two that were made alike are compared.
        incumbent: `v3`, or `base`.
    """
    reasons = list(_doubts(version, after))
    metric, delta = "pass@1", None
    try:
        metric, delta = next(iter(compared(before, after).items()))
    except DataError as fault:
        reasons.append(f"cannot be compared with {incumbent}: {fault.args[0]}")
    if delta is not None and (delta["low"] is None or not delta["low"] > margin):
        reasons.append(f"not surely better than {incumbent}: {metric} {_difference(delta)}, margin {margin:g}")
    return Decision(version.number, not reasons, incumbent, metric, delta, margin, looks, tuple(reasons))


def _difference(delta: Mapping[str, Any]) -> str:
    return f"{change_text(delta)}, n = {delta['n']}"


def _doubts(version: Version, after: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Why figures are not to be trusted, however good they are."""
    for document in list(after)[:1]:
        if document.get("kind", "program") == "program" and not document.get("cheats_stopped"):
            yield "its evaluation does not say that the cheat suite held"
    yield from version.json_tag(OPEN_LEAKS) or ()
    if (back := version.json_tag(ROLLED_BACK)) is not None:
        yield f"it was rolled back ({back['reason']}); `greenlit models promote {version.number}` tries again"


def compared(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The differences, as `compare` gives them, of the first two documents that can be compared.

    Raises:
        DataError: none can; the message is of the first two.
    """
    faults: list[DataError] = []
    for new in after:
        for old in before:
            try:
                _require_same_test(old, new)
                return compare(old, new, "test")
            except DataError as fault:
                faults.append(fault)
    raise faults[0] if faults else DataError("one of them has no evaluation")


def _require_same_test(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    old, new = (document.get("problems_sha256", {}).get("test") for document in (before, after))
    if old != new or old is None:
        raise MismatchError("they were measured on other test problems", hint="--measure measures both on those here")


def run_gate(
    client: "MlflowClient", uri: str, name: str, number: int, margin: float, by_hand: bool = False
) -> Decision:
    """Decide about a version, and move `champion` if it earned it. Who asks again gets the same answer.

    Args:
        number: of the version.
        margin: by which the interval's low end has to beat the incumbent.
        by_hand: somebody asks for it, so that an earlier rollback is no reason against.

    Raises:
        WorldError: somebody else was deciding all the time.
    """
    with turn(client, name, uri):
        known = versions(client, name)
        version = find_version(client, name, str(number))
        client.set_registered_model_alias(name, CANDIDATE, str(known[-1].number))
        champion = champion_of(known)
        made = earlier_decision(version)
        if made is not None and made.promoted and champion is not None and champion.number == number:
            _write(client, name, replace(made, settled=True))
            return made
        if by_hand and ROLLED_BACK in version.tags:
            client.delete_model_version_tag(name, str(number), ROLLED_BACK)
            version.tags.pop(ROLLED_BACK)
        if champion is not None and champion.number != number:
            incumbent, before = champion.label, evaluations_of(client, champion, uri)
        else:
            incumbent = BASE
            before = [json.loads(text) for text in [read_file(version, BEFORE, uri)] if text]
        looks = looks_at(client, version.tags.get(TEST, ""))
        decision = decide(version, evaluations_of(client, version, uri), incumbent, before, margin, looks)
        _write(client, name, replace(decision, settled=not decision.promoted))
        if decision.promoted:
            client.set_model_version_tag(name, str(number), BEFORE_IT, incumbent)
            client.set_registered_model_alias(name, CHAMPION, str(number))
            _write(client, name, decision)
            client.set_model_version_tag(name, str(number), PROMOTED_BY, decision.sentence())
        return decision


def looks_at(client: "MlflowClient", test_sha256: str) -> int:
    """How often these test problems decided about a model here: each look makes the next one worth a little less."""
    if not test_sha256:
        return 0
    return count_versions(client, TEST, test_sha256) + count_versions(client, REMEASURED_ON, test_sha256)


def earlier_decision(version: Version) -> Decision | None:
    """What stands on the version."""
    found = version.json_tag(DECISION)
    if found is None:
        return None
    found.pop("at", None)
    return Decision(**{**found, "reasons": tuple(found["reasons"])})


def _write(client: "MlflowClient", name: str, decision: Decision) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    content = json.dumps({**asdict(decision), "at": at}, sort_keys=True)
    client.set_model_version_tag(name, str(decision.version), DECISION, content)
    client.set_model_version_tag(name, str(decision.version), LOOKS, str(decision.looks))


def rollback(client: "MlflowClient", uri: str, name: str, reason: str) -> tuple[Version, Version | None]:
    """Give the alias back to the champion before this one; to nobody where that was the base model.

    Returns:
        who was champion, and who is now.

    Raises:
        DataError: there is no champion, or nothing is known of the one before.
    """
    with turn(client, name, uri):
        known = versions(client, name)
        now = champion_of(known)
        if now is None:
            raise DataError(f"{name}: has no champion to roll back from", hint="`greenlit models list` shows why")
        before = now.tags.get(BEFORE_IT)
        if before is None:
            raise DataError(
                f"{name} {now.label}: became champion without the gate, so nothing says who was before",
                hint="set the alias in MLflow's pages",
            )
        then = None if before == BASE else find_version(client, name, before)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        said = json.dumps({"to": before, "reason": reason, "at": at})
        client.set_model_version_tag(name, str(now.number), ROLLED_BACK, said)
        if then is None:
            client.delete_registered_model_alias(name, CHAMPION)
        else:
            client.set_registered_model_alias(name, CHAMPION, str(then.number))
        return now, then
