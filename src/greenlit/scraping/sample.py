"""Problems of our own, read the way those of leetcode.com are; with references and more tests, which that site hides.

A problem of sample.yaml, shortened:
    slug, title, difficulty, tags, split
    content      <p>A weather station notes the rain ...<pre><strong>Input:</strong> rain = [3,0,0,1,0] ...
    signature    {name: longestDrySpell, params: [{name: rain, type: "integer[]"}], return: {type: integer}}
    stub         class Solution: ...
    examples     ["[3,0,0,1,0]", "[4,2]"]                   one value per argument and example
    reference    class Solution: ...
    tests        [{input: [[0]], output: 1}, ...]
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from greenlit.problems.prompts import with_prelude
from greenlit.problems.records import Dropped
from greenlit.scraping.question import Question, problem_of
from greenlit.types import CallTest, Problem

FILE = Path(__file__).with_name("sample.yaml")


def sample_problems() -> Iterator[Problem | Dropped]:
    """Yield the problems in the file's order."""
    for number, row in enumerate(yaml.safe_load(FILE.read_text(encoding="utf-8")), start=1):
        found = problem_of(Question.model_validate(answer_about(number, row)))
        yield found if isinstance(found, Dropped) else _completed(found, row)


def answer_about(number: int, row: dict[str, Any]) -> dict[str, Any]:
    """The row as `data.question` of an answer of leetcode.com."""
    return {
        "questionFrontendId": str(number),
        "title": row["title"],
        "titleSlug": row["slug"],
        "isPaidOnly": False,
        "difficulty": row["difficulty"],
        "content": row["content"],
        "topicTags": [{"name": tag, "slug": tag.lower().replace(" ", "-")} for tag in row["tags"]],
        "codeSnippets": [{"lang": "Python3", "langSlug": "python3", "code": row["stub"]}],
        "exampleTestcases": "\n".join(row["examples"]),
        "metaData": json.dumps(row["signature"]),
    }


def _completed(problem: Problem, row: dict[str, Any]) -> Problem:
    """With what the site would not tell."""
    checker = {} if problem.tests[0].checker == "exact" else {"checker": problem.tests[0].checker}
    more = [CallTest(input=test["input"], output=test["output"], **checker) for test in row["tests"]]
    return problem.model_copy(
        update={
            "task_id": f"sample/{row['slug']}",
            "source": "sample",
            "split": row["split"],
            "tests": [*problem.tests, *more],
            "reference": [with_prelude(row["reference"], problem.prelude)],
        }
    )
