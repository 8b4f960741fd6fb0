"""In the candidate's process: run a whole program once for each input, as if it were alone each time.

Every run has a new `__main__`, new files behind descriptors 0 and 1 with new streams over them, and finds what programs
commonly change as the first run found it. What else a run may leave behind is for the judge to notice (stdio.py).
"""

import builtins
import posix
import sys
import time
from collections.abc import Callable
from typing import Any

from greenlit.execution.child_calls import compiled
from greenlit.execution.encoding import TooLarge, encode, error_frame, hexed, send

FILE = "main.py"
"""What a whole program finds in `__file__`; there is none."""
ENVELOPE = 200
"""Room for what is around the bytes of an output."""


def run_programs(spec: dict) -> None:
    """Answer each input by what the program printed and the CPU time it took, the compiler's included in the first."""
    began = time.process_time()
    program = compiled(spec["code"])
    if program is not None:
        files = Files()
        restore = _restorer()
        for index, (_, text) in enumerate(spec["steps"]):
            try:
                printed = _printed(program, text, files, spec["room"] // 2)
                now = time.process_time()
                frame = f'[{index},"value",{encode((printed, now - began), spec["room"] + ENVELOPE)}]\n'
            except SystemExit as error:
                frame = f'[{index},"error","{hexed(error)}",""]\n'
            except BaseException as error:
                frame = error_frame(index, error)
            restore()
            began = time.process_time()
            send(frame)
    posix._exit(0)


REHEARSAL = """
import sys
def main():
    n = int(input())
    items = list(map(int, input().split()))
    rest = [line.strip() for line in sys.stdin]
    print(n + sum(items), *sorted(items), sep=" ")
    sys.stdout.write("%d\\n" % len(rest))
if __name__ == "__main__":
    main()
"""


def rehearse(null: int) -> None:
    """In the zygote: what a run sets up in the interpreter once is done before the fork; then all is as before."""
    streams = {name: getattr(sys, name) for name in ("stdin", "__stdin__", "stdout", "__stdout__")}
    program = compile(REHEARSAL, "<candidate>", "exec", dont_inherit=True)
    files = Files()
    restore = _restorer()
    for _ in range(3):
        encode((_printed(program, "3\n1 2 3\nx\n", files, 1 << 16), 0.5), 1 << 17)
        restore()
    vars(sys).update(streams)
    for number in (0, 1):
        posix.dup2(null, number)
    files.close()


class Files:
    """Two files without a name, behind standard input and output: unlike pipes they have a size."""

    def __init__(self) -> None:
        self.stdin, self.stdout = _file(), _file()
        self._streams = (sys.stdin, sys.stdout)

    def begin(self, content: bytes) -> None:
        """Descriptors 0 and 1, for one run."""
        for number, file in enumerate((self.stdin, self.stdout)):
            posix.ftruncate(file, 0)
            posix.lseek(file, 0, 0)
            posix.dup2(file, number)
        while content:
            content = content[posix.write(self.stdin, content) :]
        posix.lseek(self.stdin, 0, 0)

    def streams(self) -> tuple[Any, Any]:
        """The same as before, at their beginning; new ones where a program has closed, detached or replaced them."""
        try:
            if self._streams == (sys.stdin, sys.stdout):
                for stream in self._streams:
                    stream.seek(0)
                return self._streams
        except (ValueError, OSError):
            pass
        self._streams = (_stream(0), _stream(1))
        return self._streams

    def close(self) -> None:
        """Let go of them."""
        posix.close(self.stdin)
        posix.close(self.stdout)


def _file() -> int:
    return posix.memfd_create("std") if hasattr(posix, "memfd_create") else _unlinked()


def _printed(program: Any, text: str, files: Files, output_bytes: int) -> bytes:
    """One run. SystemExit with a message: it ended with an exit status that is none of success."""
    files.begin(text.encode("utf-8", "surrogatepass"))
    own = files.streams()
    sys.stdin, sys.stdout = sys.__stdin__, sys.__stdout__ = own
    _run(program)
    leave(own[1])
    if posix.fstat(files.stdout).st_size > output_bytes:
        raise TooLarge(f"printed more than {output_bytes >> 10} KiB")
    return posix.pread(files.stdout, output_bytes, 0)


def leave(own: Any = None) -> None:
    """What the interpreter does last: flush, let go of the program's names and the files among them, flush again."""
    for names in ({}, sys.modules["__main__"].__dict__):
        names.clear()
        for stream in (sys.stdout, own):
            _flush(stream)


def _flush(stream: Any) -> None:
    try:
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()
    except ValueError as error:
        if "detached" not in str(error):  # else whoever took its buffer has flushed that
            raise


def _run(program: Any) -> None:
    module = type(sys)("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=FILE)
    sys.modules["__main__"] = module
    try:
        exec(program, module.__dict__)
    except SystemExit as end:
        if end.code is None or end.code == 0:
            return
        status = end.code & 0xFF if isinstance(end.code, int) else 1
        if status:
            raise SystemExit(f"exit status {status}") from None


def _unlinked() -> int:
    fd = posix.open(".std", posix.O_RDWR | posix.O_CREAT | posix.O_EXCL, 0o600)
    posix.unlink(".std")
    return fd


def _stream(fd: int) -> Any:
    """A standard stream as the interpreter makes it in the C locale."""
    import _io

    raw = _io.open(fd, "wb" if fd else "rb", closefd=False)
    stream = _io.TextIOWrapper(raw, "utf-8", "surrogateescape", "\n")
    stream.mode = "w" if fd else "r"
    return stream


def seed() -> None:
    """The same random numbers for every program."""
    for name in ("random", "numpy.random", "sympy.core.random"):
        if name in sys.modules:
            sys.modules[name].seed(0)


def _restorer() -> Callable[[], None]:
    """What puts back what a program may have changed."""
    recursion, digits, path = sys.getrecursionlimit(), sys.get_int_max_str_digits(), list(sys.path)
    folder = posix.getcwd()
    hooks = {name: getattr(sys, name) for name in ("displayhook", "excepthook", "stderr")}

    def restore() -> None:
        sys.setrecursionlimit(recursion)
        sys.set_int_max_str_digits(digits)
        sys.path[:] = path
        sys.argv[:] = ["__main__"]
        vars(sys).update(hooks)
        posix.environ.clear()
        posix.chdir(folder)
        seed()
        if "decimal" in sys.modules:
            sys.modules["decimal"].setcontext(sys.modules["decimal"].DefaultContext.copy())

    return restore
