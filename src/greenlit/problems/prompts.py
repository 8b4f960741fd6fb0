"""The one place that renders prompts and takes programs out of completions.

Generation, training and evaluation all call `render`; its hash is stored in every artifact, so that a model is never
trained on one prompt and measured on another. Everything that a prompt depends on is in the problem, its
`answer_format` too, which `prepare.answer_format` sets.

Three kinds of problems have a template each: functions (tests that call something), whole programs (tests that are
input and output), and files to go on with (no tests). Functions and programs are told to a chat model as a message,
and to a base model as the comment that a program begins with; phrasing.py has the words of each language. Hidden tests
and those of the reward are never in it.
"""

import ast
import hashlib
import re
import textwrap
from typing import Any

from greenlit.problems.blocks import indentation, least_indentation, rest_of_block, usual_indentation
from greenlit.problems.phrasing import phrasing_of
from greenlit.types import AssertTest, CallTest, Problem, StdioTest

INSTRUCTIONS = {
    "function": "Write a {name} program that solves the problem.",
    "program": "Write a {name} program that solves the problem: it reads standard input and prints to standard output.",
}
ANSWERS = {
    "code": "Answer with one {name} code block and nothing else.",
    "reasoning": "Reason first, between <reasoning> and </reasoning>. Then answer, between <answer> and </answer>, "
    "with one {name} code block and nothing else.",
}
GO_ON = (
    "Go on with this {language} file where it stops, up to the end of the block that it stops in. Answer with what "
    "follows, indented as it is to stand there, in one code block and nothing else."
)
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[ \t]*\r?\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_FUTURE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*(?:from __future__ import [^\n]*\n\s*)+")


def shown_lines(problem: Problem) -> list[str]:
    """The shown tests as lines of text, in the problem's own language."""
    lines: list[str] = []
    call = phrasing_of(problem.language).call
    for test in problem.tests:
        if test.role != "shown":
            continue
        if isinstance(test, AssertTest):
            lines.append(test.code.strip())
        elif isinstance(test, CallTest):
            lines.append(call(str(problem.entry_point), test.input, test.output))
        elif isinstance(test, StdioTest):
            lines.append(f"Input:\n{test.input.rstrip()}\nOutput:\n{test.output.rstrip()}")
    return lines


def statement(problem: Problem) -> str:
    """What is asked, with the shown tests below it; and the function's name, where nothing of that tells it."""
    lines = [problem.prompt.strip(), *shown_lines(problem)]
    name = entry_name(problem)
    told = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    if name and not any(told.search(text) for text in (*lines, problem.starter_code)):
        lines.append(f"Call the function `{name}`.")
    return "\n".join(lines)


def entry_name(problem: Problem) -> str:
    """`f` of `f` and of `Solution().f`; empty where there is no entry point."""
    return re.split(r"[.]", problem.entry_point or "")[-1] if problem.language != "q" else problem.entry_point or ""


def template_of(problem: Problem) -> str:
    """Which template it has: `program` where every test is input and output, else `function`."""
    return "program" if all(isinstance(test, StdioTest) for test in problem.tests) else "function"


def render(problem: Problem, chat: bool, strategy: str | None = None) -> str | list[dict[str, str]]:
    """The prompt of a problem.

    Args:
        chat: the tokenizer has a chat template; then a message list is returned, else text that a base model continues.
        strategy: a hint for one candidate (see `strategies`), below the statement.
    """
    asked = statement(problem) if strategy is None else f"{statement(problem)}\n{strategy}"
    if problem.kind == "completion":
        return _to_go_on(problem, chat, strategy)
    phrasing = phrasing_of(problem.language)
    if not chat and problem.answer_format == "code":
        return f"{phrasing.comment(asked)}{problem.starter_code}"
    fence = phrasing.fences[0]
    starter = f"\n\nStart from:\n```{fence}\n{problem.starter_code.rstrip()}\n```" if problem.starter_code else ""
    how = f"{INSTRUCTIONS[template_of(problem)]} {ANSWERS[problem.answer_format]}".format(name=phrasing.name)
    text = f"{how}\n\n{asked}{starter}"
    return [{"role": "user", "content": text}] if chat else f"{text}\n\n"


