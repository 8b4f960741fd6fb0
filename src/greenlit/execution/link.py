"""What the main process and its workers share: messages over a socket, and which problems a worker remembers.

A message is four bytes of length and JSON. Nothing here judges, so the main process loads no judge.
"""

import json
import socket
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

KNOWN_PROBLEMS = 256


class Link:
    """Messages over a stream socket, without waiting: what cannot be written yet is kept."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        stream.setblocking(False)
        self.received = bytearray()
        self.unsent = bytearray()

    def fileno(self) -> int:
        return self.stream.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message; `flush` sends it."""
        content = json.dumps(message).encode()
        self.unsent += len(content).to_bytes(4, "big") + content

    def flush(self) -> bool:
        """Write what the other side takes; False when some is left.

        Raises:
            OSError: there is no other side.
        """
        while self.unsent:
            try:
                del self.unsent[: self.stream.send(self.unsent)]
            except BlockingIOError:
                return False
        return True

    def messages(self) -> Iterator[dict[str, Any]]:
        """What has come in whole.

        Raises:
            EOFError: the other side has gone.
        """
        gone = False
        while not gone:
            try:
                part = self.stream.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                part = b""
            gone = not part
            self.received += part
        at = 0
        while len(self.received) - at >= 4:
            end = at + 4 + int.from_bytes(self.received[at : at + 4], "big")
            if end > len(self.received):
                break
            yield json.loads(self.received[at + 4 : end])
            at = end
        del self.received[:at]
        if gone:
            raise EOFError


class Recent(OrderedDict[str, Any]):
    """The problems a worker remembers. The main process keeps one for each worker, so both forget the same ones."""

    def keep(self, key: str, value: Any) -> None:
        """Remember, and forget the one not used for longest."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > KNOWN_PROBLEMS:
            self.popitem(last=False)
