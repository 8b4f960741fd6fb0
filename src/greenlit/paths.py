"""Where every stage's files lie, relative to the project's root. dvc.yaml says the same; a test compares them."""

from dataclasses import dataclass
from pathlib import Path

from greenlit.config import Params
from greenlit.config.scraping import SCRAPED
from greenlit.types import Split

BASE = Path("assets/models/base")


def local_data(path: str | None, reads: str) -> list[str]:
    """Of what `dataset.path` and `fetch.reads` name, what no stage writes: a copy of the project needs it too."""
    return [named for named in (reads, path) if named and not f"{named}/".startswith(f"{SCRAPED}/")]


@dataclass(frozen=True)
class Paths:
    """The files of one experiment."""

    dataset: str
    experiment: str

    @classmethod
    def of(cls, params: Params) -> "Paths":
        """The files that these params lead to."""
        return cls(params.dataset.name, params.experiment)

    @property
    def raw(self) -> Path:
        """The dataset as fetched."""
        return Path("assets/raw") / self.dataset

    @staticmethod
    def scraped(source: str) -> Path:
        """What came of a scraped source; the same for every experiment."""
        return Path(SCRAPED) / source

    def problems(self, split: Split) -> Path:
        """Problems of a split."""
        return self._split(split) / "problems.jsonl"

    @property
    def audit(self) -> Path:
        """What `prepare` kept and dropped, and why."""
        return Path("assets/datasets") / self.dataset / "audit.json"

    @property
    def quarantine(self) -> Path:
        """Problems that `prepare` found not fit to learn from, and why."""
        return Path("assets/datasets") / self.dataset / "quarantine.jsonl"

    @property
    def candidates(self) -> Path:
        """Samples on the train split."""
        return self._split("train") / "candidates.jsonl"

    @property
    def annotated(self) -> Path:
        """The same with verdicts."""
        return self._split("train") / "candidates_annotated.jsonl"

    @property
    def timings(self) -> Path:
        """Measured times of the runs, which no promise of repetition covers."""
        return self._split("train") / "timings.jsonl"

    @property
    def human(self) -> Path:
        """What people said: preferences and demonstrations, written by hand or by `greenlit prefer`."""
        return Path("human") / self.dataset

    @property
    def rl(self) -> Path:
        """Ranked candidates, pairs and their manifest."""
        return Path("assets/rl") / self.dataset

    def measured(self, split: Split, method: str | None) -> Path:
        """Graded samples of the base model (method None) or of a method's merged model."""
        if method is None:
            return self._split(split) / "candidates_baseline.jsonl"
        return self._split(split) / method / "candidates_after.jsonl"

    def evaluation(self, method: str | None) -> Path:
        """Figures of the base model (method None) or of a method's merged model."""
        if method is None:
            return self._split("test") / "evaluations_baseline.json"
        return self._split("test") / method / "evaluations_after.json"

    def method(self, name: str) -> Path:
        """Results of one training run."""
        return Path("results") / self.experiment / name

    def reward_model(self, name: str) -> Path:
        """Results of one learned reward."""
        return Path("results") / self.experiment / "reward_models" / name

    def log(self, name: str, file: str) -> Path:
        """A log of one training run, e.g. `training_log.jsonl`."""
        return self.method(name) / "logs" / file

    def report(self, ending: str) -> Path:
        """A report file, e.g. `summary.json`."""
        return Path("results/reports") / f"{self.experiment}_{ending}"

    def _split(self, split: Split) -> Path:
        return Path("assets/datasets") / self.dataset / split
