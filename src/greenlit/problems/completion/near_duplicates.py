"""Files that mostly repeat another one: vendored copies, forks, files that differ in a header or a version number.

Compared are windows of lines, without blank lines, comments and the blanks around a line. A file repeats another one if

    at least half of its windows stand in that one, or
    all windows of its held-back text stand in that one, or of that one's in it

The last is what a leak between train and test would be: the answer to one problem in the head of another.
"""

import hashlib
from collections import Counter

WINDOW = 3
"""Lines."""
SHARE = 0.5


class Seen:
    """What was kept so far. Memory grows with the lines of the files: 8 bytes and a reference to the file for each."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._where: dict[bytes, list[int]] = {}
        """Window -> the files that it stands in."""
        self._answers: dict[bytes, list[tuple[int, frozenset[bytes]]]] = {}
        """The least window of a held-back text -> its file, and all its windows."""

    def repeated(self, content: str, held_back: str) -> str | None:
        """The name of a file before, which this one repeats."""
        own, answer = _windows(content), _windows(held_back)
        shared = Counter(file for window in own for file in self._where.get(window, ()))
        for file, count in shared.most_common(1):
            if count >= SHARE * len(own):
                return self._names[file]
        of_answer = Counter(file for window in answer for file in self._where.get(window, ()))
        for file, count in of_answer.most_common(1):
            if count == len(answer):
                return self._names[file]
        others = (other for window in own for other in self._answers.get(window, ()))
        return next((self._names[file] for file, windows in others if windows <= own), None)

    def add(self, name: str, content: str, held_back: str) -> None:
        """Remember a file."""
        file = len(self._names)
        self._names.append(name)
        for window in _windows(content):
            self._where.setdefault(window, []).append(file)
        if answer := _windows(held_back):
            self._answers.setdefault(min(answer), []).append((file, frozenset(answer)))


def _windows(text: str) -> set[bytes]:
    """Hashes of its windows; of a shorter text the one of all its lines."""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith(("#", "//", "*", "/*"))]
    size = min(WINDOW, len(lines))
    windows = (lines[start : start + size] for start in range(len(lines) - size + 1)) if lines else ()
    return {hashlib.blake2b("\n".join(one).encode("utf-8", "surrogatepass"), digest_size=8).digest() for one in windows}
