"""Which stages there are, and which needs which: DVC's own graph, written nowhere else."""

import difflib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from greenlit.errors import ConfigError


def shown(stage: str) -> str:
    """The name of a stage's task run: train@dpo is train-dpo."""
    return stage.replace("@", "-")


class Graph:
    """The stages of the project here, each after those it needs."""

    def __init__(self) -> None:
        import networkx
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        try:
            with Repo() as repo:
                graph = repo.index.graph
                # an edge points from a stage to what it needs
                ordered = networkx.lexicographical_topological_sort(graph.reverse(), key=lambda one: one.addressing)
                self.stages: list[str] = [stage.addressing for stage in ordered]
                self._needs: Any = networkx.relabel_nodes(graph, lambda one: one.addressing)
        except DvcException as fault:
            raise ConfigError(f"dvc.yaml: {fault}") from None

    def towards(self, targets: Sequence[str] | None) -> list[str]:
        """What these stages need, themselves included; None means all."""
        if targets is None:
            return self.stages
        needed = {name for target in targets for name in (target, *self._below(target))}
        return [stage for stage in self.stages if stage in needed]

    def from_stage(self, word: str, stages: Sequence[str]) -> list[str]:
        """Of these stages, the one that is meant and those that need it."""
        first = self.named(word)
        return [stage for stage in stages if stage in first or first & self._below(stage)]

    def named(self, word: str) -> set[str]:
        """The stages that a word means: `train@dpo`, `train-dpo`, or `train` for all that are called so.

        Raises:
            ConfigError: there is none.
        """
        found = {stage for stage in self.stages if word in {stage, shown(stage), stage.partition("@")[0]}}
        if not found:
            close = difflib.get_close_matches(word, self._words, n=1)
            hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(map(shown, self.stages))}"
            raise ConfigError(f"no stage is called {word!r}", hint=hint)
        return found

    @cached_property
    def _words(self) -> list[str]:
        return [*map(shown, self.stages), *{stage.partition("@")[0] for stage in self.stages}]

    def _below(self, stage: str) -> set[str]:
        import networkx

        if stage not in self._needs:
            raise ConfigError(f"no stage is called {stage!r}", hint=f"one of {', '.join(map(shown, self.stages))}")
        return set(networkx.descendants(self._needs, stage))


def stages_towards(target: str | None = None) -> list[str]:
    """Names of the stages that `target` needs, itself included, each after those it needs; None means all."""
    return Graph().towards(None if target is None else [target])
