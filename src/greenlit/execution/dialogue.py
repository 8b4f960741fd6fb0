"""Tests with code of their own: a process for the test's code, another for the program, and this between them.

Where a test cannot be split (loops, helpers, random inputs), its code runs in a process that no byte of the candidate
reaches unread: what the program answers is parsed and decoded here, and written anew from what was decoded. So the
script's process holds the expected values and decides, and the program's process can do nothing but answer.

What an answer cannot do
- come unasked, twice, or for another call: that ends the test, which is not passed;
- bring an object that equals everything: objects arrive as `Opaque`;
- keep the script calling for ever: calls and bytes are bounded.

Who is to blame when the script ends badly: after one answer, the candidate, since with a right program it would not
have (references show that). Before any answer, nobody: the result is None.
"""

import json
from collections.abc import Generator
from typing import Any

from greenlit.execution import values
from greenlit.execution.answers import KINDS, missing, reported
from greenlit.execution.findings import (
    NO_START,
    STARTS,
    Fault,
    Findings,
    Limits,
    Outcome,
    outcome,
    requested,
    shown,
)
from greenlit.execution.level import STARVED, Dialogue, Run
from greenlit.execution.plan import TestPlan
from greenlit.execution.scripts import Script

CALLS = 20_000
"""Of one test."""
ROOM = 16
"""What may cross in one dialogue, as a multiple of what one answer may be."""
_OPAQUE = '["o", '
_ENDS = frozenset({"cpu", "exited", "closed", "flood", "memory"})
"""Of a program's process: by its own doing, whoever's turn it was."""


class CallRelay:
    """Hands calls to the program and answers to the script, and remembers how it went."""

    def __init__(self, room: int) -> None:
        """
        Args:
            room: bytes that may cross, both ways together.
        """
        self.room = room
        self.calls = 0
        self.answered = 0
        self.fault: Fault | None = None
        """Decided against the program, whatever the script says."""
        self.raised: Fault | None = None
        """The program's last answer was this exception."""
        self.last: list[Any] | None = None
        """The script's last word."""
        self._objects = False

    @property
    def waits_for_program(self) -> bool:
        """Has the script asked something that is not answered?"""
        return self.calls > self.answered

    def from_script(self, line: bytes) -> bytes | None:
        """A call, checked and passed on; None when the script has ended, or the dialogue may not go on."""
        self.room -= len(line)
        try:
            frame = values.parse(line)
        except values.BadFrame:
            frame = ["error", 0, "", ""]
        if frame[1:2] != ["call"]:
            self.last = frame
            return None
        text = json.dumps(frame[2])
        if _OPAQUE in text and not self._objects:
            self.last = ["refused", "calls the program with something that is no plain value"]
            return None
        if _OPAQUE in text:
            self.fault = Fault("error", "returned something that is no plain value")
        elif self.calls >= CALLS:
            self.fault = Fault("error", f"the test called it more than {CALLS} times")
        elif self.room < 0:
            self.fault = _too_much()
        self.calls += 1
        return None if self.fault else f'[{self.calls - 1}, "call", {text}]'.encode()

    def from_program(self, line: bytes) -> bytes | None:
        """An answer, checked and written anew; None when it is none, which decides the test."""
        self.room -= len(line)
        try:
            if self.room < 0:
                raise _too_much()
            return self._answer(values.parse(line)).encode()
        except Fault as fault:
            self.fault = fault
        except (values.BadFrame, ValueError, TypeError):
            self.fault = Fault("error", "sent something that is no answer")
        return None

    def _answer(self, frame: list[Any]) -> str:
        place, kind, *content = frame
        if place == -1 and not self.answered and len(content) == 2:
            raise reported(kind, content)
        if not self.waits_for_program or isinstance(place, bool) or place != self.answered:
            raise ValueError("not an answer to what was asked")
        if kind == "value" and len(content) == 1:
            _check_answer(values.decode(content[0]))
            text = json.dumps(content[0])
            self._objects = self._objects or _OPAQUE in text
            self.raised = None
            said = f'[{place}, "value", {text}]'
        elif kind in KINDS and len(content) == 2:
            self.raised = reported(kind, content)
            name, message = (values.text_of(text).encode("utf-8", "surrogatepass").hex() for text in content)
            said = f'[{place}, "error", "{name}", "{message}"]'
        else:
            raise ValueError("not an answer")
        self.answered += 1
        return said


