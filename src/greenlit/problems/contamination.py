"""Leak checks: is a problem to learn from one that is measured on?

A problem leaves train (validation, where test has it too) when one of these finds it on the evaluation side, which is
the dataset's own test and validation problems, and the benchmarks that `prepare.benchmarks` names:

    id         the same task: `Mbpp/11`, `mbpp_011`, and `11` of a source called mbpp are one
    prompt     the same statement, up to case and blanks
    reference  the same reference solution: up to the names of its variables; up to the names of its functions too
               where it has NODES nodes at least
    13-gram    runs of 13 words that both statements have cover SHARES[13] of the words of the shorter one
    8-gram     runs of 8 words cover all of it

Nothing ever leaves test. Within a split problems may repeat each other.

Words are runs of letters and digits, in lower case. A statement is the prompt, or the docstring of the starter code
where that is longer (HumanEval). Where the numbers come from:

- 13 words: GPT-3, https://arxiv.org/abs/2005.14165, appendix C. A share of the shorter text on top of that: Qwen2.5
  (https://arxiv.org/abs/2412.15115) asks for 0.6 of it, Cosmopedia for 0.5.
- Any shared run at all, as s1 and open-r1 (8 words) and DeepSeek-Coder (10, https://arxiv.org/abs/2401.14196) have it,
  takes too much from short tasks that all begin with "Write a function to": of MBPP's 374 train problems 145 share 8
  words with test or validation. phi-1 (https://arxiv.org/abs/2306.11644) found its four 13-gram hits all false.
- Measured here, every pair looked at. MBPP train (374) loses 28: 3 by prompt; 10 by reference, all the same task (at 24
  nodes; below that `4 * a` is the perimeter of a square and of a rhombus); 14 by 13-gram, of which 4 are the same task,
  9 a variant ("left" for "right", a series of patterns), 1 another task of which a shown class is the same; 1 by
  8-gram, contained in the other (at a share of 0.9 instead, 7 of 16 were false: "area of a cone", "of a cube").
  LeetCodeDataset v0.2 with drawn splits (1269 in train) loses 9: 8 sequels ("... II") or siblings, and 1 placeholder
  for a missing statement. v0.2 against the v0.3.1 test file: none. MBPP train against HumanEval: 1 by reference, whose
  recurrence is Fibonacci's. LeetCode against MBPP test and HumanEval: 1, the same task. TACO (388) against both: none.

Statements that are composed from shared phrases (the starter problems) share runs by construction: their adapter says
so, and they are compared by id, prompt and reference only.

The evaluation side is an inverted index of hashed runs, on disk; what is checked streams past it.
"""

import ast
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from greenlit.program_metrics import ast_hash, parse
from greenlit.scratch import digest, scratch
from greenlit.types import Problem

Check = Literal["id", "prompt", "reference", "13-gram", "8-gram"]
CHECKS: tuple[Check, ...] = ("id", "prompt", "reference", "13-gram", "8-gram")
SHARES = {13: 0.5, 8: 1.0}
"""Words per run → share of the shorter statement's words that shared runs must cover."""
NODES = 24
"""Nodes of the syntax tree from which on equal programs mean equal tasks, whatever their functions are called."""
COMMON = 100
"""A run that so many evaluation problems have is a manner of speaking, and is not followed up."""
WHOLE = 100
"""Problems from which on a benchmark counts as checked against: HumanEval has 164, MBPP+ keeps 224 of MBPP's test."""
SHOWN = 160
"""Characters of the overlap that are kept."""
BENCHMARKS = {"humaneval": "HumanEval and HumanEval+", "mbpp": "MBPP test and MBPP+"}
"""What everybody is measured on, by the family of its ids; the + versions have the same ids and statements."""
_FAMILIES = {
    **dict.fromkeys(("humaneval", "humaneval+", "humanevalplus", "openaihumaneval"), "humaneval"),
    **dict.fromkeys(("mbpp", "mbpp+", "mbppplus", "mbppsanitized", "sanitizedmbpp"), "mbpp"),
    "leetcode": "leetcode",
}
_WORD = re.compile(r"[^\W_]+")
_NUMBERED = re.compile(r"(.*?)[\s/:#_-]*?0*(\d+)")


