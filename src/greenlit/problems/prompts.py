"""The one place that renders prompts and takes programs out of completions.

Generation, training and evaluation all call `render`; its hash is stored in every artifact, so that a model is never
trained on one prompt and measured on another.
"""

import ast
import hashlib
import re
from typing import Any

from greenlit.types import AssertTest, CallTest, Problem, StdioTest

INSTRUCTION = "Write a Python program that solves the problem. Answer with one Python code block and nothing else."
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[ \t]*\r?\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_FUTURE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*(?:from __future__ import [^\n]*\n\s*)+")
_AFTER_PROGRAM = re.compile(r"\n(?:assert\b|\"\"\"|'''|```|\[DONE\]|<\|)")


def shown_lines(problem: Problem) -> list[str]:
    """The shown tests as lines of text."""
    lines: list[str] = []
    for test in problem.tests:
        if test.role != "shown":
            continue
        if isinstance(test, AssertTest):
            lines.append(test.code.strip())
        elif isinstance(test, CallTest):
            arguments = ", ".join(map(repr, test.input))
            lines.append(f"assert {problem.entry_point}({arguments}) == {test.output!r}")
        elif isinstance(test, StdioTest):
            lines.append(f"Input:\n{test.input.rstrip()}\nOutput:\n{test.output.rstrip()}")
    return lines


def statement(problem: Problem) -> str:
    """What is asked, with the shown tests below it."""
    return "\n".join([problem.prompt.strip(), *shown_lines(problem)])


def render(problem: Problem, chat: bool, strategy: str | None = None) -> str | list[dict[str, str]]:
    """The prompt of a problem.

    Args:
        chat: the tokenizer has a chat template; then a message list is returned, else text that a base model continues.
        strategy: a hint for one candidate (see `strategies`), below the statement.
    """
    asked = statement(problem) if strategy is None else f"{statement(problem)}\n{strategy}"
    if chat:
        starter = f"\n\nStart from:\n```python\n{problem.starter_code.rstrip()}\n```" if problem.starter_code else ""
        return [{"role": "user", "content": f"{INSTRUCTION}\n\n{asked}{starter}"}]
    text = asked.replace('"""', "'''")
    return f'"""{text}\n"""\n{problem.starter_code}'


def prompt_hash(prompt: str | list[dict[str, str]]) -> str:
    """16 hex digits that tell two prompts apart."""
    text = prompt if isinstance(prompt, str) else "\0".join(f"{part['role']}\0{part['content']}" for part in prompt)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def extract(text: str, problem: Problem, chat: bool) -> str:
    """The program in a completion, with the problem's prelude before it; empty when there is none.

    A fenced block wins: the last one that defines the entry point, else the first Python one. Without a fence a base
    model's text is the program, up to where it starts on something else (a new docstring, tests).
    """
    program = _written(text.replace("\r\n", "\n"), problem, chat)
    return with_prelude(program, problem.prelude) if program else ""


def with_prelude(program: str, prelude: str) -> str:
    """The program behind what the dataset puts in front of it, unless it stands there already.

    Imports from `__future__` stay in the first lines, where alone they are legal.
    """
    if program.startswith(prelude):
        return program
    first = _FUTURE.match(program)
    start = first.end() if first else 0
    return f"{program[:start]}{prelude.rstrip()}\n\n{program[start:]}"


def _written(text: str, problem: Problem, chat: bool) -> str:
    """What the model wrote as its program."""
    blocks = [(language.lower(), body) for language, body in _FENCE.findall(text)]
    python = [body for language, body in blocks if language in {"", "py", "python", "python3"}]
    if python:
        name = (problem.entry_point or "").rpartition(".")[2]  # `f` of `Solution().f`
        defining = [body for body in python if name and defines(body, name)]
        return (defining[-1] if defining else python[0]).strip("\n") + "\n"
    if chat:
        return text.strip("\n") + "\n" if _parses(text) and text.strip() else ""
    cut = _AFTER_PROGRAM.search(text)
    body = text[: cut.start()] if cut else text
    return (problem.starter_code + body).rstrip() + "\n" if body.strip() else ""


def defines(code: str, name: str) -> bool:
    """Does the text define a function or class of this name (also where it does not parse)?"""
    return re.search(rf"^\s*(?:async\s+def|def|class)\s+{re.escape(name)}\b", code, re.MULTILINE) is not None


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def has_chat_template(tokenizer: Any) -> bool:
    """Does this tokenizer turn messages into text by a template of its own?"""
    return bool(getattr(tokenizer, "chat_template", None))


def prompt_ids(tokenizer: Any, prompt: str | list[dict[str, str]]) -> list[int]:
    """Token ids of a prompt, as training sees them too: the chat template for messages, else the plain text."""
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