def _too_much() -> Fault:
    return Fault("error", "sent more than may cross")


def _check_answer(answer: Any) -> None:
    """(result, None) or (result, (arguments, named arguments))."""
    if type(answer) is tuple and len(answer) == 2:
        changed = answer[1]
        if changed is None:
            return
        if type(changed) is tuple and len(changed) == 2 and type(changed[0]) is list and type(changed[1]) is dict:
            return
    raise ValueError("not an answer")


def judge_script(
    test: TestPlan, code: str, setup: Any, limits: Limits, findings: Findings
) -> Generator[Dialogue, tuple[Run, Run], Outcome]:
    """Judge one test that has code of its own."""
    assert test.script is not None
    for _ in range(STARTS):
        relay = CallRelay(ROOM * 2 * limits.output_bytes)
        script, program = yield _dialogue(test.script, code, setup, limits, relay)
        if script.started and (program.started or relay.last):
            findings.add(program)
            findings.parts_cpu_s.append(program.cpu_s or 0.0)
            return outcome(test, _fault(test.script, relay, script, program))
    return outcome(test, NO_START if not script.started else _unfinished(relay, script, program))


def _dialogue(script: Script, code: str, setup: Any, limits: Limits, relay: CallRelay) -> Dialogue:
    # Well within the wall-clock time, so that a script that an answer makes compute for ever ends by its own clock.
    cpu_s = min(limits.script_cpu_s, limits.wall_s / 2)
    return Dialogue(
        requested(limits, code=script.helpers, setup=setup, steps=(script.step,), cpu_s=cpu_s),
        requested(limits, code=code, setup=script.definitions, entry=script.entry),
        relay,
        relay.room + (1 << 16),
    )


def _fault(test: Script, relay: CallRelay, script: Run, program: Run) -> Fault | None:
    """Why this test is not passed, or None."""
    if relay.fault:
        return relay.fault
    if relay.last is None:
        return _unfinished(relay, script, program)
    kind, *content = relay.last
    if kind == "passed" and relay.answered:
        return None
    if kind == "refused":
        return Fault("unsplittable", content[0])
    line, said = _said(content)
    source = test.line(line)
    if not relay.answered:
        return Fault("infra", f"the test's own code ended before it called the program ({said or source or kind})")
    if kind == "failed":
        return Fault("failed", f"{source} {said}".strip())
    if relay.raised:
        return relay.raised
    return Fault("error", f"{source}: {said}")


def _unfinished(relay: CallRelay, script: Run, program: Run) -> Fault:
    """One of the two was ended, or ended itself."""
    if program.ended in _ENDS or (relay.waits_for_program and program.ended == "wall"):
        return missing(program)
    busy = (script.cpu_s or 0.0) > STARVED * (program.wall_s or 0.0)
    if relay.answered and (script.ended == "cpu" or (program.ended == "wall" and busy)):
        return Fault("timeout", "the test's own code computes too long over its answers")
    return Fault("infra", f"the test's own code did not finish ({script.ended or 'not started'})")


def _said(content: list[Any]) -> tuple[int, str]:
    """Line and message of the script's last word, which is the test's and the relay's, but may quote the candidate."""
    try:
        line, *texts = content
        said = [values.text_of(text) for text in texts]
        return int(line), shown(": ".join(filter(None, said)), str)
    except (ValueError, TypeError):
        return 0, ""
