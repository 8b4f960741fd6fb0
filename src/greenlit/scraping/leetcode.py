"""leetcode.com by its GraphQL endpoint: POST {operationName, query, variables} to https://leetcode.com/graphql

The list (`problemsetQuestionList`), shortened:
    total      3078
    questions  [{"titleSlug": "two-sum", "difficulty": "Easy", "isPaidOnly": false, ...}, ...]
A question (`questionData`), shortened:
    questionFrontendId  "1"
    content             "<p>Given an array of integers <code>nums</code> ..."          null where paid only
    codeSnippets        [{"langSlug": "python3", "code": "class Solution:\\n    def twoSum(self, ...) -> ...:\\n  "}]
    exampleTestcases    "[2,7,11,15]\\n9\\n[3,2,4]\\n6"                  one value in JSON per argument, one per line
    metaData            "{\\"name\\": \\"twoSum\\", \\"params\\": [{\\"name\\": \\"nums\\", \\"type\\": ...}], ...}"
An unknown name is answered with `{"data": {"question": null}}`.

What is right is not in the API: it stands in the statement's examples only. So there are two or three tests a problem,
all of them visible to whoever reads the statement, and no reference solution.
"""

import os
from collections.abc import Iterator

from pydantic import AliasChoices, BaseModel, Field

from greenlit.config import LeetcodeParams
from greenlit.problems.records import Dropped
from greenlit.scraping.question import Question, problem_of, task_id_of
from greenlit.scraping.site import Asked, Site
from greenlit.stage.progress import progress
from greenlit.types import Problem

ADDRESS = "https://leetcode.com/graphql"
ADDRESS_VARIABLE = "GREENLIT_LEETCODE_URL"
"""Environment variable: another address of the same kind."""
PAGE = 100
"""Questions per page of the list."""
_LIST = """\
query problemsetQuestionList($categorySlug: String, $limit: Int, $skip: Int, $filters: QuestionListFilterInput) {
  problemsetQuestionList: questionList(categorySlug: $categorySlug limit: $limit skip: $skip filters: $filters) {
    total: totalNum
    questions: data { titleSlug difficulty isPaidOnly }
  }
}"""
_QUESTION = """\
query questionData($titleSlug: String!) {
  question(titleSlug: $titleSlug) {
    questionFrontendId title titleSlug isPaidOnly difficulty content exampleTestcases metaData
    topicTags { name slug }
    codeSnippets { lang langSlug code }
  }
}"""


class _Listed(BaseModel):
    slug: str = Field(alias="titleSlug")
    difficulty: str
    paid_only: bool = Field(validation_alias=AliasChoices("isPaidOnly", "paidOnly"))


class _Page(BaseModel):
    total: int
    questions: list[_Listed]


class ListData(BaseModel):
    """`data` of an answer to the list's query."""

    page: _Page = Field(alias="problemsetQuestionList")


class QuestionData(BaseModel):
    """`data` of an answer about one question."""

    question: Question | None


def address() -> str:
    """Where to ask."""
    return os.environ.get(ADDRESS_VARIABLE, "").strip() or ADDRESS


def scrape_leetcode(params: LeetcodeParams, site: Site) -> Iterator[Problem | Dropped]:
    """Yield the questions that `params` names as problems, or why they give none; in the order of the site's list.

    Raises:
        WorldError, GreenlitError: as `Site.ask`.
    """
    wanted: list[str] = list(dict.fromkeys(params.slugs))
    for listed in () if wanted else _listed(params, site):
        reason = _reason_to_skip(listed, params)
        if reason:
            yield Dropped(task_id_of(listed.slug), reason)
            continue
        wanted.append(listed.slug)
        if len(wanted) == params.limit:
            break
    with progress("scrape leetcode", len(wanted), "questions") as bar:
        for slug in wanted:
            asked = Asked("questionData", _QUESTION, {"titleSlug": slug}, f"question-{slug}")
            question = site.ask(asked, QuestionData).question
            yield Dropped(task_id_of(slug), "unknown to the site") if question is None else problem_of(question)
            bar.advance()


def _listed(params: LeetcodeParams, site: Site) -> Iterator[_Listed]:
    """The site's list, page by page, as far as it is read; a list that grows meanwhile repeats a few, which are left
    out."""
    seen: set[str] = set()
    skip, total = 0, 1
    while skip < total:
        variables = {"categorySlug": params.category, "skip": skip, "limit": PAGE, "filters": {}}
        page = site.ask(Asked("problemsetQuestionList", _LIST, variables, f"list-{skip}"), ListData).page
        for listed in page.questions:
            if listed.slug not in seen:
                seen.add(listed.slug)
                yield listed
        if not page.questions:
            return
        skip, total = skip + PAGE, page.total


def _reason_to_skip(listed: _Listed, params: LeetcodeParams) -> str | None:
    if listed.paid_only:
        return "paid only"
    if listed.difficulty not in params.difficulties:
        return "not of the difficulties asked for"
    return None
