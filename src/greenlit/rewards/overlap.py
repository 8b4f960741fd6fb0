"""overlap: how near is a completion to the known one? For tasks without tests.

    reward = (1 - excess) (1 - over) precision^2 (edit similarity + ROUGE-L) / 2, the best over the problem's references

Everything is counted in tokens: words (of a long one each 16 characters), single signs, long blanks. edit similarity:
1 - Levenshtein distance / length of the longer. ROUGE-L: F1 of the longest common subsequence
(https://aclanthology.org/W04-1013); precision: its share of the completion's tokens. over: by how much of the
reference's length a completion is longer, at most 1. What the problem gives (its
prelude, its starter code) is left out of both texts. None without a reference; 0 for an empty completion.

**Why not the two measures alone.** Any two pieces of code have signs and words in common: of 104 functions of Python's
library the rest of another function earned 0.19 (median) and the lines before the cut 0.25, and the first line of the
right answer 0.18. So it would pay to write anything of the right length. Precision squared leaves what is right as it
is (a first line: 0.18), and little of the rest (0.008 and 0.012).

**What cannot be had by it.** What is twice as long as the reference, or longer, earns nothing, whether the right answer
is in it or not. Lines that are said more often than in the reference are excess, so that saying a good line again earns
less each time; so are lines of the given head that the reference does not have, so that copying the head earns nothing.
Lines of one or two tokens (`else:`) may repeat; precision bounds them.
"""

import re
from collections import Counter
from collections.abc import Sequence

from greenlit.config import RewardsParams
from greenlit.rewards.sample import Sample
from greenlit.types import Problem

_TOKEN = re.compile(r"\w{1,16}|[^\w\s]|\s{16}")
FREE_TOKENS = 2
"""Lines of so many tokens may repeat."""


def overlap(samples: Sequence[Sample], params: RewardsParams) -> list[float | None]:
    """In [0, 1], 1 for the reference itself."""
    return [overlap_of(sample.code, sample.problem) for sample in samples]


def overlap_of(code: str, problem: Problem) -> float | None:
    """Of one program."""
    own, given = _own(code, problem), f"{problem.prelude}\n{problem.starter_code}"
    return max((similarity(own, _own(known, problem), given) for known in problem.reference), default=None)


def similarity(text: str, reference: str, given: str = "") -> float:
    """The formula, for two texts; 0 where one of them is blank.

    Args:
        given: what the problem gives, which is not to be copied.
    """
    from rapidfuzz.distance import LCSseq, Levenshtein

    found, wanted = _TOKEN.findall(text.strip()), _TOKEN.findall(reference.strip())
    if not found or not wanted:
        return 0.0
    common = LCSseq.similarity(found, wanted)
    edit = Levenshtein.normalized_similarity(found, wanted)
    rouge = 2 * common / (len(found) + len(wanted))
    over = min(1.0, max(0.0, len(found) / len(wanted) - 1))
    return (1 - excess(text, reference, given)) * (1 - over) * (common / len(found)) ** 2 * (edit + rouge) / 2


def excess(text: str, reference: str, given: str = "") -> float:
    """Share of the lines that are said once too often, or copied from what is given."""
    lines, allowed, copied = _lines(text), _lines(reference), _lines(given)
    too_many = sum(max(0, count - (allowed[line] or int(line not in copied))) for line, count in lines.items())
    return too_many / total if (total := sum(line.strip() != "" for line in text.splitlines())) else 0.0


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
