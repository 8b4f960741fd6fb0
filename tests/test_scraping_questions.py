"""From what leetcode.com says about a question to a problem, or the reason why not; and the sample of our own."""

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from leetcode_server import ROWS, question

from greenlit.execution import judge
from greenlit.problems.own import load_own
from greenlit.problems.prompts import render
from greenlit.problems.records import Dropped
from greenlit.scraping.folder import count_lines, write_folder
from greenlit.scraping.question import Question, problem_of
from greenlit.scraping.sample import sample_problems
from greenlit.scraping.statement import arguments_in, examples_in, text_of
from greenlit.types import CallTest, Problem


def read(content: dict[str, Any]) -> Problem | Dropped:
    return problem_of(Question.model_validate(content, strict=True))


def with_example(given: str, output: str, kind: str = "integer", returns: str = "integer", **more: Any) -> Any:
    """A question of one argument `x`, with one example."""
    meta = {"name": "solve", "params": [{"name": "x", "type": kind}], "return": {"type": returns}}
    stub = "class Solution:\n    def solve(self, x):\n        "
    return read(
        question(
            content=f"<p>Solve.</p><pre><strong>Input:</strong> x = {given}\n<strong>Output:</strong> {output}\n</pre>",
            exampleTestcases=given,
            metaData=json.dumps(meta),
            codeSnippets=[{"lang": "Python3", "langSlug": "python3", "code": stub}],
            **more,
        )
    )


def test_a_question_becomes_a_problem() -> None:
    found = read(question(8))
    assert found.task_id == "leetcode/change-the-guard"
    assert found.entry_point == "Solution().changeTheGuard"
    assert found.starter_code.startswith(
        "class Solution:\n    def changeTheGuard(self, guards: List[str], changes: int)"
    )
    assert found.starter_code.endswith(":\n        ")
    assert [(test.input, test.output) for test in found.tests] == [
        ([["Ann", "Bo", "Cy"], 1], ["Bo", "Cy", "Ann"]), ([["Ann", "Bo"], 4], ["Ann", "Bo"]),
    ]  # fmt: skip
    assert (found.difficulty, found.tags, found.source) == ("Medium", ["Array", "Simulation"], "leetcode")
    assert found.model_extra["signature"] == "changeTheGuard(guards: string[], changes: integer) -> string[]"
    assert found.split is None, "drawn when it is loaded"
    assert "- `0 <= changes <= 10^9`" in found.prompt
    assert "<" not in found.prompt.replace("<=", "")


def test_recorded_answers_are_read(shared_data: Path) -> None:
    folder = shared_data / "leetcode_graphql"
    one = json.loads((folder / "recorded_selectProblem.json").read_text())["data"]["question"]
    found = read(one)
    assert (found.task_id, found.entry_point) == ("leetcode/two-sum", "Solution().twoSum")
    assert [(test.input, test.output, test.checker) for test in found.tests] == [
        ([[2, 7, 11, 15], 9], [0, 1], "unordered"),
        ([[3, 2, 4], 6], [1, 2], "unordered"),
        ([[3, 3], 6], [0, 1], "unordered"),
    ]
    daily = json.loads((folder / "recorded_dailyProblem.json").read_text())
    found = read(daily["data"]["activeDailyCodingChallengeQuestion"]["question"])
    assert [(test.input, test.output) for test in found.tests] == [([[1, 0, 1, 0, 1], 2], 4), ([[0] * 5, 0], 15)]
    assert "\r" not in found.model_dump_json()
    right = "def numSubarraysWithSum(self, nums, goal):\n        return sum(\n            sum(nums[i:j]) == goal "
    right += "for i in range(len(nums)) for j in range(i + 1, len(nums) + 1)\n        )\n"
    verdicts = list(
        judge([found], [(found.task_id, f"{found.prelude}\nclass Solution:\n    {right}")], allow_portable=True)
    )
    assert verdicts[0].passed_all, verdicts[0].error
    paid = json.loads((folder / "authored_paid_only.json").read_text())["data"]["question"]
    assert read(paid) == Dropped("leetcode/two-sum-iii-data-structure-design", "paid only")


