"""Runs inside the candidate's process, as its first code: confines itself, runs the program, sends answers.

Not imported there: `portable.py` compiles this file once and ships the code object, because parsing it anew for each
candidate would cost more than the interpreter's own start. For the same reason it uses modules built into the
interpreter only (no os, json, re).

Nothing here is trusted by the judge: once the candidate's code has run, it may have changed any of it. It holds no
expected values, so the worst a program can do is to send answers of its own choice, which are judged like any others.
"""

import builtins
import posix
import sys
import time

ANSWERS = 4
REQUEST = 3
DEPTH = 100
ITEMS = 200_000
_ITERATORS = frozenset({
    "generator", "map", "filter", "zip", "enumerate", "reversed", "list_iterator", "tuple_iterator", "set_iterator",
    "range_iterator", "str_iterator", "str_ascii_iterator", "dict_keyiterator", "dict_valueiterator",
    "dict_itemiterator", "list_reverseiterator", "chain", "islice", "product", "permutations", "combinations",
    "combinations_with_replacement", "accumulate", "takewhile", "dropwhile", "starmap", "zip_longest", "compress",
    "groupby", "cycle", "count", "repeat", "pairwise", "filterfalse", "longrange_iterator",
})  # fmt: skip


class TooLarge(Exception):
    """The value needs more bytes than may cross, is nested too deeply, or is endless."""


class _Encoder:
    """One value as JSON text, by exact type; see `values.decode` for the other half."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.parts: list[str] = []

    def put(self, text: str) -> None:
        self.room -= len(text)
        if self.room < 0:
            raise TooLarge("returned more than may cross")
        self.parts.append(text)

    def value(self, x: object, depth: int) -> None:
        if depth > DEPTH:
            raise TooLarge("returned a value nested too deeply")
        kind = type(x)
        write = _WRITERS.get(kind)
        if write is None:
            for base in kind.__mro__:
                if base in _WRITERS:
                    write = _WRITERS[base]
                    break
            else:
                write = _OTHERS.get((kind.__module__, kind.__name__), _opaque)
        write(self, x, depth)

    def many(self, tag: str, items: object, depth: int) -> None:
        self.put(f'["{tag}",[')
        for count, item in enumerate(items):  # type: ignore[call-overload]
            if count >= ITEMS:
                raise TooLarge("returned too many items")
            if count:
                self.put(",")
            self.value(item, depth + 1)
        self.put("]]")


def _int(out: _Encoder, x: int, _: int) -> None:
    if int.bit_length(x) > 4 * out.room:
        raise TooLarge("returned a number with too many digits")
    out.put(f'["i","{int.__format__(x, "x")}"]')


def _str(out: _Encoder, x: str, _: int) -> None:
    if 2 * str.__len__(x) > out.room:
        raise TooLarge("returned a text that is too long")
    out.put(f'["s","{str.encode(x, "utf-8", "surrogatepass").hex()}"]')


def _bytes(tag: str) -> object:
    def write(out: _Encoder, x: bytes, _: int) -> None:
        if 2 * len(x) > out.room:
            raise TooLarge("returned bytes that are too long")
        out.put(f'["{tag}","{x.hex()}"]')

    return write


def _dict(out: _Encoder, x: dict, depth: int) -> None:
    out.put('["d",[')
    for count, (key, value) in enumerate(dict.items(x)):
        out.put(",[" if count else "[")
        out.value(key, depth + 1)
        out.put(",")
        out.value(value, depth + 1)
        out.put("]")
    out.put("]]")


def _range(out: _Encoder, x: range, _: int) -> None:
    out.put(f'["r","{x.start:x}","{x.stop:x}","{x.step:x}"]')


def _text(tag: str) -> object:
    """Types whose own text says all: Decimal, Fraction, dates."""

    def write(out: _Encoder, x: object, _: int) -> None:
        out.put(f'["{tag}","{str(x).encode().hex()}"]')

    return write


def _opaque(out: _Encoder, x: object, _: int) -> None:
    """Anything else is no value: the judge learns its type's name and whether it counts as true."""
    name = str(type(x).__name__)[:60].encode("utf-8", "replace").hex()
    out.put(f'["o","{name}",{1 if x else 0}]')


