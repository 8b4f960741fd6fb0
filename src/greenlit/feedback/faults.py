"""What went wrong with a judge: each kind told once, all counted."""

import sys
import threading
from collections import Counter

from greenlit.jsonl import one_line
from greenlit.stage.secrets import redacted


class Faults:
    """For several threads."""

    def __init__(self, model: str) -> None:
        self._model = model
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
            print(f"warning: judge {self._model}: {said}: null, not 0", file=sys.stderr)
