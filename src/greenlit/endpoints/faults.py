"""What went wrong with a model that is asked: each kind told once, all counted."""

import sys
import threading
from collections import Counter

from greenlit.jsonl import one_line
from greenlit.stage.secrets import redacted


class Faults:
    """For several threads."""

    def __init__(self, who: str, consequence: str = "null, not 0") -> None:
        """
        Args:
            who: whose faults they are, as the warning names it.
            consequence: what becomes of the question.
        """
        self._who, self._consequence = who, consequence
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        """Kind of fault -> how often."""

    def tell(self, kind: str, detail: str = "") -> None:
        """Count a fault; the first of its kind is told on stderr, without secrets."""
        with self._lock:
            self.counts[kind] += 1
            first = self.counts[kind] == 1
        if first:
            said = redacted(one_line(f"{kind} ({detail})" if detail else kind))
            print(f"warning: {self._who}: {said}: {self._consequence}", file=sys.stderr)
