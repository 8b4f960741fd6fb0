"""Tables on disk that a process keeps for itself: what lies there takes no memory, however much it is.

The file is SQLite's own temporary one: in SQLITE_TMPDIR or TMPDIR, and gone with the process, however that ends.
"""

import hashlib
import sqlite3

_CACHE_KIB = 4096


def scratch(*tables: str) -> sqlite3.Connection:
    """An empty database that nobody else sees; a few MiB of it are in memory, the rest on disk.

    Nothing is ever rolled back, so no journal is kept.

    Args:
        tables: each as CREATE TABLE has it.
    """
    file = sqlite3.connect("", isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
        file.execute(f"PRAGMA {pragma}")
    for table in tables:
        file.execute(f"CREATE TABLE {table}")
    file.execute("BEGIN")
    return file


def digest(text: str) -> bytes:
    """16 bytes that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class FirstPlaces:
    """Where each name was seen first; names are not in memory."""

    def __init__(self) -> None:
        self._file = scratch("seen (name BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID")

    def __call__(self, name: str, place: int) -> int:
        """The place where the name was seen first: this one, where it is new."""
        key = digest(name)
        if self._file.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, place)).rowcount == 1:
            return place
        (first,) = self._file.execute("SELECT place FROM seen WHERE name = ?", (key,)).fetchone()
        return int(first)
