"""A reward of your own, to start from: short programs, of those that pass.

    rewards:
      weights: {tests: 1.0, custom: 0.1}
      custom: custom/brevity.py:brevity

What a function is told and may return: src/greenlit/rewards/custom.py. A change of a file in this folder re-runs the
stages that use it.
"""


def brevity(code: list[str], reference: list[list[str]], passed: list[bool | None]) -> list[float | None]:
    """min(1, characters of the shortest reference / characters of the program); None without a reference.

    0 for what does not pass: an empty program would be the shortest.
    """
    return [
        None if not known or right is None else min(1.0, min(map(len, known)) / len(program)) if right else 0.0
        for program, known, right in zip(code, reference, passed, strict=True)
    ]
