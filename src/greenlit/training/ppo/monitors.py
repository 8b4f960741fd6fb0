"""Figures of a step over all processes: means over tokens, completions or updates, and variances."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Sums:
    """Sums of a step on this process, which become means over all; every process adds to the same names.

    Tensors stay on their device until then.
    """

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, values: "Tensor", weights: "Tensor | None" = None) -> None:
        """Add numbers of any shape to the mean `name`; `weights` of the same shape."""
        import torch

        values = values.detach().double()
        weights = torch.ones_like(values) if weights is None else weights.double()
        pair = torch.stack([(values * weights).sum(), weights.sum()])
        self._sums[name] = self._sums.get(name, torch.zeros_like(pair)) + pair

    def means(self) -> dict[str, float]:
        """The means; a name that nothing was counted for is not there."""
        import torch

        names = sorted(self._sums)
        if not names:
            return {}
        rows = self._machine.reduce(torch.stack([self._sums[name] for name in names]), "sum").tolist()
        return {name: total / count for name, (total, count) in zip(names, rows, strict=True) if count}


def mean_and_variance(machine: Any, values_N: "Tensor") -> tuple[float, float] | None:
    """Mean and variance of the numbers of all processes; None where there are none."""
    import torch

    values_N = values_N.detach().double()
    count, total = machine.reduce(torch.stack([torch.ones_like(values_N).sum(), values_N.sum()]), "sum").tolist()
    if not count:
        return None
    mean = total / count
    return mean, float(machine.reduce((values_N - mean).square().sum(), "sum")) / count


def explained_variance(machine: Any, values_N: "Tensor", returns_N: "Tensor") -> float | None:
    """1 - Var(returns - values) / Var(returns): 1 for perfect values, 0 for constant ones; None if returns agree."""
    left = mean_and_variance(machine, returns_N - values_N)
    whole = mean_and_variance(machine, returns_N)
    if left is None or whole is None or whole[1] == 0:
        return None
    return 1.0 - left[1] / whole[1]
