"""What is to be run: params.yaml as every round has it, and where each round's copy of the project lies.

    rounds/<name>/r<k>/         round k: experiment <name>-r<k>, up to its report, which leaves test alone
    rounds/<name>/test-r<k>/    round k's model (0: the base) on test, at the end

<name> is the experiment, and `<experiment>-<method>` where params.yaml has several methods.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.config import PARAMS, Params, method_of, parse_params, read_yaml
from greenlit.errors import ConfigError
from greenlit.paths import BASE, Paths, local_data
from greenlit.runs.records import git
from greenlit.stage.workspace import ANSWERS

ROUNDS = Path("rounds")
PREVIOUS = "previous"
"""Folder of a copy with links to the models it starts from, each named after its content: to DVC, which knows a local
model by its path alone, another model is another base."""


@dataclass(frozen=True)
class Model:
    """The merged model of a round."""

    number: int
    folder: Path
    md5: str
    """DVC's hash of the folder."""

    @property
    def link(self) -> str:
        """Its path in the copies that start from it."""
        return f"{PREVIOUS}/r{self.number}-{self.md5[:16]}"


@dataclass(frozen=True)
class Step:
    """A `greenlit run` up to one stage, in a copy of the project."""

    name: str
    folder: Path
    stage: str
    content: Mapping[str, Any]
    """params.yaml of the copy."""
    links: Mapping[str, Path]
    """Paths in the copy -> what lies here."""

    @property
    def experiment(self) -> str:
        """Name of its experiment."""
        return str(self.content["experiment"])

    @property
    def paths(self) -> Paths:
        """Its files, relative to the copy."""
        return Paths(self.content["dataset"]["name"], self.experiment)

    def evaluation(self, method: str | None) -> Path:
        """Figures of its base (method None) or of a method's merged model."""
        return self.folder / self.paths.evaluation(method)


@dataclass(frozen=True)
class Plan:
    """Rounds of one method of params.yaml."""

    content: Mapping[str, Any]
    params: Params
    """The same, checked and with every default."""
    methods: tuple[str, ...]
    """The method, which comes last, and those whose models it starts from."""
    rounds: int
    """At most."""
    patience: int
    """Rounds without a gain to stop after."""

    @property
    def method(self) -> str:
        """Whose merged model the next round starts from."""
        return self.methods[-1]

    @property
    def name(self) -> str:
        """What the rounds are called."""
        experiment = self.params.experiment
        return experiment if len(self.params.methods) == 1 else f"{experiment}-{self.method}"

    def round_step(self, number: int, base: Model | None) -> Step:
        """A round, which starts from another's model, or from the base of params.yaml."""
        return self._step(f"round {number} of {self.rounds}", f"r{number}", "report", base, test=False)

    def test_step(self, model: Model | None) -> Step:
        """Measure a round's model, or the base, on test."""
        number = model.number if model else 0
        return self._step(f"test of round {number}", f"test-r{number}", "baseline", model, test=True)

    def _step(self, name: str, folder: str, stage: str, base: Model | None, test: bool) -> Step:
        content = copy.deepcopy(dict(self.content))
        content["experiment"] = experiment = f"{self.name}-{folder}"
        content["methods"] = {method: content["methods"][method] for method in self.methods}
        for section in (*content["methods"].values(), content.get("rewards") or {}):
            for key in {"reads", "start", "model"} & section.keys():
                section[key] = _moved(section[key], self.params.experiment, experiment)
        content["evaluate"] = {**(content.get("evaluate") or {}), "test": test}
        links = {path: Path(path) for path in self._local_files()}
        if ANSWERS.exists():
            links[str(ANSWERS)] = ANSWERS
        if base:
            content["base"] = {"model": base.link}
            links[base.link] = base.folder
        return Step(name, ROUNDS / self.name / folder, stage, content, links)

    def _local_files(self) -> list[str]:
        """Files and folders that params.yaml names and no stage writes."""
        methods = [self.params.methods[name] for name in self.methods]
        read = [self.params.rewards.model, *(path for one in methods for path in (one.reads, one.start))]
        named = [path for path in read if Path(path).parts[0] not in {"assets", "results"}]
        own_reward = (self.params.rewards.custom or "").partition(":")[0]
        named += local_data(self.params.dataset.path, self.params.fetch.reads)
        named += [path for path in (self.params.base.model, own_reward) if path]
        return [path for path in named if not Path(path).is_absolute() and Path(path).exists()]


def _moved(path: str, old: str, new: str) -> str:
    """A path below the results of one experiment, as it is in another; any other path as it is."""
    prefix = f"results/{old}/"
    return f"results/{new}/{path.removeprefix(prefix)}" if path.startswith(prefix) else path


def make_plan(method: str | None, rounds: int, patience: int) -> Plan:
    """The plan for params.yaml.

    Args:
        method: name under `methods`; may be left out where there is only one.

    Raises:
        ConfigError: params.yaml is not valid, the method is not clear or would not go on from the round before, or
            there is no git repository to copy the project from.
    """
    content = read_yaml(PARAMS)
    params = parse_params(content, str(PARAMS))
    if method is None:
        if not params.methods:
            raise ConfigError(f"{PARAMS}: methods: there are none", hint="docs/training.md shows one")
        if len(params.methods) > 1:
            raise ConfigError(
                f"{PARAMS}: methods: there are {len(params.methods)}, and a round goes on from one of them",
                hint=f"--method NAME, one of {', '.join(params.methods)}",
            )
        method = next(iter(params.methods))
    method_of(params, method)
    if git("rev-parse", "--git-dir") is None:
        raise ConfigError("no git repository here", hint="`git init`, and commit the project")
    return Plan(content, params, tuple(_needed(params, method)), rounds, patience)


def _needed(params: Params, method: str) -> list[str]:
    """A method after those whose models it starts from."""
    merged = {Paths.of(params).method(name) / "merged": name for name in params.methods}
    names = [method]
    while (start := Path(params.methods[names[0]].start)) != BASE:
        if merged.get(start) is None or merged[start] in names:
            raise ConfigError(
                f"{PARAMS}: methods.{names[0]}.start: must be {BASE}, or the merged model of a method that starts "
                f"there, so that a round goes on from the one before (found {start})",
                hint=f"name your model as base.model, and start from {BASE}",
            )
        names.insert(0, merged[start])
    return names