@dataclass(frozen=True)
class Leak:
    """Why a problem cannot stay."""

    check: Check
    of: str
    """`test`, `validation`, or a benchmark by its name."""
    task_id: str
    """The problem there."""
    share: float | None = None
    """Of n-grams: how much of the shorter statement is covered."""
    text: str = ""
    """What both have, cut short; empty where that says nothing."""

    @property
    def reason(self) -> str:
        """As it is counted."""
        return f"repeats a problem of {self.of} ({self.check})"

    @property
    def detail(self) -> str:
        """Which one, and by what."""
        return f"{self.task_id}: {self.text}" if self.text else self.task_id

    def row(self) -> dict[str, Any]:
        """For audit.json."""
        found = {"of": self.of, "problem": self.task_id, "check": self.check}
        return (
            found
            | ({"share": self.share} if self.share is not None else {})
            | ({"text": self.text} if self.text else {})
        )


def normal_id(task_id: str, source: str = "") -> str:
    """One spelling for the ids that a benchmark's problem goes by; other ids in lower case."""
    text = task_id.strip().lower()
    numbered = _NUMBERED.fullmatch(text)
    if numbered:
        family = family_of(numbered[1]) or (family_of(source.partition("/")[0]) if not numbered[1] else None)
        if family:
            return f"{family}/{numbered[2]}"
    head, _, slug = text.partition("/")
    family = family_of(head)
    return f"{family}/{re.sub(r'[^a-z0-9]+', '-', slug)}" if family and slug else text


def family_of(name: str) -> str | None:
    """The benchmark that a name means."""
    return _FAMILIES.get(re.sub(r"[^a-z0-9+]", "", name.lower()))


def statement_of(problem: Problem) -> str:
    """What is asked: the prompt, or the docstring of the starter code where that is longer; of a file its head."""
    if problem.kind == "completion":
        return problem.starter_code
    tree = parse(problem.starter_code) if '"""' in problem.starter_code or "'''" in problem.starter_code else None
    written = [ast.get_docstring(node) or "" for node in ast.walk(tree) if _is_function(node)] if tree else []
    return max([problem.prompt, *written[-1:]], key=len)


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def marks_of(problem: Problem) -> Iterator[tuple[Check, str]]:
    """What two versions of one problem have in common to the letter."""
    yield "id", normal_id(problem.task_id, problem.source)
    statement = " ".join(statement_of(problem).casefold().split())
    if statement:
        yield "prompt", statement
    for code in problem.reference:
        yield from (("reference", mark) for mark in reference_marks(code.removeprefix(problem.prelude)))


def reference_marks(code: str) -> Iterator[str]:
    """Hashes of a program: up to the names of variables, and, of one that is not tiny, of functions."""
    if not code.strip():
        return
    yield ast_hash(code)
    tree = parse(code)
    if tree is not None and sum(1 for _ in ast.walk(tree)) >= NODES:
        try:
            yield "unnamed " + ast_hash(ast.unparse(_Unnamed(tree).visit(tree)))
        except (RecursionError, ValueError):
            return


class _Unnamed(ast.NodeTransformer):
    """What the program defines at its top becomes f0, f1, ... in order."""

    def __init__(self, tree: ast.Module) -> None:
        defined = [node.name for node in tree.body if _is_function(node) or isinstance(node, ast.ClassDef)]
        self._names = {name: f"f{place}" for place, name in enumerate(dict.fromkeys(defined))}

    def _named(self, node: Any) -> ast.AST:
        node.name = self._names.get(node.name, node.name)
        return self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _named

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._names.get(node.id, node.id)
        return node


def gram_hashes(words: list[str], n: int) -> list[int]:
    """A number for each run of n words, by the place where it begins."""
    return [_number(" ".join(words[place : place + n])) for place in range(len(words) - n + 1)]


def _number(text: str) -> int:
    found = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found, signed=True)


def covered(hashes: list[int], n: int, shared: set[int]) -> list[int]:
    """Places of the words that lie in a shared run."""
    return sorted({place + step for place, one in enumerate(hashes) if one in shared for step in range(n)})


