"""format: is the answer written as asked?  reward = mean of what is asked for, each 1 or 0

    think        reasoning first, between one `<think>` and one `</think>`, and more than blanks
    reasoning    the same between one `<reasoning>` and one `</reasoning>`, then one `<answer>...</answer>`, and no more
    code_block   after it, exactly one fenced block, closed and not empty

`think` and `code_block` as `format` in params.yaml asks for them, `reasoning` and `code_block` where the problem's
prompt does (`prepare.answer_format`): https://arxiv.org/abs/2501.12948. It looks at form alone, so it counts for
programs that fail too, unless `only_passing` names it.
"""

import re
from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.config.rewards import FormatParams
from greenlit.problems.prompts import answer_in
from greenlit.rewards.sample import Sample

_OPEN, _CLOSE, _FENCE = "<think>", "</think>", "```"
_REASONED = re.compile(r"\s*<reasoning>(.*)</reasoning>\s*<answer>(.*)</answer>\s*", re.DOTALL)
_BLOCK = re.compile(r"(?:^|\n)```[\w+-]*[ \t]*\n(.*?)\n```[ \t]*(?:\n|\Z)", re.DOTALL)


def form(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [0, 1]."""
    return [_of(sample, params.format) for sample in samples]


def _of(sample: Sample, params: FormatParams) -> float:
    text = sample.text.replace("\r\n", "\n")
    if sample.problem.answer_format == "reasoning":
        return _of_reasoning(text)
    head, closed, answer = text.rpartition(_CLOSE)
    met = []
    if params.think != "none":
        opened = _OPEN if params.think == "tags" else ""
        reasoning = head.lstrip().removeprefix(opened)
        once = text.count(_OPEN) == bool(opened) and text.count(_CLOSE) == 1
        met.append(once and head.lstrip().startswith(opened) and bool(reasoning.strip()))
    if params.code_block:
        met.append(_is_one_block(answer if params.think != "none" and closed else text))
    return sum(met) / len(met)


def _of_reasoning(text: str) -> float:
    whole = _REASONED.fullmatch(text)
    once = all(text.count(tag) == 1 for tag in ("<reasoning>", "</reasoning>", "<answer>", "</answer>"))
    reasoned = whole is not None and once and bool(whole[1].strip())
    return (reasoned + _is_one_block(whole[2] if whole else answer_in(text))) / 2


def _is_one_block(text: str) -> bool:
    block = _BLOCK.search(text)
    return block is not None and bool(block[1].strip()) and text.count(_FENCE) == 2
