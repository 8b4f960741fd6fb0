"""pass@k: the probability that at least one of k samples passes, https://arxiv.org/abs/2107.03374.

With c of n samples passing, the unbiased estimator is

    pass@k = 1 - C(n-c, k) / C(n, k) = 1 - prod_{j<k} (1 - c / (n - j))

The product is taken in logarithms, so that neither large n nor a tiny c/n loses digits. It is undefined for n < k.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greenlit.errors import DataError


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability in [0, 1] that k of a problem's n samples, drawn without replacement, contain one of the c passing.

    Raises:
        DataError: n < k, k < 1, or c outside 0..n.
    """
    return float(pass_at_k_P([n], [c], k)[0])


def pass_at_k_P(n_P: ArrayLike, c_P: ArrayLike, k: int) -> NDArray[np.float64]:  # noqa: N802
    """pass@k of every problem.

    Raises:
        DataError: as `pass_at_k`, for the first problem at fault; its position is named.
    """
    n_P, c_P = np.atleast_1d(np.asarray(n_P, dtype=np.int64)), np.atleast_1d(np.asarray(c_P, dtype=np.int64))
    if k < 1:
        raise DataError(f"pass@k: k must be >= 1 (found {k})")
    for fault_P, what in (
        ((c_P < 0) | (c_P > n_P), "passing samples must lie between 0 and n"),
        (n_P < k, f"pass@{k} is undefined with fewer than {k} samples"),
    ):
        if fault_P.any():
            at = int(np.argmax(fault_P))
            raise DataError(f"pass@{k}: problem {at}: {what} (found n = {n_P[at]}, c = {c_P[at]})")
    all_fail_log_P = np.zeros(len(n_P))
    with np.errstate(divide="ignore"):  # log 0 = -inf is meant: among these samples one must pass
        for j in range(k):
            all_fail_log_P += np.log1p(-np.minimum(c_P / (n_P - j), 1.0))
    return -np.expm1(all_fail_log_P) + 0.0  # + 0.0 turns -0.0 into 0.0