def test_the_sample_is_read_whole_and_its_references_pass_the_judge() -> None:
    problems = list(sample_problems())
    assert 5 <= len(problems) == len(ROWS)
    assert not [one for one in problems if isinstance(one, Dropped)]
    assert {one.split for one in problems} == {"train", "validation", "test"}
    verdicts = list(judge(problems, [(one.task_id, one.reference[0]) for one in problems], allow_portable=True))
    assert all(verdict.passed_all for verdict in verdicts), [verdict.error for verdict in verdicts]
    wrong = [(one.task_id, f"{one.starter_code}return None\n") for one in problems]
    assert not any(verdict.passed_all for verdict in judge(problems, wrong, allow_portable=True))


def test_both_layouts_of_examples_are_in_the_sample() -> None:
    contents = "".join(row["content"] for row in ROWS)
    assert "example-block" in contents
    assert "<pre>" in contents


def test_what_comes_of_a_source_is_read_by_the_file_dataset(tmp_path: Path) -> None:
    found = [*sample_problems(), read(question(0)), Dropped("leetcode/x", "paid only"), Dropped("leetcode/y", "z", "d")]
    counts = write_folder(tmp_path, {"source": "s"}, iter(found), None)
    assert counts == {"problems": 11, "skipped": {"paid only": 1, "z": 1}}
    assert count_lines("s", counts) == ["s: 11 problems", "1 skipped: paid only", "1 skipped: z"]
    loaded = list(load_own(tmp_path / "problems.jsonl"))
    assert [one.task_id for one in loaded] == [one.task_id for one in found if isinstance(one, Problem)]
    assert all(one.split for one in loaded)
    assert "class Solution" in render(loaded[-1], chat=False)
    skipped = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert skipped[1] == {"task_id": "leetcode/y", "reason": "z", "detail": "d"}


META = json.loads(question(0)["metaData"])
REASONS = [
    ({"isPaidOnly": True, "content": None, "codeSnippets": None, "metaData": None}, "paid only"),
    ({"content": None}, "it has no statement"),
    ({"content": ""}, "it has no statement"),
    ({"metaData": None}, "its metaData cannot be read"),
    ({"metaData": "{"}, "its metaData cannot be read"),
    ({"metaData": json.dumps({**META, "params": [{"name": 1}]})}, "its metaData cannot be read"),
    ({"metaData": json.dumps({"mysql": ["create table"]})}, "no function to write"),
    ({"metaData": "[]"}, "no function to write"),
    ({"metaData": json.dumps({**META, "params": []})}, "no function to write"),
    ({"metaData": json.dumps({"classname": "Bag", "constructor": {}, "methods": []})}, "a class to design, not"),
    ({"metaData": json.dumps({**META, "systemdesign": True})}, "a class to design, not"),
    ({"metaData": json.dumps({**META, "manual": True})}, "the site judges it by a program of its own"),
    ({"metaData": json.dumps({**META, "return": {"type": "void"}})}, "changes its argument instead"),
    ({"metaData": json.dumps({**META, "return": {"type": "ListNode"}})}, "arguments or answers that are no plain"),
    ({"metaData": json.dumps({**META, "name": "other"})}, "its python3 stub and its metaData disagree"),
    ({"metaData": json.dumps({**META, "params": META["params"] * 2})}, "its python3 stub and its metaData disagree"),
    ({"codeSnippets": None}, "no python3 stub"),
    ({"codeSnippets": [{"langSlug": "cpp", "code": "class Solution {};"}]}, "no python3 stub"),
    ({"codeSnippets": [{"langSlug": "python3", "code": "def (:"}]}, "its python3 stub and its metaData disagree"),
    ({"content": "<p>No example.</p>"}, "no example in its statement"),
    ({"content": question(0)["content"] + "<p>You may return any valid answer.</p>"}, "several answers may be right"),
    ({"exampleTestcases": "[3,0,0,1,0]\n[4,3]"}, "its statement and its example test cases disagree"),
    ({"exampleTestcases": '[3,0,0,1,0]\n"four"'}, "an example is not of its type"),
    ({"exampleTestcases": "[3,0,0,1,0]\n[4,"}, "an example is no plain value"),
    ({"content": "<pre>Input: rain = [1]\nOutput: 1, rain = [_]\n</pre>"}, "what should come out of an example is no"),
    ({"content": '<pre>Input: rain = [1]\nOutput: "1"\n</pre>'}, "what should come out of an example is not of its"),
    ({"content": "<pre>Input: see the image\nOutput: 1\n</pre>"}, "an example whose arguments cannot be read"),
    ({"content": "<pre>Input: rain = [1.5]\nOutput: 1\n</pre>"}, "an example whose arguments are of other types"),
]


