"""One judge process: reads jobs from its standard input, answers on its standard output, owns one candidate at a time.

A process of its own because it takes in orphans of its candidates, and because whatever a candidate makes the judge do
(decode, compare) must not be able to take the training down. It knows nothing of torch, pydantic or the environment's
secrets, and ends with its candidate when the main process goes away.

A message is four bytes of length and JSON.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from greenlit.execution.portable import Portable, harden_worker
from greenlit.execution.split import Plan, plan_tests
from greenlit.execution.verdicts import Limits, judge

KNOWN_PROBLEMS = 64
REFERENCES = 3


def write_message(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Send one message."""
    content = json.dumps(message).encode()
    stream.write(len(content).to_bytes(4, "big") + content)
    stream.flush()


def read_message(stream: IO[bytes]) -> dict[str, Any] | None:
    """Receive one message; None at the end."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    content = stream.read(int.from_bytes(head, "big"))
    return json.loads(content)


class Recent(OrderedDict[str, Any]):
    """The problems a worker remembers. The main process keeps one for each worker, so both forget the same ones."""

    def keep(self, key: str, value: Any) -> None:
        """Remember, and forget the one not used for longest."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > KNOWN_PROBLEMS:
            self.popitem(last=False)


class _Worker:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.level = Portable(folder, watch=0)
        self.plans = Recent()

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["op"] == "hello":
            return {"notes": self.level.notes}
        plan, references = self._plan(message)
        limits = Limits(**message["limits"])
        if message["op"] == "prepare":
            return {
                "reference_cpu_s": self._reference_cpu_s(plan, references, limits),
                "unsplittable": [f"test {test.index}: {test.refusal}" for test in plan.tests if test.refusal],
            }
        return judge(plan, message["code"], self.level, limits).to_json()

    def _plan(self, message: dict[str, Any]) -> tuple[Plan, list[str]]:
        key = message["key"]
        if "problem" in message:
            problem = json.loads(message["problem"])
            problem["tests"] = [SimpleNamespace(**test) for test in problem["tests"]]
            kept = (plan_tests(SimpleNamespace(**problem)), problem["reference"][:REFERENCES])  # type: ignore[arg-type]
        else:
            kept = self.plans[key]
        self.plans.keep(key, kept)
        return kept

    def _reference_cpu_s(self, plan: Plan, references: list[str], limits: Limits) -> float | None:
        """CPU time of the first reference that passes what can be judged: of its one run, or of its slowest one."""
        for code in references:
            findings = judge(plan, code, self.level, limits)
            judged = [test for test in findings.tests if test.kind != "unsplittable"]
            if judged and all(test.passed for test in judged):
                return max(findings.parts_cpu_s)
        return None


def main() -> None:
    """Serve until standard input ends. Arguments: the folder for the candidates' folders."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    harden_worker()
    try:
        worker = _Worker(folder)
        jobs = os.fdopen(0, "rb", closefd=False)
        while (message := read_message(jobs)) is not None:
            write_message(answers, worker.answer(message))
    except BrokenPipeError:
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # the last worker of a main process that was killed


if __name__ == "__main__":
    main()
