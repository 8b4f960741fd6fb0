"""A test's code in one process, the program it calls in another: what either does at its end of the line.

Both send lines on descriptor 4, as always, and read lines on descriptor 5; between them stands the judge's relay
(dialogue.py). A call is `[n,"call",(arguments, named arguments)]`, its answer `[n,"value",(result, arguments if the
program changed them)]` or `[n,"error",name,message]`. The script's last word is `["passed"]`, `["failed",line,message]`
or `["error",line,name,message]`.
"""

import builtins
import posix
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from greenlit.execution.child_calls import load, resolve
from greenlit.execution.decoding import NODES, decode, parse, text_of
from greenlit.execution.encoding import encode, error_frame, hexed, send

CALLS = 5
TEST = "<test>"


class ProgramError(Exception):
    """The program raised something that the test's process has no class for."""


def lines() -> Iterator[bytes]:
    """Whole lines from the relay."""
    rest = b""
    while data := posix.read(CALLS, 1 << 16):
        *whole, rest = (rest + data).split(b"\n")
        yield from whole


def serve(spec: dict, names: dict) -> None:
    """The program's side: answer calls until there are no more."""
    if load(spec, names):
        NODES.update({name: names[name] for name in NODES if name in names})
        function: Any = None
        for index, line in enumerate(lines()):
            try:
                given, named = decode(parse(line)[2])
                function = function or resolve(spec["entry"], names)
                before = encode((given, named), spec["room"])
                result = function(*given, **named)
                changed = encode((given, named), spec["room"]) != before
                said = encode((result, (given, named) if changed else None), spec["room"])
                frame = f'[{index},"value",{said}]\n'
            except BaseException as error:
                frame = error_frame(index, error)
            send(frame)
    posix._exit(0)


def run_script(spec: dict, names: dict) -> None:
    """The test's side: helpers and set-up, then the test with a stand-in for the program."""
    if load(spec, names):
        _, test, entry, calls_check = spec["steps"][0]
        NODES.update({name: names[name] for name in NODES if name in names})
        program = _stand_in(spec["room"])
        if entry.isidentifier():
            names[entry] = program
        try:
            exec(test, names)
            if calls_check:
                names["check"](program)
            last = '["passed"]\n'
        except AssertionError as error:
            last = f'["failed",{_line(error)},"{hexed(error)}"]\n'
        except BaseException as error:
            last = f'["error",{_line(error)},"{hexed(type(error).__name__)}","{hexed(error)}"]\n'
        send(last)
    posix._exit(0)


def _line(error: BaseException) -> int:
    """The line of the test that it came from, 0 if from none."""
    line = 0
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == TEST:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _stand_in(room: int) -> Callable[..., Any]:
    """A function that is called as the program's would be."""
    answers = lines()
    count = 0

    def program(*given: Any, **named: Any) -> Any:
        nonlocal count
        send(f'[{count},"call",{encode((list(given), named), room)}]\n')
        count += 1
        answer = parse(next(answers))
        if answer[1] != "value":
            raise _exception(text_of(answer[2]), text_of(answer[3]))
        result, changed = decode(answer[2])
        if changed is not None:
            _change(given, changed[0])
            _change([named[name] for name in changed[1]], list(changed[1].values()))
        return result

    return program


def _exception(name: str, message: str) -> BaseException:
    """As the program raised it, where that is one of Python's own plain exceptions.

    Not StopIteration: `for answer in map(program, inputs)` would end there, and its asserts with it.
    """
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception) and kind not in (StopIteration, StopAsyncIteration):
        try:
            return kind(message)
        except TypeError:
            pass
    return ProgramError(f"{name}: {message}")


def _change(given: Sequence[Any], changed: Sequence[Any]) -> None:
    """Let the caller see what the program did to the objects it was given."""
    for mine, new in zip(given, changed, strict=True):
        if type(mine) is not type(new):
            continue
        if isinstance(mine, list | bytearray):
            mine[:] = new
        elif isinstance(mine, dict | set):
            mine.clear()
            mine.update(new)
        elif type(mine).__name__ in NODES:
            vars(mine).update(vars(new))
        elif type(mine).__name__ == "deque":
            mine.clear()
            mine.extend(new)
