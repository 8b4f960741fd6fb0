"""The scraper against a real server: politeness, every fault of the web, nothing asked twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from leetcode_server import BLOCKED, Answer, Server, question, serve, throttled

from greenlit.config import LeetcodeParams
from greenlit.config.scraping import TERMS
from greenlit.errors import ConfigError, DataError, GreenlitError, WorldError
from greenlit.problems.records import Dropped
from greenlit.scraping.leetcode import scrape_leetcode
from greenlit.scraping.responses import Responses, name_of
from greenlit.scraping.site import Site
from greenlit.types import Problem

SLUGS = [question(place)["titleSlug"] for place in range(4)]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve([question(place) for place in range(4)]) as state:
        yield state


class Scraper:
    """Scrapes into one folder, with waits that are noted and not waited."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.waits: list[float] = []
        self.told: list[str] = []

    def __call__(self, **settings: Any) -> list[Problem | Dropped]:
        params = LeetcodeParams(terms=TERMS, **settings)
        with Site(self.url, params, Responses(self.folder), self.waits.append, self.told.append) as site:
            return list(scrape_leetcode(params, site))


@pytest.fixture
def scrape(server: Server, tmp_path: Path) -> Scraper:
    return Scraper(server.url, tmp_path / "answers")


def test_what_the_site_lists_becomes_problems_in_its_order(server: Server, scrape: Scraper) -> None:
    found = scrape()
    assert [one.task_id for one in found] == [f"leetcode/{slug}" for slug in SLUGS]
    assert all(isinstance(one, Problem) for one in found)
    assert [request.operation for request in server.requests] == ["problemsetQuestionList"] + ["questionData"] * 4
    host = server.url.removesuffix("/graphql")
    assert {request.headers["Referer"] for request in server.requests} == {host}


def test_every_request_waits_two_seconds_first_and_never_less(server: Server, scrape: Scraper) -> None:
    scrape()
    assert scrape.waits == [2.0] * len(server.requests)
    for settings in ({"interval_s": 1.9}, {"interval_s": 0}, {"interval_s": float("nan")}):
        with pytest.raises(ValueError, match="interval_s"):
            LeetcodeParams(terms=TERMS, **settings)
    scrape.waits.clear()
    scrape(interval_s=5.0, edition=1)
    assert set(scrape.waits) == {5.0}


def test_nothing_is_asked_twice(server: Server, scrape: Scraper) -> None:
    first = scrape(limit=2)
    assert [one.task_id for one in first] == [f"leetcode/{slug}" for slug in SLUGS[:2]]
    assert scrape(limit=2) == first
    assert len(server.requests) == 3, "the second time nothing was asked"
    assert len(scrape(limit=None)) == 4
    assert len(server.requests) == 5
    assert set(server.asked().values()) == {1}
    scrape(limit=None, edition=1)
    assert set(server.asked().values()) == {2}, "another edition asks anew"


def test_answers_of_another_machine_are_taken_in(server: Server, scrape: Scraper, tmp_path: Path) -> None:
    params = LeetcodeParams(terms=TERMS)
    with Site(server.url, params, Responses(scrape.folder), scrape.waits.append) as site:
        first = list(scrape_leetcode(params, site))
        (tmp_path / "responses.jsonl").write_text("".join(site.responses.rows()))
    asked = len(server.requests)
    elsewhere = Responses(tmp_path / "elsewhere")
    elsewhere.take_in(tmp_path / "responses.jsonl")
    with Site(server.url, params, elsewhere, scrape.waits.append) as site:
        assert list(scrape_leetcode(params, site)) == first
    assert len(server.requests) == asked
    (tmp_path / "evil.jsonl").write_text('{"name": "../../evil.json", "answer": 1}\n{"name": 7}\n')
    elsewhere = Responses(tmp_path / "elsewhere")
    elsewhere.take_in(tmp_path / "evil.jsonl")
    elsewhere.close()
    assert not list(tmp_path.rglob("evil.json"))


def test_an_answer_torn_on_disk_is_a_clear_error(scrape: Scraper) -> None:
    scrape()
    torn = next(scrape.folder.glob("question-*"))
    torn.write_text(torn.read_text()[:40])
    with pytest.raises(DataError, match=rf"{torn.name}: not JSON"):
        scrape()


