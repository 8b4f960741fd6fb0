"""What adaptive sampling did to the candidates: a problem that was done early has few, and those tell of easy problems.

Shares and means over samples are of the first round, which took as many of every problem.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from greenlit.config import GenerateParams
from greenlit.pairs.nbest import ranked
from greenlit.types import Annotated

OF_THE_FIRST_ROUND = ("train_pass@k", "problems_all_pass", "problems_none_passes", "diversity")
"""Keys of the manifest that tell of the first round alone."""


class RoundCounts:
    """Counts, problem by problem, where candidates were sampled in rounds."""

    def __init__(self, params: GenerateParams) -> None:
        self._params = params
        self._samples: Counter[int] = Counter()
        self._stopped: Counter[str] = Counter()
        self._rounds = 0

    def add(self, rows: Sequence[Annotated]) -> None:
        """Count one problem, by the verdicts that its candidates have."""
        adaptive = self._params.adaptive
        if adaptive is None:
            return
        passing, failing = ranked(rows)
        self._samples[len(rows)] += 1
        self._rounds = max(self._rounds, *(1 + (row.round or 0) for row in rows))
        if len(passing) >= adaptive.passes and len(failing) >= adaptive.fails:
            self._stopped["enough"] += 1
        elif len(rows) >= adaptive.max_n:
            self._stopped["max_n"] += 1
        else:
            self._stopped["other_verdicts"] += 1

    def figures(self) -> dict[str, Any]:
        """Returns:
        {} without rounds, else {"adaptive": {"rounds", "samples" (of a problem → problems), "stopped" ("enough";
        "max_n": with too few; "other_verdicts": enough while it was sampled, and not by the verdicts of `annotate`),
        "saved" (samples, against max_n of every problem), "of_the_first_round" (keys beside it), ...settings}}
        """
        adaptive = self._params.adaptive
        if adaptive is None:
            return {}
        problems = self._samples.total()
        taken = sum(samples * count for samples, count in self._samples.items())
        return {
            "adaptive": {
                "n": self._params.n,
                **adaptive.model_dump(exclude={"limits"}),
                "rounds": self._rounds,
                "samples": {str(samples): self._samples[samples] for samples in sorted(self._samples)},
                "stopped": {why: self._stopped[why] for why in ("enough", "max_n", "other_verdicts")},
                "saved": problems * adaptive.max_n - taken,
                "of_the_first_round": list(OF_THE_FIRST_ROUND),
            }
        }

    def told(self) -> str:
        """The same in a sentence; empty without rounds."""
        found = self.figures().get("adaptive")
        if not found:
            return ""
        lines = [
            f"adaptive sampling: {found['saved']} of {self._samples.total() * found['max_n']} samples saved; "
            f"{found['stopped']['enough']} problems have {found['passes']} unlike programs that pass and "
            f"{found['fails']} that fail, {found['stopped']['max_n']} did not come to that in {found['max_n']} samples"
        ]
        if count := found["stopped"]["other_verdicts"]:
            lines.append(
                f"warning: {count} problems were done while they were sampled, and are not by the verdicts of annotate"
            )
        return "\n".join(lines)