def _to_go_on(problem: Problem, chat: bool, strategy: str | None) -> str | list[dict[str, str]]:
    """A file that stops; a base model is given nothing else, but for a hint as a comment above it."""
    if not chat:
        return (phrasing_of(problem.language).comment(strategy) if strategy else "") + problem.starter_code
    asked = " ".join(filter(None, (GO_ON.format(language=problem.language), strategy)))
    return [{"role": "user", "content": f"{asked}\n\n```{problem.language}\n{problem.starter_code.rstrip()}\n```"}]


def prompt_hash(prompt: str | list[dict[str, str]]) -> str:
    """16 hex digits that tell two prompts apart."""
    text = prompt if isinstance(prompt, str) else "\0".join(f"{part['role']}\0{part['content']}" for part in prompt)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def extract(text: str, problem: Problem, chat: bool) -> str:
    """The program in a completion, with the problem's prelude before it; empty when there is none.

    A fenced block wins: the last one that defines the entry point, else the first of the language. Without a fence a
    base model's text is the program, up to where it starts on something else (a new docstring, tests). Of an answer
    with reasoning only what is in <answer> counts, or comes after </reasoning>. Of a completion it is the whole file:
    its head, and what goes on with the block that the head stops in.
    """
    text = text.replace("\r\n", "\n")
    if problem.kind == "completion":
        return _gone_on(text, problem, chat)
    if problem.answer_format == "reasoning":
        text, chat = answer_in(text), True
    program = _written(text, problem, chat)
    return with_prelude(program, problem.prelude) if program else ""


def answer_in(text: str) -> str:
    """What stands in the last <answer>, closed or not, else behind </reasoning>; nothing of reasoning without end."""
    _, opened, answer = text.rpartition("<answer>")
    if opened:
        return answer.partition("</answer>")[0]
    _, closed, answer = text.rpartition("</reasoning>")
    return answer if closed or "<reasoning>" not in text else ""


def with_prelude(program: str, prelude: str) -> str:
    """The program behind what the dataset puts in front of it, unless it stands there already.

    Imports from `__future__` stay in the first lines, where alone they are legal.
    """
    if program.startswith(prelude):
        return program
    first = _FUTURE.match(program)
    start = first.end() if first else 0
    return f"{program[:start]}{prelude.rstrip()}\n\n{program[start:]}"


def _gone_on(text: str, problem: Problem, chat: bool) -> str:
    """The head of a file and what a model wrote behind it, up to the end of its block; empty where that is nothing.

    A chat model answers in a fence, or without one; it may begin with the head again, or at the margin.
    """
    head = problem.starter_code
    if chat:
        fence = _FENCE.search(text)
        text = (fence[2] if fence else text).strip("\n")
        text = text.removeprefix(head.strip("\n")).strip("\n")
        line_over = head.endswith("\n") or problem.held_back[0].startswith("\n")
        if line_over and indentation(text) < least_indentation(head):
            text = textwrap.indent(text, " " * (usual_indentation(head) - indentation(text)))
        if line_over and not head.endswith("\n"):
            text = f"\n{text}"
    body = rest_of_block(head, text)
    return head + body if body.strip() else ""


def _written(text: str, problem: Problem, chat: bool) -> str:
    """What the model wrote as its program."""
    phrasing, name = phrasing_of(problem.language), entry_name(problem)
    blocks = [body for fence, body in _FENCE.findall(text) if fence.lower() in phrasing.fences and body.strip()]
    if blocks:
        defining = [body for body in blocks if name and defines(body, name, problem.language)]
        return (defining[-1] if defining else blocks[0]).strip("\n") + "\n"
    if chat:
        return text.strip("\n") + "\n" if text.strip() and _is_program(text, problem) else ""
    cut = phrasing.after.search(text)
    body = text[: cut.start()] if cut else text
    return (problem.starter_code + body).rstrip() + "\n" if body.strip() else ""


def defines(code: str, name: str, language: str = "python") -> bool:
    """Does the text define a function or class of this name (also where it does not parse)?"""
    begins = phrasing_of(language).defines.format(name=re.escape(name))
    return re.search(begins, code, re.MULTILINE) is not None


def _is_program(text: str, problem: Problem) -> bool:
    """Could a text without a fence be the program, and no prose? Only Python can be parsed here."""
    if problem.language in {"javascript", "q"}:
        name = entry_name(problem)
        return not name or defines(text, name, problem.language)
    return _parses(text)


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
