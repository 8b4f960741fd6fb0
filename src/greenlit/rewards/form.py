"""format: is the answer written as asked?  reward = mean of what is asked for, each 1 or 0

    think        reasoning first, between one `<think>` and one `</think>`, and more than blanks
    code_block   after it, exactly one fenced block, closed and not empty

as `format` in params.yaml asks for them: https://arxiv.org/abs/2501.12948. It looks at form alone, so it counts for
programs that fail too, unless `only_passing` names it.
"""

import re
from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.config.rewards import FormatParams
from greenlit.rewards.sample import Sample

_OPEN, _CLOSE, _FENCE = "<think>", "</think>", "```"
_BLOCK = re.compile(r"(?:^|\n)```[\w+-]*[ \t]*\n(.*?)\n```[ \t]*(?:\n|\Z)", re.DOTALL)


def form(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [0, 1]."""
    return [_of(sample.text.replace("\r\n", "\n"), params.format) for sample in samples]


def _of(text: str, params: FormatParams) -> float:
    head, closed, answer = text.rpartition(_CLOSE)
    met = []
    if params.think != "none":
        opened = _OPEN if params.think == "tags" else ""
        reasoning = head.lstrip().removeprefix(opened)
        once = text.count(_OPEN) == bool(opened) and text.count(_CLOSE) == 1
        met.append(once and head.lstrip().startswith(opened) and bool(reasoning.strip()))
    if params.code_block:
        rest = answer if params.think != "none" and closed else text
        block = _BLOCK.search(rest)
        met.append(block is not None and bool(block[1].strip()) and rest.count(_FENCE) == 2)
    return sum(met) / len(met)
