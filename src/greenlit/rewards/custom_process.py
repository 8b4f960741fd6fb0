"""The process in which a reward of the user's runs: `python -m greenlit.rewards.custom_process path.py function`.

Reads batches (columns by name, as JSON lines) from standard input and answers on what was standard output; what the
function prints goes to standard error. Ends with its parent.
"""

import importlib.util
import inspect
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Load, say so, and answer batch after batch."""
    path, name = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    batches: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(batches,), daemon=True).start()
    try:
        function = loaded(Path(path), name)
    except Exception as error:  # whatever the user's file raises, its user is to be told
        _say(answers, {"fault": described(error)})
        return
    _say(answers, {})
    while True:
        _say(answers, answered(function, json.loads(batches.get())))


def _read(batches: "queue.Queue[str]") -> None:
    """Also while the function computes: only so do we notice that nobody waits for it any more."""
    for line in sys.stdin:
        batches.put(line)
    os._exit(0)


def _say(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def loaded(path: Path, name: str) -> Callable[..., Any]:
    """The function of this name in this file.

    Raises:
        LookupError, TypeError: there is none, or it is no function; and whatever the file raises.
    """
    spec = importlib.util.spec_from_file_location(f"custom_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise LookupError("no Python file")
    sys.path.insert(0, str(path.parent.resolve()))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if function is None:
        raise LookupError(f"the file has no {name}")
    if not callable(function):
        raise TypeError(f"{name} is no function but {type(function).__name__}")
    return function


def answered(function: Callable[..., Any], batch: dict[str, list[Any]]) -> dict[str, Any]:
    """What it returns for a batch, as far as JSON can say it; or what it raised."""
    try:
        values = function(**asked_for(function, batch))
        if not isinstance(values, list | tuple) and hasattr(values, "tolist"):
            values = values.tolist()  # an array, a tensor
    except Exception as error:  # the training must go on
        return {"raised": described(error)}
    listed = [_plain(value) for value in values] if isinstance(values, list | tuple) else None
    return {"values": listed, "type": type(values).__name__}


def asked_for(function: Callable[..., Any], batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns that the function names; all of them, if it takes `**`."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return batch
    return {name: column for name, column in batch.items() if name in parameters}


def _plain(value: Any) -> Any:
    """A number, None, or text about what it is instead."""
    if value is None or isinstance(value, int | float):
        return value
    try:
        return float(value) if hasattr(value, "item") else repr(value)  # a number of numpy's or torch's
    except (TypeError, ValueError):
        return repr(value)


def described(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero (mine.py:3)`."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {error}{place}"[:300]


if __name__ == "__main__":
    main()