def test_only_one_process_asks_at_a_time(scrape: Scraper) -> None:
    held = Responses(scrape.folder)
    with pytest.raises(WorldError, match="answers: another process is asking\nhint: wait for it, or end it"):
        scrape()
    held.close()
    assert len(scrape()) == 4


def test_litter_of_a_killed_process_goes(scrape: Scraper) -> None:
    scrape.folder.mkdir()
    (scrape.folder / ".question-x.json.abc.part").write_text("{")
    assert len(scrape()) == 4
    assert not list(scrape.folder.glob(".*.part"))


def test_a_list_of_several_pages_is_read_as_far_as_needed() -> None:
    many = [question(0, titleSlug=f"q-{number}") for number in range(220)]
    with serve(many) as state:
        for limit, pages in ((1, 1), (100, 1), (101, 2), (None, 3)):
            state.requests.clear()
            params = LeetcodeParams(terms=TERMS, limit=limit, edition=limit or 0)
            with Site(state.url, params, Answers(), lambda _: None) as site:
                found = list(scrape_leetcode(params, site))
            assert len(found) == (limit or 220)
            assert [one.operation for one in state.requests].count("problemsetQuestionList") == pages


class Answers(Responses):
    """Answers in memory, where two hundred files would only cost time."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, name: str) -> Any | None:
        return json.loads(self.kept[name]) if name in self.kept else None

    def put(self, name: str, body: str) -> None:
        self.kept[name] = body

    def close(self) -> None:
        pass


def test_a_list_that_shifts_while_it_is_read_repeats_nobody(server: Server, scrape: Scraper) -> None:
    server.listed = [server.listed[0]] * 150 + server.listed
    assert [one.task_id for one in scrape()] == [f"leetcode/{slug}" for slug in SLUGS]


def test_what_is_skipped_is_told_with_its_reason(server: Server, scrape: Scraper) -> None:
    server.listed[0]["isPaidOnly"] = True
    server.listed[1]["paidOnly"] = server.listed[1].pop("isPaidOnly")
    del server.questions[SLUGS[3]]
    found = scrape(difficulties=["Medium"])
    reasons = {one.task_id.removeprefix("leetcode/"): one.reason for one in found if isinstance(one, Dropped)}
    assert reasons == {
        SLUGS[0]: "paid only", SLUGS[1]: "not of the difficulties asked for", SLUGS[3]: "unknown to the site",
    }  # fmt: skip
    assert [request.variables.get("titleSlug") for request in server.requests] == [None, *SLUGS[2:]]


def test_named_questions_need_no_list_and_unknown_ones_are_told(server: Server, scrape: Scraper) -> None:
    found = scrape(slugs=[SLUGS[2], "no-such-thing", SLUGS[2]])
    assert [one.task_id for one in found] == [f"leetcode/{SLUGS[2]}", "leetcode/no-such-thing"]
    assert found[1] == Dropped("leetcode/no-such-thing", "unknown to the site")
    assert {request.operation for request in server.requests} == {"questionData"}
    scrape(slugs=["no-such-thing"])
    assert len(server.requests) == 2, "that it is unknown is an answer, too"


@pytest.mark.parametrize("slug", ["../../etc", "Two-Sum", "a--b", "two-sum/", "a" * 201, ""])
def test_what_is_no_slug_is_refused(slug: str) -> None:
    with pytest.raises(ValueError, match="slugs"):
        LeetcodeParams(terms=TERMS, slugs=[slug])


def test_a_list_of_hostile_slugs_writes_nowhere_else(server: Server, scrape: Scraper, tmp_path: Path) -> None:
    server.listed = [{**server.listed[0], "titleSlug": "../../\x1b[31m" + "x" * 500}]
    (found,) = scrape()
    assert found.task_id.isprintable()
    assert len(found.task_id) < 220
    assert {path.parent for path in tmp_path.rglob("*.json")} == {scrape.folder}


FAULTS = {
    "429": (throttled(), "HTTP 429 (Request was throttled. Expected available in 60 seconds.)"),
    "500": (Answer(b'{"oops": 1}', 500), 'HTTP 500 ({"oops": 1})'),
    "502": (Answer(b"<html><title>Bad gateway</title>", 502, "text/html"), "a web page titled 'Bad gateway'"),
    "503": (Answer(b"", 503), "HTTP 503 to"),
    "408": (Answer(b"", 408), "HTTP 408 to"),
    "cut short": (Answer(b'{"data": {"question": null}}', cut=9), "no whole answer"),
    "half a JSON": (Answer(b'{"data": {"questi'), "HTTP 200 with 17 bytes that are no whole JSON"),
    "not UTF-8": (Answer(b'{"data": "\xff"}'), "HTTP 200 with 13 bytes that are no whole JSON"),
    "empty": (Answer(b""), "HTTP 200 with 0 bytes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_costs_a_wait_only(server: Server, scrape: Scraper, name: str) -> None:
    fault, told = FAULTS[name]
    server.faults = [fault, fault]
    assert len(scrape()) == 4
    assert len(server.requests) == 7
    assert len(scrape.told) == 2
    assert all(told in line and "; asking again in" in line for line in scrape.told)
    assert scrape.waits[0] == 2.0
    assert scrape.waits[2] >= scrape.waits[1] >= 4.0, "later and later"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_stays_ends_it_with_one_message_and_what_came_is_kept(
    server: Server, scrape: Scraper, name: str
) -> None:
    server.faults, (server.always, told) = [], FAULTS[name]
    healthy, server.always = server.always, None
    assert len(scrape(limit=1)) == 1
    server.always = healthy
    with pytest.raises(WorldError) as error:
        scrape(attempts=3)
    message = str(error.value)
    assert told.removesuffix(" to") in message
    assert "to all of 3 requests for questionData(titleSlug: " in message
    assert "\nhint: try again later; 2 answers are kept in " in message
    assert message.endswith("and the same command goes on from there")
    assert len(message.splitlines()) == 2
    assert len(server.requests) == 2 + 3
    server.always = None
    assert len(scrape()) == 4
    assert len(server.requests) == 5 + 3


def test_a_server_that_is_silent_or_gone(server: Server, scrape: Scraper, tmp_path: Path) -> None:
    server.always = Answer(b"{}", after_s=0.5)
    with pytest.raises(WorldError, match=r"no answer within 0.1 s to all of 2 requests"):
        scrape(attempts=2, timeout_s=0.1)
    nobody = Scraper("http://127.0.0.1:9/graphql", tmp_path / "nobody")
    with pytest.raises(WorldError, match=r"127.0.0.1:9: no whole answer \(.*refused\) to the request for"):
        nobody(attempts=1)
    for address in ("ftp://x/", "leetcode.com/graphql", "", "http://x:port/", "http://user:key@x/"):
        with pytest.raises(ConfigError, match=r"must be an http\(s\) address"):
            Scraper(address, tmp_path)()


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        (throttled(Retry_After="17"), 17),
        (throttled(Retry_After="Sun, 01 Nov 2026 10:01:30 GMT", Date="Sun, 01 Nov 2026 10:00:00 GMT"), 90),
        (throttled(Retry_After="soon"), 60),
        (throttled(), 60),
        (throttled(Retry_After="0"), 4),
        (Answer(b"", 503, headers={"Retry-After": "33"}), 33),
    ],
)
def test_it_waits_as_long_as_it_is_asked_to(server: Server, scrape: Scraper, fault: Answer, least: float) -> None:
    server.faults = [fault]
    scrape()
    assert least <= scrape.waits[1] <= least + 2.5


@pytest.mark.parametrize("fault", [throttled(Retry_After="3600"), Answer(b"", 503, headers={"Retry-After": "3600"})])
def test_a_site_that_asks_for_too_long_a_wait_is_left_alone(server: Server, scrape: Scraper, fault: Answer) -> None:
    server.always = fault
    with pytest.raises(WorldError, match=r"HTTP (429|503).* to problemsetQuestionList") as error:
        scrape()
    assert "it asks to be left alone for 3600 s" in str(error.value)
    assert len(server.requests) == 1


def test_waits_are_of_different_length_by_chance(server: Server, scrape: Scraper) -> None:
    server.faults = [Answer(b"", 500)] * 5
    scrape()
    first = scrape.waits[1:6]
    server.faults = [Answer(b"", 500)] * 5
    scrape.waits.clear()
    scrape(edition=1)
    assert first != scrape.waits[1:6]
    assert all(4 * 2**place <= wait <= 4 * 2**place + 2 for place, wait in enumerate(first))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Answer(BLOCKED, 403, "text/html"), "blocked: HTTP 403 with a web page titled 'Just a moment...' to"),
        (Answer(BLOCKED, 503, "text/html"), "blocked: HTTP 503 with a web page titled 'Just a moment...' to"),
        (Answer(BLOCKED, 200, "text/html"), "blocked: HTTP 200 with a web page"),
        (Answer(b"<html>", 202, "text/html"), "blocked: HTTP 202 with a web page"),
        (Answer(b"  <HTML>who are you?", 200), "blocked: HTTP 200 with a web page to"),
        (Answer(b'{"detail": "CSRF"}', 403), "blocked: HTTP 403 (CSRF) to"),
        (Answer(b"", 401), "blocked: HTTP 401 to"),
        (Answer(b"", 302, headers={"Location": "/login"}), "HTTP 302, elsewhere (/login), to"),
    ],
)
def test_a_block_ends_it_at_once(server: Server, scrape: Scraper, fault: Answer, told: str) -> None:
    scrape(limit=1)
    server.always = fault
    with pytest.raises(WorldError) as error:
        scrape()
    assert told in str(error.value)
    assert f"questionData(titleSlug: {json.dumps(SLUGS[1])})" in str(error.value)
    assert "2 answers are kept in" in str(error.value)
    assert len(server.requests) == 3, "not asked again"


DRIFT = {
    "a field that is gone": (
        Answer(b'{"errors": [{"message": "Cannot query field \'content\' on type \'QuestionNode\'."}]}', 400),
        "Cannot query field 'content' on type 'QuestionNode'.",
    ),
    "errors beside data": (Answer(b'{"errors": [{"message": "no"}], "data": {"question": null}}'), "it said: no"),
    "no data": (Answer(b'{"question": null}'), 'it said: {"question": null}'),
    "a list": (Answer(b"[]"), "it said: []"),
    "another type": (
        Answer(json.dumps({"data": {"question": question(0, title=7)}}).encode()),
        "data.question.title: input should be a valid string (found 7)",
    ),
    "a missing field": (Answer(b'{"data": {"question": {}}}'), "data.question.questionFrontendId: field required"),
    "gone": (Answer(b"<html><title>404</title>", 404, "text/html"), "HTTP 404 with a web page titled '404'"),
}


@pytest.mark.parametrize("name", DRIFT)
def test_another_api_is_told_with_what_was_asked_and_what_was_said(server: Server, scrape: Scraper, name: str) -> None:
    server.always, told = DRIFT[name]
    with pytest.raises(GreenlitError) as error:
        scrape(slugs=[SLUGS[0]])
    message = str(error.value)
    assert not isinstance(error.value, WorldError)
    assert error.value.exit_code == 1
    assert (
        f'its API is not what it was: asked questionData(titleSlug: "{SLUGS[0]}") with `query questionData(' in message
    )
    assert told in message
    assert len(message.splitlines()) == 2
    assert len(server.requests) == 1, "not asked again"
    server.always = None
    assert len(scrape(slugs=[SLUGS[0]])) == 1, "an answer that nothing can be done with is not kept"


def test_a_huge_answer_is_not_read_to_its_end(server: Server, scrape: Scraper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlit.scraping.site.LARGEST_ANSWER", 1000)
    server.always = Answer(b" " * 5000)
    with pytest.raises(WorldError, match="the answer is too large"):
        scrape(attempts=1)


def test_the_name_of_an_answer_changes_with_all_that_was_asked() -> None:
    asked = {"url": "u", "query": "q", "variables": {"a": 1}, "edition": 0}
    names = {name_of("label", asked)} | {name_of("label", {**asked, key: "other"}) for key in asked}
    assert len(names) == 5
    assert name_of("label", dict(reversed(asked.items()))) in names
    assert name_of("../x y", asked).startswith("---x-y-")


def test_httpx_is_told_the_truth_about_cut_answers() -> None:
    """What the scraper relies on: fewer bytes than promised are an error, not an answer."""
    with serve([]) as state:
        state.always = Answer(b"0123456789", cut=5)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(state.url, json={"operationName": "x", "variables": {}})
