"""Seeds of single requests, for backends that draw their own random numbers (vLLM, endpoints).

vLLM gives the i-th of n samples the seed of its request + i, and copies of one prompt with one seed are all alike
(measured: n = 4 at seed 7 equals four requests with seeds 7, 8, 9, 10). So a problem's candidates have consecutive
seeds, from a place that its task_id and the run's seed decide: candidate 5 is the same program whether it was asked for
alone, or with all others, or after an interruption. With 10,000 problems of 64 samples, two problems share a seed with
a chance below one in a million.
"""

import hashlib

_BITS = 53
"""As many as JSON carries exactly to every server."""
_ROOM = 1 << 20
"""Candidates that a problem may have."""


def request_seed(seed: int, task_id: str, candidate_idx: int) -> int:
    """The seed of one candidate; that of the next one is 1 more."""
    digest = hashlib.blake2b(f"{seed}\0{task_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (2**_BITS - _ROOM) + candidate_idx