def _items(tag: str) -> object:
    return lambda out, x, depth: out.many(tag, x, depth)


_WRITERS = {
    type(None): lambda out, x, depth: out.put('["n"]'),
    bool: lambda out, x, depth: out.put('["b",1]' if x else '["b",0]'),
    int: _int,
    float: lambda out, x, depth: out.put(f'["f","{float.hex(x)}"]'),
    complex: lambda out, x, depth: out.put(f'["c","{float.hex(x.real)}","{float.hex(x.imag)}"]'),
    str: _str,
    bytes: _bytes("y"),
    bytearray: _bytes("Y"),
    list: lambda out, x, depth: out.many("l", list.__iter__(x), depth),
    tuple: lambda out, x, depth: out.many("t", tuple.__iter__(x), depth),
    set: lambda out, x, depth: out.many("S", set.__iter__(x), depth),
    frozenset: lambda out, x, depth: out.many("F", frozenset.__iter__(x), depth),
    dict: _dict,
    range: _range,
    type({}.keys()): _items("K"),
    type({}.values()): _items("V"),
    type({}.items()): _items("E"),
}
_OTHERS = {
    ("collections", "deque"): _items("q"),
    ("decimal", "Decimal"): _text("D"),
    ("fractions", "Fraction"): _text("Q"),
    ("datetime", "date"): _text("Td"),
    ("datetime", "datetime"): _text("Tt"),
    **{(module, name): _items("I") for name in _ITERATORS for module in ("builtins", "itertools")},
}


def encode(x: object, room: int) -> str:
    """A value as JSON text of at most `room` characters."""
    out = _Encoder(room)
    out.value(x, 0)
    return "".join(out.parts)


def _hexed(text: object, limit: int = 300) -> str:
    return str(text)[:limit].encode("utf-8", "replace").hex()


def _error_frame(index: int, error: BaseException) -> str:
    kind = "error"
    if isinstance(error, MemoryError):
        kind = "memory"
    elif isinstance(error, TooLarge):
        kind = "large"
    try:
        message = _hexed(error)
    except BaseException:
        message = ""
    try:
        name = _hexed(type(error).__name__, 60)
    except BaseException:
        name = ""
    return f'[{index},"{kind}","{name}","{message}"]\n'


def _send(frame: str) -> None:
    data = frame.encode()
    while data:
        data = data[posix.write(ANSWERS, data) :]


def _confine(spec: dict) -> None:
    """Give up root, then take on the limits; everything after this line runs as the candidate will."""
    import resource

    stdlib = sys._stdlib_dir  # type: ignore[attr-defined]
    folders = []
    if spec["uid"]:
        uid = spec["uid"] + (posix.getpid() if spec["uid_per_process"] else 0)
        folders = [path for path in sys.path if not path.endswith(".zip")]
        opened = [posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY) for path in folders]
        posix.chown(spec["folder"], uid, uid)
        posix.chdir(spec["folder"])
        posix.setgroups([])
        posix.setresgid(uid, uid, uid)
        posix.setresuid(uid, uid, uid)
        _keep_stdlib(stdlib, folders, opened)
    else:
        posix.chdir(spec["folder"])
    for name, limit in spec["limits"]:
        which = getattr(resource, name, None)
        if which is None:
            continue
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        try:
            resource.setrlimit(which, (limit, limit))
        except (ValueError, OSError):
            if name not in spec["optional_limits"]:
                raise


def _keep_stdlib(stdlib: str, folders: list[str], opened: list[int]) -> None:
    """Where the interpreter lies in a folder that only root may enter, import through open folders instead.

    /proc/self/fd/N leads straight to the folder, whatever the modes of the folders above it; no capability needed.
    """
    try:
        posix.stat(stdlib + "/os.py")
        readable = True
    except PermissionError:
        readable = False
    if readable:
        for fd in opened:
            posix.close(fd)
        return
    moved = {path: f"/proc/self/fd/{fd}" for path, fd in zip(folders, opened, strict=True)}
    sys.path[:] = [moved.get(path, path) for path in sys.path if path in moved]
    sys.path_importer_cache.clear()
    sys._stdlib_dir = moved.get(stdlib, stdlib)  # type: ignore[attr-defined]
    sys.modules["encodings"].__path__[:] = [sys._stdlib_dir + "/encodings"]  # type: ignore[attr-defined]


