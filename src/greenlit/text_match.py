"""How near a completion comes to the text that was held back, in the field's own measures.

    exact             the same, but for blanks at the ends of lines and blank lines around it
    edit similarity   1 - Levenshtein distance / length of the longer, over characters

These are what is told of a model. What it learns from is `rewards/overlap.py`, which is harder on padding; so a model
that has found a gap in the one need not look better in the other.
"""

from greenlit.types import Match, Problem


def match_of(code: str, problem: Problem) -> Match | None:
    """Of one program, the best over the references; None for a problem with tests."""
    if problem.kind != "completion":
        return None
    written = _plain(code.removeprefix(problem.starter_code))
    known = [_plain(text) for text in problem.held_back]
    return Match(
        exact=any(written == text for text in known),
        edit_similarity=max(round(edit_similarity(written, text), 6) for text in known),
    )


def edit_similarity(text: str, reference: str) -> float:
    """In [0, 1]; 0 where one of two texts is empty."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.normalized_similarity(text, reference)


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