@pytest.mark.parametrize(("changes", "reason"), REASONS, ids=[str(place) for place in range(len(REASONS))])
def test_what_gives_no_problem_is_dropped_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    found = read(question(0, **changes))
    assert isinstance(found, Dropped)
    assert found.reason.startswith(reason), found
    assert found.detail.isprintable()


def test_arguments_come_from_either_place_where_only_one_can_be_read() -> None:
    unreadable = question(0)["content"].replace("rain = ", "the weather: ")
    assert [test.input for test in read(question(0, content=unreadable)).tests] == [[[3, 0, 0, 1, 0]], [[4, 2]]]
    fewer = question(0, exampleTestcases="[3,0,0,1,0]")
    assert [test.input for test in read(fewer).tests] == [[[3, 0, 0, 1, 0]], [[4, 2]]]
    assert isinstance(read(question(0, exampleTestcases=None)), Problem)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("integer", "-7", -7),
        ("long", "9007199254740993", 9007199254740993),
        ("double", "2.50000", 2.5),
        ("double", "3", 3),
        ("boolean", "true", True),
        ("string", '"a \\"b\\" c"', 'a "b" c'),
        ("character", '"x"', "x"),
        ("integer[][]", "[[1],[],[2,3]]", [[1], [], [2, 3]]),
        ("list<list<string>>", '[["a"],[]]', [["a"], []]),
        ("list<integer>[]", "[[1]]", [[1]]),
        ("boolean[]", "[true, false]", [True, False]),
    ],
)
def test_values_of_every_plain_type_are_read(kind: str, given: str, value: Any) -> None:
    found = with_example(given, given, kind, kind)
    assert isinstance(found, Problem), found
    (test,) = found.tests
    assert (test.input, test.output) == ([value], value)
    assert type(test.input[0]) is type(value)
    assert test.checker == ("float" if kind == "double" else "exact")


@pytest.mark.parametrize(
    ("kind", "given"),
    [("integer", "true"), ("boolean", "1"), ("character", '"xy"'), ("integer[]", "[[1]]"), ("integer[]", "[1, null]"),
     ("string", "7"), ("integer", "1.5"), ("double", '"1.0"')],
)  # fmt: skip
def test_values_of_another_type_are_none_of_its_tests(kind: str, given: str) -> None:
    assert isinstance(with_example(given, "1", kind), Dropped)
    assert isinstance(with_example("1", given, "integer", kind), Dropped)


def test_the_comparison_follows_the_statement() -> None:
    def checkers(row: int, more: str) -> set[str]:
        content = question(row)["content"] + f"<p>{more}</p>"
        return {test.checker for test in read(question(row, content=content)).tests}

    assert checkers(3, "") == {"exact"}
    assert checkers(3, "Return them in any order.") == {"unordered"}
    assert checkers(4, "") == {"float"}


def test_a_statement_reads_as_people_read_it() -> None:
    text = text_of(
        "<p>Given&nbsp;<code>nums</code>,\r\n   an <em>array</em> of <code>n</code> numbers &lt; 2<sup>n - 1</sup> and"
        " x<sub>i</sub>.</p>\n\n<ul>\n\t<li><code>1 &lt;= n &lt;= 10<sup>4</sup></code></li>\n<li>b<br>c</li></ul>"
        '<img src="x.png"/><script>alert(1)</script><pre>\n  a\n    b &amp; c\n</pre></p></div>'
    )
    assert text == (
        "Given `nums`, an array of `n` numbers < 2^(n - 1) and x_i.\n\n- `1 <= n <= 10^4`\n- b\nc\n\n[image]\n\n"
        "  a\n    b & c"
    )