class EvaluationSide(AbstractContextManager):
    """What is measured on, and what of it was found elsewhere. A context manager."""

    def __init__(self, ngrams: bool = True) -> None:
        """
        Args:
            ngrams: compare statements by runs of words, too.
        """
        self.ngrams = ngrams
        self.sizes: dict[str, dict[str, int]] = {}
        """By `of`: how many problems it has, and how many of them have a statement and a reference to compare."""
        self.families: Counter[str] = Counter()
        """How many ids here belong to which benchmark."""
        self._file = scratch(
            "owners (owner INTEGER PRIMARY KEY, part TEXT, task_id TEXT, statement TEXT)",
            "marks (mark BLOB PRIMARY KEY, owner INTEGER) WITHOUT ROWID",
            "grams (gram INTEGER, owner INTEGER, PRIMARY KEY (gram, owner)) WITHOUT ROWID",
        )
        self._owners = 0
        self._likely = bytearray(1 << 21)
        """A bit for each hash that may be there, so that the index is seldom asked in vain."""

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def part(self, of: str) -> dict[str, int]:
        """The sizes of one part, there even when it has no problem."""
        return self.sizes.setdefault(of, {"problems": 0, "statements": 0, "references": 0})

    def add(self, of: str, problem: Problem) -> None:
        """Measured on: nothing may learn from this problem."""
        self._owners += 1
        statement = statement_of(problem)
        row = (self._owners, of, problem.task_id, statement)
        self._file.execute("INSERT INTO owners VALUES (?, ?, ?, ?)", row)
        marks = [(check, digest(f"{check} {mark}")) for check, mark in marks_of(problem)]
        self._file.executemany("INSERT OR IGNORE INTO marks VALUES (?, ?)", [(mark, self._owners) for _, mark in marks])
        size = self.part(of)
        size["problems"] += 1
        size["statements"] += any(check == "prompt" for check, _ in marks)
        size["references"] += any(check == "reference" for check, _ in marks)
        self.families.update({normal_id(problem.task_id, problem.source).partition("/")[0]} & BENCHMARKS.keys())
        if self.ngrams:
            words = words_of(statement)
            hashes = sorted({one for n in SHARES for one in gram_hashes(words, n)})
            for one in hashes:
                self._likely[one >> 3 & 0x1FFFFF] |= 1 << (one & 7)
            self._file.executemany("INSERT INTO grams VALUES (?, ?)", [(one, self._owners) for one in hashes])

    def leak(self, problem: Problem) -> Leak | None:
        """The first check that finds the problem here; None where none does."""
        for check, mark in marks_of(problem):
            found = self._file.execute(
                "SELECT part, task_id FROM marks JOIN owners USING (owner) WHERE mark = ?",
                (digest(f"{check} {mark}"),),
            ).fetchone()
            if found:
                return Leak(check, *found, text=_short(statement_of(problem)) if check == "prompt" else "")
        if not self.ngrams:
            return None
        words = words_of(statement_of(problem))
        return next(filter(None, (self._by_runs(words, n, share) for n, share in SHARES.items())), None)

    def _by_runs(self, words: list[str], n: int, share: float) -> Leak | None:
        """The evaluation problem whose statement these words cover best, if they cover enough."""
        hashes = gram_hashes(words, n)
        shared: dict[int, set[int]] = defaultdict(set)
        for one in set(hashes):
            for owner in self._owners_of(one):
                shared[owner].add(one)
        best: tuple[float, int, str] | None = None
        for owner in sorted(shared):
            text, there = words, hashes
            others = words_of(self._of(owner)[2])
            if len(others) < len(words):
                text, there = others, gram_hashes(others, n)
            places = covered(there, n, shared[owner])
            reached = len(places) / len(text)
            if reached >= share and (best is None or reached > best[0]):
                best = reached, owner, " ".join(text[place] for place in places)
        if best is None:
            return None
        reached, owner, text = best
        part, task_id, _ = self._of(owner)
        return Leak("13-gram" if n == 13 else "8-gram", part, task_id, round(reached, 4), _short(text))

    def _owners_of(self, gram: int) -> list[int]:
        if not self._likely[gram >> 3 & 0x1FFFFF] & 1 << (gram & 7):
            return []
        rows = self._file.execute("SELECT owner FROM grams WHERE gram = ? LIMIT ?", (gram, COMMON)).fetchall()
        return [owner for (owner,) in rows] if len(rows) < COMMON else []

    def _of(self, owner: int) -> tuple[str, str, str]:
        """part, task_id, statement."""
        query = "SELECT part, task_id, statement FROM owners WHERE owner = ?"
        found: tuple[str, str, str] = self._file.execute(query, (owner,)).fetchone()
        return found

    def facts(self) -> dict[str, Any]:
        """What was checked against what, and what not; for audit.json."""
        missing = [name for family, name in BENCHMARKS.items() if self.families[family] < WHOLE]
        return {
            "checks": [check for check in CHECKS if self.ngrams or not check.endswith("gram")],
            "against": self.sizes,
            "not_checked": [
                *(f"against {name} (prepare.benchmarks has none)" for name in missing),
                *([] if self.ngrams else ["runs of words: statements here are composed of what many share"]),
            ],
        }


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."
