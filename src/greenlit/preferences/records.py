"""The rows of human/<dataset>/preferences.jsonl and demonstrations.jsonl: TRL's columns, and which problem they are of.

    {"task_id": "add-one", "chosen": "def inc(x): return x + 1", "rejected": "def inc(x): return x"}
    {"prompt": "Add one to a number.", "completion": "def inc(x): return x + 1"}

Texts, or messages as TRL's conversational datasets have them. Keys that Greenlit does not know are kept.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from greenlit.types import Record

DEMONSTRATIONS, PREFERENCES = "demonstrations.jsonl", "preferences.jsonl"


class Message(Record):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def _an_answer(said: str | list[Message]) -> str | list[Message]:
    if isinstance(said, list) and [message.role for message in said] != ["assistant"]:
        raise PydanticCustomError("answer", "must be text, or a list of one message of the assistant")
    if not text_of(said).strip():
        raise PydanticCustomError("empty", "must not be empty")
    return said


def text_of(said: str | list[Message]) -> str:
    """An answer's text, however it was given."""
    return said if isinstance(said, str) else "".join(message.content for message in said)


Answer = Annotated[str | list[Message], AfterValidator(_an_answer)]


class Human(Record):
    """What preferences and demonstrations have in common."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=True)

    prompt: str | list[Message] = ""
    """May be left out where `task_id` names the problem, whose own prompt is taken then, as the model sees it."""
    task_id: str | None = None
    """A problem of the train split; null for a prompt of its own."""
    weight: float = Field(default=1.0, ge=0, le=100)
    """Times `build.human`'s weight of the file: rows that come of this one."""

    @model_validator(mode="after")
    def _of_something(self) -> "Human":
        if not self.task_id and not text_of(self.prompt).strip():
            raise PydanticCustomError("no_prompt", "prompt: must not be empty where there is no task_id")
        if isinstance(self.prompt, list) and self.prompt and self.prompt[-1].role != "user":
            raise PydanticCustomError("last", "prompt: the last message must be the user's")
        return self

    def answers(self) -> list[str]:
        """The texts that a person wrote or compared."""
        raise NotImplementedError

    def key(self) -> str:
        """Hash of what was said about what; equal for rows that say the same, whoever says it."""
        content = [self.task_id, None if self.task_id else text_of(self.prompt), *self.answers()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class Preference(Human):
    """Of two answers to a prompt, a person prefers one."""

    chosen: Answer
    rejected: Answer

    @model_validator(mode="after")
    def _of_two(self) -> "Preference":
        if text_of(self.chosen).strip() == text_of(self.rejected).strip():
            raise PydanticCustomError("same", "chosen and rejected are the same")
        return self

    def answers(self) -> list[str]:
        """Chosen, rejected."""
        return [text_of(self.chosen), text_of(self.rejected)]


class Demonstration(Human):
    """How a person would answer a prompt."""

    completion: Answer

    def answers(self) -> list[str]:
        """The one answer."""
        return [text_of(self.completion)]
