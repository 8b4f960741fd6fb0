"""An AI judge: scores, comparisons and rewritten programs from a language model, None wherever it has no clear answer.

    with AiJudge(params) as judge:
        judge.scores([(problem, program), ...])       # each in [0, 1], or None

None, never 0: the endpoint failed, the budget is used up, the answer was not as asked for, twice. Answers are kept on
disk; a question that was answered before costs nothing and gets the same answer.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from greenlit.config import JudgeParams
from greenlit.endpoints.faults import Faults
from greenlit.errors import ConfigError, WorldError
from greenlit.feedback.answers import better_of, score_of
from greenlit.feedback.budget import Budget
from greenlit.feedback.cache import AnswerCache
from greenlit.feedback.endpoint import Endpoint, Reply
from greenlit.feedback.local import LocalModel
from greenlit.feedback.rubrics import AGAIN, RUBRICS, Messages, Rubric, to_compare, to_criticise, to_revise, to_score
from greenlit.models import resolve, weights_sha256
from greenlit.types import Problem

Value = TypeVar("Value")
_LONGEST_REPEATED = 2_000
"""Characters of an answer that was not as asked for, as the second question repeats it."""
BLOCKS = 8
"""Times `concurrency`: questions after which the answers are kept."""
NOT_AS_ASKED = "an answer was not as asked for, twice"


class Asks(Protocol):
    """A language model."""

    def ask(self, asked: Sequence[Messages]) -> list[Reply | None]:
        """An answer to each question, in their order; None where there is none."""

    def close(self) -> None:
        """No more questions."""


@dataclass(frozen=True)
class Comparison:
    """Two programs, compared in both orders."""

    forward: str | None
    """`first`, `second` or `equal` with the programs in the order given; None where there was no clear answer."""
    backward: str | None
    """With their order reversed."""

    @property
    def better(self) -> int | None:
        """0 or 1, the place of the better program; None unless both orders say so."""
        both = (self.forward, self.backward)
        return 0 if both == ("first", "second") else 1 if both == ("second", "first") else None

    @property
    def flipped(self) -> bool | None:
        """The same place was preferred whichever program stood there; None where an answer is missing."""
        if self.forward is None or self.backward is None:
            return None
        return self.forward == self.backward != "equal"


class AiJudge:
    """One model with one rubric. A context manager; use it from one thread."""

    def __init__(self, params: JudgeParams, *, cache: Path | None = None, model: Asks | None = None) -> None:
        """
        Args:
            cache: file of answers; None takes `.work/judge/answers.jsonl`.
            model: who answers, instead of what the params name.

        Raises:
            ConfigError: no such rubric, or no address in the environment.
            DataError: no such model directory.
        """
        self.params = params
        self.rubric = rubric_of(params)
        self.budget = Budget(params.max_calls, params.max_tokens)
        self.faults = Faults(f"judge {params.model}")
        kind = Endpoint if params.backend == "endpoint" else LocalModel
        self.model: Asks = model or kind(params, self.budget, self.faults)
        self.cache = AnswerCache(cache)
        self.served_by: set[str] = set()
        """Names that the model gave itself."""
        self.advance: Callable[[int], object] = int
        """Told of questions that were put, for a progress bar."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Questions under way are given up."""
        self.model.close()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that an answer depends on besides the question: see `identity_of`."""
        return identity_of(self.params)

    def scores(self, items: Sequence[tuple[Problem, str]]) -> list[float | None]:
        """How good each program is for its problem, in [0, 1]; 0 for an empty program, which nobody is asked about."""
        asked = [(place, to_score(self.rubric, *item)) for place, item in enumerate(items) if item[1].strip()]
        found = self._answers(
            [messages for _, (_, messages) in asked],
            [lambda text, mark=mark: score_of(text, mark, self.rubric) for _, (mark, _) in asked],
        )
        scores: list[float | None] = [0.0] * len(items)
        for (place, _), score in zip(asked, found, strict=True):
            scores[place] = score
        return scores

    def comparisons(self, items: Sequence[tuple[Problem, str, str]]) -> list[Comparison]:
        """Which of two programs is better, each asked in both orders."""
        asked = [
            to_compare(self.rubric, problem, *sides)
            for problem, one, other in items
            for sides in ((one, other), (other, one))
        ]
        found = self._answers(
            [messages for _, messages in asked], [lambda text, mark=mark: better_of(text, mark) for mark, _ in asked]
        )
        return [Comparison(*both) for both in zip(found[::2], found[1::2], strict=True)]

    def revisions(self, items: Sequence[tuple[Problem, str]]) -> list[str | None]:
        """What the model writes after it has criticised each program: text with a program in it, of no proven worth.

        Constitutional AI's critique and revision, https://arxiv.org/abs/2212.08073.
        """
        questions = [to_criticise(self.rubric, *item) for item in items]
        critiques = self._answers(questions, [_any_text] * len(items))
        places = [place for place, critique in enumerate(critiques) if critique is not None]
        again = [to_revise(self.rubric, *items[place], str(critiques[place])) for place in places]
        revised = self._answers(again, [_any_text] * len(again))
        texts: list[str | None] = [None] * len(items)
        for place, text in zip(places, revised, strict=True):
            texts[place] = text
        return texts

    def require_answers(self, asked: int, answered: int) -> None:
        """There was something to ask, and nobody answered: no result is to be made of that.

        Raises:
            WorldError: says why, as far as it is known.
        """
        if asked and not answered:
            why = ", ".join(f"{kind}: {count}" for kind, count in self.faults.counts.most_common())
            raise WorldError(
                f"judge {self.params.model}: no answer to any of {asked} questions ({why})",
                hint="check judge.model, GREENLIT_JUDGE_URL and its key; `greenlit calibrate-judge` tries them",
            )

    def _answers(self, asked: list[Messages], read: list[Callable[[str], Value | None]]) -> list[Value | None]:
        """Read answers; what is not as asked for is asked once more, and then None."""
        keys = [self._key(messages) for messages in asked]
        values: dict[str, Value | None] = {}
        todo: dict[str, tuple[Messages, Callable[[str], Value | None]]] = {}
        for key, messages, reader in zip(keys, asked, read, strict=True):
            known = self.cache.find(key)
            value = reader(known.text) if known else None
            if value is not None:
                values[key] = value
            else:
                todo.setdefault(key, (messages, reader))
        self.advance(len(asked) - len(todo))
        unclear = self._ask(todo, values)
        said_again = {key: ([*todo[key][0], *_once_more(text)], todo[key][1]) for key, text in unclear.items()}
        for _ in self._ask(said_again, values, again=True):
            self.faults.tell(NOT_AS_ASKED)
        return [values.get(key) for key in keys]

    def _ask(
        self,
        todo: dict[str, tuple[Messages, Callable[[str], Value | None]]],
        values: dict[str, Value | None],
        again: bool = False,
    ) -> dict[str, str]:
        """Put questions; add to `values` what can be read, and keep it. Returns the answers that cannot."""
        unclear: dict[str, str] = {}
        block = BLOCKS * self.params.concurrency
        for start in range(0, len(todo), block):
            part = list(todo.items())[start : start + block]
            replies = self.model.ask([messages for _, (messages, _) in part])
            clear: dict[str, Reply] = {}
            for (key, (_, reader)), reply in zip(part, replies, strict=True):
                if reply is None:
                    continue
                self.served_by.update([reply.model] if reply.model else [])
                value = reader(reply.text)
                if value is None:
                    unclear[key] = reply.text
                else:
                    values[key], clear[key] = value, reply
            self.cache.keep(clear)  # what was paid for outlives a Ctrl-C
            self.advance(0 if again else len(part))
        return unclear

    def _key(self, messages: Messages) -> str:
        return hashlib.sha256(json.dumps([self.identity, messages], sort_keys=True).encode()).hexdigest()


def identity_of(params: JudgeParams) -> dict[str, Any]:
    """What makes a judge the same judge: a calibration holds for one identity.

    The endpoint's address is no part of it: the same model may be served elsewhere.

    Raises:
        ConfigError: no such rubric.
        DataError: no such model directory.
    """
    local = params.backend == "transformers"
    return {
        "backend": params.backend,
        "model": params.model,
        "weights_sha256": weights_sha256(resolve(Path(params.model))) if local else None,
        "dtype": params.dtype if local else None,
        "temperature": params.temperature,
        "max_new_tokens": params.max_new_tokens,
        "rubric": params.rubric,
        "rubric_sha256": rubric_of(params).sha256,
    }


def rubric_of(params: JudgeParams) -> Rubric:
    """What this judge is asked.

    Raises:
        ConfigError: no such rubric.
    """
    if params.rubric not in RUBRICS:
        raise ConfigError(
            f"params.yaml: judge.rubric: there is no rubric {params.rubric!r}", hint=f"one of {', '.join(RUBRICS)}"
        )
    return RUBRICS[params.rubric]


def _any_text(text: str) -> str | None:
    return text if text.strip() else None


def _once_more(text: str) -> Messages:
    return [{"role": "assistant", "content": text[:_LONGEST_REPEATED]}, {"role": "user", "content": AGAIN}]