@pytest.mark.parametrize(
    ("text", "examples"),
    [
        ("Input: a = 1\nOutput: 2\nExplanation: so", [("a = 1", "2")]),
        ("Input: a = 1\n\nOutput: 2\n\nExplanation: so", [("a = 1", "2")]),
        ("Input\na = 1\nOutput\n2\n\nConstraints:", [("a = 1", "2")]),
        (
            "Input:a = 1\nOutput:[[1],\n[2]]\nExample 2:\n\nInput: a = 2\nOutput: 3",
            [("a = 1", "[[1],\n[2]]"), ("a = 2", "3")],
        ),
        ("Input: a = 1\nOutput: `2`", [("a = 1", "2")]),
        ("Input: s = \"Output: x\"\nOutput: 3\nNote: n", [('s = "Output: x"', "3")]),
        ("The Input: is here. Output: there.", []),
        ("Input: a\nno answer", []),
        ("", []),
    ],
)  # fmt: skip
def test_examples_are_found_in_all_their_forms(text: str, examples: list[tuple[str, str]]) -> None:
    assert examples_in(text) == examples


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("nums = [2,7], target = 9", {"nums": [2, 7], "target": 9}),
        ('s = "a,b = c", ok = true, no = null', {"s": "a,b = c", "ok": True, "no": None}),
        ("a = -1.5,\nb = [[]]", {"a": -1.5, "b": [[]]}),
        ("a = x", None),
        ("a = __import__('os')", None),
        ("[1], 2", None),
        ("1, b = 2", None),
        ("", None),
        ("a = 1, a = 2", None),
        ("**{'a': 1}", None),
        ("a = 1) + f(b = 2", None),
        ("a = " + "(" * 300, None),
    ],
)
def test_arguments_are_read_and_never_run(written: str, values: dict[str, Any] | None) -> None:
    assert arguments_in(written) == values


PLAIN = st.one_of(
    st.integers(), st.booleans(), st.text(string.printable), st.floats(allow_nan=False, allow_infinity=False)
)
TYPED = st.one_of(
    st.tuples(st.just("integer"), st.integers()),
    st.tuples(st.just("integer[]"), st.lists(st.integers())),
    st.tuples(st.just("string"), st.text(string.ascii_letters + ' ,="[]:&<>')),
    st.tuples(st.just("list<list<boolean>>"), st.lists(st.lists(st.booleans()))),
    st.tuples(st.just("double[]"), st.lists(st.floats(allow_nan=False, allow_infinity=False))),
    st.tuples(st.just("character[][]"), st.lists(st.lists(st.sampled_from(string.ascii_letters)))),
)


@settings(max_examples=150, deadline=None)
@given(TYPED, TYPED)
def test_whatever_stands_in_an_example_comes_back(given: tuple[str, Any], returned: tuple[str, Any]) -> None:
    def as_html(value: Any) -> str:
        return json.dumps(value).replace("&", "&amp;").replace("<", "&lt;")

    found = with_example("GIVEN", "OUTPUT", given[0], returned[0])
    assert isinstance(found, Dropped), "the frame alone is no example"
    content = (
        f"<pre><strong>Input:</strong> x = {as_html(given[1])}\n<strong>Output:</strong> {as_html(returned[1])}</pre>"
    )
    stub = "class Solution:\n    def solve(self, x):\n        "
    meta = {"name": "solve", "params": [{"name": "x", "type": given[0]}], "return": {"type": returned[0]}}
    found = read(
        question(
            content=content, exampleTestcases=json.dumps(given[1]), metaData=json.dumps(meta),
            codeSnippets=[{"langSlug": "python3", "code": stub}],
        )
    )  # fmt: skip
    assert isinstance(found, Problem), found
    assert [(test.input, test.output) for test in found.tests] == [([given[1]], returned[1])]


JSON = st.recursive(st.none() | PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@settings(max_examples=200, deadline=None)
@given(
    content=st.none() | st.text() | st.sampled_from([question(0)["content"], "<pre>Input: rain = [1]\nOutput: "]),
    examples=st.none() | st.text(string.printable),
    meta=st.none() | st.text(string.printable) | JSON.map(json.dumps) | st.just(question(0)["metaData"]),
    code=st.text(string.printable) | st.just(question(0)["codeSnippets"][0]["code"]),
)
@example(content="<" * 50, examples="[" * 5000, meta=question(0)["metaData"], code="(" * 500)
@example(content="<pre>Input: a = 1\nOutput: " + "[" * 100_000, examples="[]", meta=question(0)["metaData"], code="")
@example(content=question(0)["content"], examples="[1]", meta='{"a":' * 5000, code="")
def test_nothing_a_site_says_breaks_the_reader(content: Any, examples: Any, meta: Any, code: str) -> None:
    snippets = [{"langSlug": "python3", "code": code}]
    found = read(question(0, content=content, exampleTestcases=examples, metaData=meta, codeSnippets=snippets))
    if isinstance(found, Dropped):
        assert found.reason
        assert len(found.reason) + len(found.detail) < 500
    else:
        assert all(isinstance(test, CallTest) for test in found.tests)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("<>/&;psubreli \n\t\r!-\"'=co1")))
def test_any_text_is_html_to_the_reader(content: str) -> None:
    text = text_of(content)
    assert text == text.strip()
    assert "\n\n\n" not in text
