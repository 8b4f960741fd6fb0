"""What a judge may cost: requests and tokens of one process, never exceeded."""

import threading

from greenlit.feedback.rubrics import Messages


class Budget:
    """Counts requests and tokens; for several threads.

    A request first reserves the most it can cost, so that requests under way cannot exceed the budget together; what it
    did not use comes back.
    """

    def __init__(self, calls: int, tokens: int) -> None:
        self._most_calls, self._most_tokens = calls, tokens
        self.calls = self.tokens = 0
        self.exhausted = False
        """A request was refused."""
        self._lock = threading.Lock()

    def reserve(self, tokens: int) -> bool:
        """Take what one request costs at most; False when that is no longer there."""
        with self._lock:
            if self.calls + 1 > self._most_calls or self.tokens + tokens > self._most_tokens:
                self.exhausted = True
                return False
            self.calls += 1
            self.tokens += tokens
            return True

    def settle(self, reserved: int, used: int) -> None:
        """The request cost `used` tokens."""
        with self._lock:
            self.tokens += used - reserved


def most_tokens(asked: Messages, max_new_tokens: int) -> int:
    """Upper bound on what a request costs: no tokenizer makes more tokens of a text than it has bytes."""
    size = sum(len(message["content"].encode("utf-8", "replace")) + 16 for message in asked)
    return size + max_new_tokens
