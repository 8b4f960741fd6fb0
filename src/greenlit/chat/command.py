"""The command behind `greenlit chat`.

Questions go to stderr, what the model wrote and what became of it to stdout: a session can be piped in and out. Ctrl-C
stops what is being written; at a question it ends the session.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlit.chat.problems import Typed, problem_of, save_problem
from greenlit.chat.showing import show_verdict
from greenlit.chat.writing import Writer, writer_of
from greenlit.config import PARAMS, AnnotateParams, RewardsParams, SamplingParams, load_params
from greenlit.errors import ConfigError, GreenlitError
from greenlit.execution.judges import Judge
from greenlit.grading import annotate
from greenlit.preferences.terminal import printable
from greenlit.problems.prompts import extract, prompt_hash
from greenlit.rewards.rating import of_candidates, rate
from greenlit.stage.hardware import limit_threads, quiet_libraries
from greenlit.stage.progress import Progress
from greenlit.stage.secrets import redacted
from greenlit.types import Annotated, Candidate

SAVED = Path("my_problems.jsonl")
HELP = """commands, in the place of a problem:
  /again            more programs for the same problem
  /save [FILE]      keep the problem and its tests, with the first program that passes (my_problems.jsonl)
  /quit             the end; Ctrl-D too"""


@dataclass(frozen=True)
class Options:
    """As they stand on the command line."""

    model: str
    sampling: SamplingParams
    greedy: bool
    seed: int
    allow_portable: bool


@dataclass
class _Session:
    """What the last problem was, and what came of it."""

    options: Options
    writer: Writer
    judge: "_LazyJudge"
    rewards: RewardsParams
    typed: Typed | None = None
    best: str | None = None
    written: int = 0
    """Programs for this problem so far: each is sampled anew."""


def start(model: str, backend: str, seed: int, sampling: dict[str, Any], allow_portable: bool) -> int:
    """A session as the command line asks for it.

    Raises:
        ConfigError: there is no such backend.
        GreenlitError: as `chat_command`.
    """
    if backend not in {"transformers", "openai", "vllm"}:
        raise ConfigError(f"--backend: must be transformers or openai (found {backend})")
    quiet_libraries()
    limit_threads(1)
    greedy = sampling["temperature"] == 0
    settings = sampling | ({"temperature": 1.0, "n": 1} if greedy else {})
    params = SamplingParams(backend=backend, **settings)  # type: ignore[arg-type]
    return chat_command(Options(model, params, greedy, seed, allow_portable))


def chat_command(options: Options) -> int:
    """Ask, write, run, until the input ends. Returns the exit code.

    Raises:
        GreenlitError: no such model, no address.
    """
    limits, rewards = _settings(options.allow_portable)
    print("Type a problem; an empty line ends it. /help tells more.", file=sys.stderr)
    with _plain_interrupts(), ExitStack() as stack:
        judge = _LazyJudge(limits, stack)
        session = _Session(options, writer_of(options.model, options.sampling), judge, rewards)
        while (text := _asked("problem> ")) is not None:
            try:
                if not _done(session, text):
                    break
            except KeyboardInterrupt:
                print("\nstopped", file=sys.stderr)
            except GreenlitError as error:  # of one problem: the next may do
                print(f"error: {redacted(str(error))}", file=sys.stderr)
    print(file=sys.stderr)
    return 0


def _settings(allow_portable: bool) -> tuple[AnnotateParams, RewardsParams]:
    """Limits and rewards of the experiment in this folder, else the defaults."""
    if not PARAMS.exists():
        return AnnotateParams(allow_portable=allow_portable), RewardsParams()
    params = load_params()
    allowed = params.annotate.allow_portable or allow_portable
    return params.annotate.model_copy(update={"allow_portable": allowed}), params.rewards


@contextmanager
def _plain_interrupts() -> Iterator[None]:
    """Ctrl-C as a KeyboardInterrupt, as often as it comes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _asked(prompt: str) -> str | None:
    """Lines up to an empty one, or one command; None where the input ends."""
    lines: list[str] = []
    while True:
        print(prompt if not lines else "       > ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return "\n".join(lines) if lines else None
        line = line.rstrip("\r\n")
        if not lines and line.startswith("/"):
            return line
        if not line.strip():
            if lines or prompt.startswith("tests"):
                return "\n".join(lines)
            continue
        lines.append(line)


def _done(session: _Session, text: str) -> bool:
    """One command or problem; False for the end."""
    command, _, rest = text.partition(" ")
    if command in {"/quit", "/q", "/exit"}:
        return False
    if command == "/save":
        _save(session, Path(rest.strip() or SAVED))
    elif command == "/again" and session.typed:
        _write(session)
    elif command == "/again":
        print("there is no problem yet", file=sys.stderr)
    elif text.startswith("/"):
        print(HELP, file=sys.stderr)
    else:
        tests = _asked("tests (one assert a line, or an empty line)> ")
        session.typed, session.best, session.written = problem_of(text, tests or ""), None, 0
        _write(session)
    return True


def _write(session: _Session) -> None:
    """Programs for the problem, each as it comes, and then what it does."""
    typed, sampling = session.typed, session.options.sampling
    assert typed is not None
    places = [-1] if session.options.greedy else range(session.written, session.written + sampling.n)
    for number, place in enumerate(places, 1):
        print(f"--- program {number} of {len(places)}", flush=True)
        candidate = _candidate(session, typed, place)
        graded = _graded(session, typed, candidate)
        show_verdict(graded, bool(typed.tests))
        if typed.tests and graded.passed and session.best is None:
            session.best = candidate.solution
        session.written += place >= 0
    print("/again, /save, /quit, or the next problem", file=sys.stderr)


def _candidate(session: _Session, typed: Typed, place: int) -> Candidate:
    prompt = session.writer.prompt(typed.problem)
    shown = _Shown()
    written = session.writer.write(typed.problem.task_id, place, session.options.seed, prompt, shown)
    shown.end()
    chat = not isinstance(prompt, str)
    code = extract(written.text, typed.problem, chat)
    return Candidate(
        task_id=typed.problem.task_id,
        candidate_idx=place,
        decoding="greedy" if place < 0 else "sampled",
        text=written.text,
        code=code,
        solution=code,
        tokens=written.tokens,
        finish_reason=written.finish_reason,
        logprob=written.logprob,
        seed=session.options.seed,
        prompt_hash=prompt_hash(prompt),
        model=session.options.model,
        backend=session.options.sampling.backend,
    )


class _Shown:
    """Prints pieces of text as they come; nothing in them steers the terminal."""

    def __init__(self) -> None:
        self._open = False

    def __call__(self, piece: str) -> None:
        sys.stdout.write(printable(piece))
        sys.stdout.flush()
        self._open = not piece.endswith("\n") if piece else self._open

    def end(self) -> None:
        """On a line of its own goes what follows."""
        if self._open:
            print(flush=True)


def _graded(session: _Session, typed: Typed, candidate: Candidate) -> Annotated:
    problems = {typed.problem.task_id: typed.problem}
    weighing = of_candidates(session.rewards)
    bar = Progress("chat", 1, "programs")
    graded = annotate(problems, [candidate], session.judge.get(), bar, rate=lambda samples: rate(samples, weighing))
    return next(graded)[0]


class _LazyJudge:
    """The sandbox, from the first program on."""

    def __init__(self, limits: AnnotateParams, stack: ExitStack) -> None:
        self._limits, self._stack = limits, stack
        self._judge: Judge | None = None

    def get(self) -> Judge:
        """The judge; what it is, is told once."""
        if self._judge is None:
            self._judge = self._stack.enter_context(Judge(self._limits, 1))
            print(self._judge.banner, file=sys.stderr)
        return self._judge


def _save(session: _Session, path: Path) -> None:
    if session.typed is None or not session.typed.tests:
        print("nothing to save: a problem of your own needs tests", file=sys.stderr)
        return
    with suppress(BlockingIOError):
        print(save_problem(path, session.typed, session.best), file=sys.stderr)
        return
    print(f"{path}: another process writes to it; try again", file=sys.stderr)
