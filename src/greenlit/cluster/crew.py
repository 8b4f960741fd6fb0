"""Workers on a Ray cluster: shards out, results in, the dead replaced.

A shard goes to one member at a time. When that dies (its process, its node, its memory), what it had is tried again by
another one, on another node where there is one; the shard it was at is given up after `TRIES`. A result is taken in
whole or not at all, so nothing is there twice and nothing by half. The members end with the iterator that uses them,
and with this process whatever ends it.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from greenlit.cluster import session
from greenlit.cluster.member import Place, code_version
from greenlit.errors import ConfigError, GreenlitError, WorldError
from greenlit.stage.faults import GO_ON, first_line
from greenlit.stage.stopping import told_apart

TRIES = 3
_LOOK_EVERY_S = 1.0
"""So that a signal is heard, and a place that never comes is noticed."""
_DECIDING = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
"""Packages whose versions can change what is sampled, beside the processor."""

_unlike: dict[str, dict[str, Any]] = {}
"""Facts of machines that worked for this process, and compute with something else than this one."""

Opening = Callable[[Any, Place], Generator[Any, Any, None]]
"""(actor, its place) -> the calls that make it ready, each with what it answered."""


def nodes_unlike_here() -> list[dict[str, Any]]:
    """For manifests: what the nodes that worked for this process compute with, where that can change a result."""
    return [_unlike[machine] for machine in sorted(_unlike)]


def _deciding(facts: dict[str, Any]) -> dict[str, Any]:
    packages = {name: facts["packages"][name] for name in _DECIDING}
    return {"processor": facts["processor"], "gpus": facts["gpus"], **packages}


@dataclass
class _Shard:
    number: int
    work: Any
    tries: int = 0
    shuns: set[str] = field(default_factory=set)
    """Nodes on which a member died of it."""


@dataclass
class _Hand:
    """A member, and what it has to do."""

    actor: Any
    opening: Any
    """The call it is to answer before it is ready."""
    steps: Generator[Any, Any, None] | None = None
    """The calls after that."""
    place: Place | None = None
    ready: bool = False
    shards: deque[tuple[Any, _Shard]] = field(default_factory=deque)
    """Calls and their shards, the one that it is at first."""

    @property
    def waits_for(self) -> Any:
        """The call that is answered next; None: it is idle."""
        return self.shards[0][0] if self.shards else None if self.ready else self.opening


class Crew:
    """Up to `size` members of one kind."""

    def __init__(self, kind: type, size: int, opening: Opening, gpus: float = 0.0, depth: int = 1) -> None:
        """
        Args:
            kind: a `Member` with a method `shard`.
            opening: makes a new member ready.
            depth: shards a member holds at most, so that it need not wait for the next one.
        """
        import ray

        self._actors = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)(kind)
        self._size, self._opening, self._depth = size, opening, depth
        self._hands: list[_Hand] = []
        self._todo: deque[_Shard] = deque()
        self._open: dict[int, _Shard] = {}
        self._stillborn = 0
        self._heard = time.monotonic()
        self._told: set[str] = set()

    def spread(self, shards: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Yield (number of the shard, its result) as they come; takes in a bounded number of shards ahead.

        Raises:
            WorldError: a shard, or members at their start, died too often; or there is no place for any member.
            Exception: whatever a member raised.
        """
        source, next_number, more = iter(shards), 0, True
        ahead = self._size * (self._depth + 1)
        try:
            while True:
                while more and next_number - next(iter(self._open), next_number) < ahead:
                    try:
                        shard = _Shard(next_number, next(source))
                    except StopIteration:
                        more = False
                    else:
                        self._todo.append(shard)
                        self._open[next_number] = shard
                        next_number += 1
                if not self._open:
                    return
                with told_apart():
                    self._staff()
                    self._hand_out()
                yield from self._finished()
        finally:
            self.close()

    def close(self) -> None:
        """End the members, at once."""
        hands, self._hands = self._hands, []
        for hand in hands:
            _end(hand)

    def _staff(self) -> None:
        """A member for every shard that none would take, as far as allowed."""
        idle = sum(not hand.shards for hand in self._hands)
        while idle < len(self._todo) and len(self._hands) < self._size:
            actor = self._actors.remote()
            self._hands.append(_Hand(actor, actor.place.remote()))
            idle += 1

    def _hand_out(self) -> None:
        for hand in sorted((one for one in self._hands if one.ready), key=lambda one: len(one.shards)):
            while len(hand.shards) < self._depth and (shard := self._next_for(hand)) is not None:
                hand.shards.append((hand.actor.shard.remote(shard.work), shard))

    def _next_for(self, hand: _Hand) -> _Shard | None:
        """The first shard that did not bring a member of this node down; any, where there is no other node."""
        assert hand.place is not None
        nodes = {one.place.node for one in self._hands if one.place is not None}
        for shard in self._todo:
            if hand.place.node not in shard.shuns or nodes <= shard.shuns:
                self._todo.remove(shard)
                return shard
        return None

    def _finished(self) -> Iterator[tuple[int, Any]]:
        """Wait for members to answer; yield what is done."""
        import ray

        waited = {hand.waits_for: hand for hand in self._hands if hand.waits_for is not None}
        with told_apart():
            answered, _ = ray.wait(list(waited), num_returns=1, timeout=_LOOK_EVERY_S)
        if not answered:
            self._require_place()
            return
        self._heard = time.monotonic()
        for call in ray.wait(list(waited), num_returns=len(waited), timeout=0)[0]:
            hand = waited[call]
            try:
                with told_apart():
                    answer = ray.get(call)
            except ray.exceptions.RayTaskError as fault:
                raise _ours(fault, hand.place) from None
            except ray.exceptions.RuntimeEnvSetupError as fault:
                raise WorldError(
                    f"Ray could not bring Greenlit's code to a node ({first_line(fault)})",
                    hint="the nodes need the same requirements.lock, ray[default] among it, and room on the disk",
                ) from None
            except ray.exceptions.RayError as fault:
                self._lost(hand, fault)
                continue
            if hand.shards:
                _, shard = hand.shards.popleft()
                del self._open[shard.number]
                yield shard.number, answer
            else:
                self._advance(hand, answer)

    def _advance(self, hand: _Hand, answer: Any) -> None:
        """The next step towards being ready."""
        if hand.steps is None:
            hand.place, answer = answer, None
            self._compare(hand.place)
            hand.steps = self._opening(hand.actor, hand.place)
        try:
            hand.opening = hand.steps.send(answer)
        except StopIteration:
            hand.ready = True
        except GreenlitError as fault:
            raise _named(fault, hand.place.node) from None

    def _compare(self, place: Place) -> None:
        """Does a node compute with what this machine would?

        Raises:
            ConfigError: it runs other code.
        """
        from greenlit.stage.hardware import facts

        if place.node in self._told:
            return
        self._told.add(place.node)
        if place.code != code_version():
            raise ConfigError(
                f"node {place.node}: runs another version of Greenlit's code",
                hint="Ray was started by this process without it: call greenlit first, or install it on the nodes",
            )
        here, there = _deciding(facts()), _deciding(place.facts)
        if here == there:
            return
        _unlike[place.machine] = place.facts
        unlike = [f"{name} {there[name]} (here {here[name]})" for name in here if there[name] != here[name]]
        print(f"warning: node {place.node}: {', '.join(unlike)}: results may differ", file=sys.stderr)

    def _lost(self, hand: _Hand, fault: Exception) -> None:
        """A member died: what it had is for others."""
        self._hands.remove(hand)
        _end(hand)
        where, why = hand.place.node if hand.place else "unknown", first_line(fault)
        print(f"warning: node {where}: a worker died ({why}); trying again", file=sys.stderr)
        shards = [shard for _, shard in hand.shards]
        if shards:
            shards[0].tries += 1
            shards[0].shuns.add(where)
        else:
            self._stillborn += 1
        self._todo.extendleft(reversed(shards))
        if (shards and shards[0].tries >= TRIES) or self._stillborn > TRIES + self._size:
            raise WorldError(
                f"workers on the cluster died {TRIES} times of the same work, last on node {where} ({why})"
                if shards
                else f"workers on the cluster die at their start, last on node {where} ({why})",
                hint=f"most likely for lack of memory: lower batch_size, batch_tokens or {session.WORKERS}; {GO_ON}",
            )

    def _require_place(self) -> None:
        patience_s = session.patience_s()
        if not any(hand.place for hand in self._hands) and time.monotonic() - self._heard > patience_s:
            raise WorldError(
                f"the cluster had no place for a worker in {patience_s:g} s ({session.WAIT_S})",
                hint=f"`ray status` says what uses it; {GO_ON}",
            )


def _end(hand: _Hand) -> None:
    import ray

    with suppress(Exception):  # Ray raises many things where the cluster is gone, and the member with it
        ray.kill(hand.actor, no_restart=True)


def _ours(fault: Any, place: Place | None) -> BaseException:
    """What a member raised, with the name of its node."""
    cause = fault.cause if isinstance(fault.cause, BaseException) else fault
    if isinstance(cause, GreenlitError):
        return _named(cause, place.node) if place else cause
    cause.add_note(f"On node {place.node if place else 'unknown'}:\n{fault}")
    return cause


def _named(fault: GreenlitError, node: str) -> GreenlitError:
    return type(fault)(f"node {node}: {fault.args[0]}", hint=fault.hint)
