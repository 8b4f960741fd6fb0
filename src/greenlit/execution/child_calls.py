"""In the candidate's process: load the program, evaluate the steps of asserts and calls, answer one by one."""

import posix
import sys
from typing import Any

from greenlit.execution.encoding import encode, error_frame, hexed, send


def compiled(code: Any) -> Any:
    """The program's code object; None, and a word about it, where there is none.

    The judge has compiled small programs already, which is cheaper there (precompiled.py).
    """
    if not isinstance(code, str):
        return code
    try:
        return compile(code, "<candidate>", "exec", dont_inherit=True)
    except Exception as error:  # whatever the compiler says of a text, MemoryError for deep nesting included
        said = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else error
        send(f'[-1,"syntax","{hexed(type(error).__name__)}","{hexed(said)}"]\n')
        return None


def load(spec: dict, names: dict) -> bool:
    """Compile and run the program and the set-up; on failure send why and return False."""
    program = compiled(spec["code"])
    if program is None:
        return False
    try:
        exec(program, names)
        if spec["setup"] is not None:
            exec(spec["setup"], names)
    except BaseException as error:
        if spec["stdio"] and isinstance(error, SystemExit):
            raise
        send(error_frame(-1, error))
        return False
    return True


def resolve(entry: str, names: dict) -> Any:
    """The entry point: a name of the program, an expression such as `Solution().f`, or a method of its Solution."""
    if entry in names:
        return names[entry]
    if entry.isidentifier():
        if "Solution" in names and hasattr(names["Solution"], entry):
            return getattr(names["Solution"](), entry)
        raise NameError(f"the program does not define {entry}")
    return eval(entry, names)


def answer(step: tuple, names: dict, local: dict, room: int) -> str:
    """One step of a test: evaluate and encode, or execute for its effect."""
    kind = step[0]
    if kind == "enter":
        local.clear()
        local.update(names)
        if step[1] is not None:
            local[step[2]] = resolve(step[1], names)
        return '["n"]'
    if kind == "call":
        return encode(resolve(step[1], names)(*step[2]), room)
    if kind == "exec":
        exec(step[1], local)
        return '["n"]'
    return encode(eval(step[1], local), room)


def run_program(spec: dict, names: dict) -> None:
    """A whole program: what counts is what it writes; the interpreter ends as it always does, atexit included."""
    if not load(spec, names):
        sys.exit(1)


def run_steps(spec: dict, names: dict) -> None:
    """All asserts and calls of a problem."""
    if load(spec, names):
        local: dict = {}
        answer(("enter", None), names, local, 0)
        unsent = ""
        for index, step in enumerate(spec["steps"]):
            try:
                frame = f'[{index},"value",{answer(step, names, local, spec["room"])}]\n'
            except BaseException as error:
                frame = error_frame(index, error)
            unsent += frame
            if step[0] != "enter":  # which cannot take long: its frame goes with the next one
                send(unsent)
                unsent = ""
        if unsent:
            send(unsent)
    posix._exit(0)
