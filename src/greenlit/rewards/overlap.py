"""overlap: how near is a completion to the known one? For tasks without tests.

    reward = (1 - repeated) * (edit similarity + ROUGE-L) / 2, the best over the problem's references

edit similarity: 1 - Levenshtein distance / length of the longer, over characters. ROUGE-L: F1 of the longest common
subsequence of tokens (https://aclanthology.org/W04-1013). repeated: share of the lines that stand there more often
than in the reference, so that saying a good line again and again earns less each time; lines of one or two tokens
(`else:`) may repeat. What the problem gives (its prelude, its starter code) is left out of both. None without a
reference; 0 for an empty completion.
"""

import re
from collections import Counter
from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.rewards.sample import Sample
from greenlit.types import Problem

_TOKEN = re.compile(r"\w+|[^\w\s]")
FREE_TOKENS = 2
"""Lines of so many tokens may repeat."""


def overlap(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [0, 1], 1 for the reference itself."""
    return [
        max(similarity(_own(sample.code, sample.problem), _own(known, sample.problem)) for known in references)
        if (references := sample.problem.reference)
        else None
        for sample in samples
    ]


def similarity(text: str, reference: str) -> float:
    """The formula, for two texts; 0 where one of them is blank."""
    from rapidfuzz.distance import LCSseq, Levenshtein

    found, wanted = _TOKEN.findall(text), _TOKEN.findall(reference)
    if not found or not wanted:
        return 0.0
    edit = Levenshtein.normalized_similarity(text.strip(), reference.strip())
    rouge = 2 * LCSseq.similarity(found, wanted) / (len(found) + len(wanted))
    return (1 - repeated(text, reference)) * (edit + rouge) / 2


def repeated(text: str, reference: str) -> float:
    """Share of the lines that are said once too often."""
    lines, allowed = _lines(text), _lines(reference)
    excess = sum(max(0, count - max(1, allowed[line])) for line, count in lines.items())
    return excess / total if (total := sum(line.strip() != "" for line in text.splitlines())) else 0.0


def _lines(text: str) -> Counter[str]:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return Counter(line for line in lines if len(_TOKEN.findall(line)) > FREE_TOKENS)


def _own(code: str, problem: Problem) -> str:
    """Without what the problem gives."""
    for given in (problem.prelude.rstrip(), problem.starter_code):
        if given and given in code:
            before, _, after = code.partition(given)
            code = before + after
    return code