def _prepare_builtins(code: str) -> None:
    """What `site` would have added, and a fixed seed where the program uses `random`."""
    builtins.exit = builtins.quit = sys.exit
    posix.environ.clear()
    sys.setrecursionlimit(1010)
    if "random" in code:
        import random

        random.seed(0)


def _resolve(entry: str, names: dict) -> object:
    """The entry point: a name of the program, an expression such as `Solution().f`, or a method of its Solution."""
    if entry in names:
        return names[entry]
    if entry.isidentifier():
        if "Solution" in names and hasattr(names["Solution"], entry):
            return getattr(names["Solution"](), entry)
        raise NameError(f"the program does not define {entry}")
    return eval(entry, names)


def _answer(step: tuple, names: dict, local: dict, room: int) -> str:
    """One step of a test: evaluate and encode, or execute for its effect."""
    kind = step[0]
    if kind == "enter":
        local.clear()
        local.update(names)
        if step[1] is not None:
            local[step[2]] = _resolve(step[1], names)
        return '["n"]'
    if kind == "call":
        return encode(_resolve(step[1], names)(*step[2]), room)  # type: ignore[operator]
    if kind == "exec":
        exec(step[1], local)
        return '["n"]'
    return encode(eval(step[1], local), room)


def _load(spec: dict, names: dict) -> bool:
    """Compile and run the program and the set-up; on failure send why and return False."""
    try:
        program = compile(spec["code"], "<candidate>", "exec", dont_inherit=True)
    except Exception as error:  # whatever the compiler says of a text, MemoryError for deep nesting included
        said = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else error
        _send(f'[-1,"syntax","{_hexed(type(error).__name__)}","{_hexed(said)}"]\n')
        return False
    try:
        exec(program, names)
        if spec["setup"] is not None:
            exec(spec["setup"], names)
    except BaseException as error:
        if spec["stdio"] and isinstance(error, SystemExit):
            raise
        _send(_error_frame(-1, error))
        return False
    return True


def run(spec: dict) -> None:
    """In an interpreter of its own: confine, then serve."""
    posix.close(REQUEST)
    _confine(spec)
    if spec["alarm_s"]:
        import _signal

        _signal.alarm(spec["alarm_s"])
    serve(spec)


def serve_forked(spec: dict) -> None:
    """In a fork of the zygote, which has confined us: serve, then end as an interpreter of our own would."""
    status = 1
    try:
        serve(spec)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        _end(status & 255)


def _end(status: int) -> None:
    """Wait for threads, run what is registered for the exit, flush, exit."""
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        import atexit

        atexit._run_exitfuncs()
        sys.stdout.flush()
    finally:
        posix._exit(status)


def serve(spec: dict) -> None:
    """Say that we are ready, run the program, answer step by step."""
    _prepare_builtins(spec["code"])
    name = "__main__" if spec["stdio"] else "candidate"
    module = type(sys)(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    sys.argv[:] = [name]
    _send(f'["ready",{time.process_time():.6f}]\n')
    if spec["stdio"]:
        _run_program(spec, module.__dict__)
    else:
        _run_steps(spec, module.__dict__)


def _run_program(spec: dict, names: dict) -> None:
    """A whole program: what counts is what it writes; the interpreter ends as it always does, atexit included."""
    if not _load(spec, names):
        sys.exit(1)


def _run_steps(spec: dict, names: dict) -> None:
    if _load(spec, names):
        local: dict = {}
        _answer(("enter", None), names, local, 0)
        for index, step in enumerate(spec["steps"]):
            try:
                frame = f'[{index},"value",{_answer(step, names, local, spec["room"])}]\n'
            except BaseException as error:
                frame = _error_frame(index, error)
            _send(frame)
    posix._exit(0)
