from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.outcomes.breaker import FIRST_EJECTION_MS, HALF_OPEN_MS
from hub.registry.outcomes.evidence import HALF_LIFE_MS
from hub.registry.outcomes.outcome_book import (
    FAILURES_IN_A_ROW,
    LEAST_REQUESTS,
    PUBLISH_MS,
    Due,
    Key,
    OutcomeBook,
    Reported,
)
from llmhub.v1.endpoint_pb2 import BREAKER_STATE_HALF_OPEN, BREAKER_STATE_OPEN
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_CANCELLED,
    OUTCOME_RESULT_OK,
    OUTCOME_RESULT_OVERLOADED,
    OUTCOME_RESULT_SERVER_ERROR,
    Outcome,
    OutcomeResult,
)

FLEET = 100
BAD = OUTCOME_RESULT_SERVER_ERROR
OK = OUTCOME_RESULT_OK


class Reporting:
    def __init__(self, servers: int = FLEET, **bounds: int) -> None:
        self.book = OutcomeBook(**bounds)
        self.servers = servers
        self.now_ms = 1_000_000

    def __call__(
        self,
        server: str,
        *results: OutcomeResult,
        token: str = "t",
        model: str = "m",
        lease: str = "",
    ) -> Due | None:
        due = None
        for result in results:
            reported = Reported(Outcome(result=result), token, lease, self.now_ms)
            due = self.book.report(Key(server, model), reported, lambda: self.servers)
        return due

    def breaker(self, server: str, model: str = "m"):
        return dict(self.book.entries(server))[model].breaker

    def pass_time(self, by_ms: int) -> list[Due]:
        self.now_ms += by_ms
        due = []
        while (each := self.book.pop_due(self.now_ms)) is not None:
            due.append(each)
        return due

    def is_open(self, server: str) -> bool:
        return not self.breaker(server).is_closed


def test_failures_in_a_row_open_the_breaker() -> None:
    report = Reporting()
    report("a", *[BAD] * (FAILURES_IN_A_ROW - 1), OK, *[BAD] * (FAILURES_IN_A_ROW - 1))
    assert not report.is_open("a")
    assert report("a", BAD) == Due("a", is_event=True)
    assert report.is_open("a")
    assert report.breaker("a").reason == (
        "5 requests in a row failed, the last one with: server error"
    )
    assert (report.book.openings, report.book.ejected()) == (1, 1)


def test_the_ratio_opens_the_breaker_only_with_enough_requests() -> None:
    report = Reporting()
    for _ in range(LEAST_REQUESTS // 5 - 1):
        report("a", OK, BAD, BAD, OK, BAD)
    report("a", OK, BAD, BAD)
    assert not report.is_open("a")
    report("a", OK, BAD)
    assert report.is_open("a")
    assert report.breaker("a").reason.startswith("60% of the recent requests failed")


def test_busy_servers_and_callers_that_give_up_open_no_breaker() -> None:
    report = Reporting()
    report("a", *[OUTCOME_RESULT_OVERLOADED, OUTCOME_RESULT_CANCELLED] * 50)
    assert not report.is_open("a")


@pytest.mark.parametrize(("result", "closes"), [(OK, True), (BAD, False)])
def test_the_trial_decides(result, closes) -> None:
    report = Reporting()
    report("a", *[BAD] * 5)
    assert report.pass_time(FIRST_EJECTION_MS) == [Due("a", is_event=True)]
    assert report.breaker("a").state == BREAKER_STATE_HALF_OPEN
    ends_ms = report.now_ms + 9000
    assert report.book.begin_trial(Key("a", "m"), "l", ends_ms, report.now_ms) == Due("a", False)
    assert report("a", BAD, lease="other") is None, "a request from before the breaker opened"
    assert report("a", OUTCOME_RESULT_CANCELLED, lease="other") is None
    assert report("a", result, lease="l") == Due("a", is_event=True)
    assert report.breaker("a").is_closed is closes
    if closes:
        report("a", *[BAD] * 4)
        assert not report.is_open("a"), "the failures from before the trial are forgotten"
    else:
        assert report.breaker("a").ejections == 2


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_trial_without_a_result_makes_way_for_the_next(cancelled) -> None:
    report = Reporting()
    report("a", *[BAD] * 5)
    report.pass_time(FIRST_EJECTION_MS)
    report.book.begin_trial(Key("a", "m"), "l", report.now_ms + 9000, report.now_ms)
    if cancelled:
        assert report("a", OUTCOME_RESULT_CANCELLED, lease="l") == Due("a", False)
    else:
        assert report.book.end_trial(Key("a", "m"), "l", report.now_ms) == Due("a", False)
    assert report.breaker("a").state == BREAKER_STATE_HALF_OPEN
    assert report.book.begin_trial(Key("a", "m"), "l2", report.now_ms + 9000, report.now_ms)
    assert report.pass_time(9000) == [Due("a", is_event=False)], "the lease has expired"
    assert not report.breaker("a").on_trial


def test_a_breaker_that_is_never_tried_closes() -> None:
    report = Reporting()
    report("a", *[BAD] * 5)
    report.pass_time(FIRST_EJECTION_MS)
    assert report.pass_time(HALF_OPEN_MS)[-1] == Due("a", is_event=True)
    assert report.breaker("a").is_closed
    assert report.book.ejected() == 0


def test_a_trial_needs_a_half_open_breaker() -> None:
    report = Reporting()
    assert report.book.begin_trial(Key("a", "m"), "l", 9, 0) is None
    assert report.book.end_trial(Key("a", "m"), "l", 0) is None
    report("a", OK)
    assert report.book.begin_trial(Key("a", "m"), "l", 9, 0) is None
    assert report.book.end_trial(Key("a", "m"), "l", 0) is None


# One caller cannot eject a fleet.


def test_an_attacker_alone_ejects_no_more_than_half() -> None:
    report = Reporting(servers=9)
    for n in range(9):
        report(f"s{n}", *[BAD] * 50, token="attacker")
    assert report.book.ejected() == 4
    assert report.book.refused_openings > 0


def test_the_only_server_is_never_ejected() -> None:
    report = Reporting(servers=1)
    report("a", *[BAD] * 50)
    assert not report.is_open("a")


def test_an_attacker_among_others_ejects_no_more_than_a_tenth() -> None:
    report = Reporting()
    report("s0", OK, token="honest")
    for n in range(1, FLEET):
        report(f"s{n}", *[BAD] * 50, token="attacker")
    assert report.book.ejected() == FLEET // 10


def test_an_attacker_ejects_no_server_that_others_use() -> None:
    report = Reporting()
    for n in range(FLEET):
        report(f"s{n}", OK, token="honest")
        report(f"s{n}", *[BAD] * 500, token="attacker")
        report(f"s{n}", OK, token="honest")
        report(f"s{n}", *[BAD] * 500, token="attacker")
    assert report.book.ejected() == 0


def test_two_tokens_that_agree_eject_a_broken_server() -> None:
    report = Reporting()
    report("a", OK, token="b")
    report("a", *[BAD] * 4, token="c")
    assert not report.is_open("a")
    report("a", BAD, token="b")
    assert report.is_open("a")
    assert report.breaker("a").blamed_by == ""


def test_a_token_is_believed_alone_once_the_others_have_left() -> None:
    report = Reporting()
    report("a", OK, token="b")
    report("a", *[BAD] * 50, token="c")
    assert not report.is_open("a")
    report.pass_time(HALF_LIFE_MS + 1000)
    report("a", BAD, token="c")
    assert report.is_open("a")
    assert report.breaker("a").blamed_by == "c"


def test_a_refused_opening_is_considered_again() -> None:
    report = Reporting(servers=3)
    report("a", *[BAD] * 5)
    report("b", *[BAD] * 5)
    assert not report.is_open("b")
    report.servers = 4
    report("b", BAD)
    assert not report.is_open("b"), "the servers are not counted for every failure"
    report.pass_time(1000)
    report("b", BAD)
    assert report.is_open("b")


def test_a_failed_trial_of_another_token_confirms_the_first() -> None:
    report = Reporting()
    report("a", OK, model="m", token="honest")
    report.pass_time(HALF_LIFE_MS + 1000)
    report("a", *[BAD] * 5, token="first")
    report.pass_time(FIRST_EJECTION_MS)
    report.book.begin_trial(Key("a", "m"), "l", report.now_ms + 9000, report.now_ms)
    assert report.breaker("a").blamed_by == "first"
    report("a", BAD, token="second", lease="l")
    assert report.breaker("a").blamed_by == ""


# What is published, and when.


def test_figures_are_published_at_intervals() -> None:
    report = Reporting()
    assert report("a", OK) == Due("a", is_event=False)
    assert report("a", OK) is None
    assert report.pass_time(PUBLISH_MS - 1) == []
    assert report.pass_time(1) == [Due("a", is_event=False)]
    assert report.pass_time(PUBLISH_MS) == []
    assert report("a", OK) == Due("a", is_event=False)


def test_figures_fade_and_are_forgotten() -> None:
    report = Reporting()
    report("a", OK)
    published = 0
    while len(report.book):
        published += len(report.pass_time(10_000))
        assert published < 20
    assert published >= 8
    assert report.book.next_ms() is None


# Bounds.


def test_the_least_used_closed_breaker_makes_room() -> None:
    report = Reporting(max_models=3, max_models_per_server=2)
    report("a", *[BAD] * 5, model="open")
    report("a", OK, model="closed")
    report("a", OK, model="new")
    assert [model for model, _ in report.book.entries("a")] == ["open", "new"]
    assert report.pass_time(0) == [Due("a", is_event=False)]
    report("b", OK)
    report("c", OK)
    assert len(report.book) == 3
    assert [model for model, _ in report.book.entries("a")] == ["open"]


def test_a_forgotten_server_leaves_nothing_behind() -> None:
    report = Reporting()
    report("a", *[BAD] * 5)
    report("b", OK)
    report.book.forget("a")
    assert [*report.book.entries("a")] == []
    assert report.book.ejected() == 0
    report.book.forget("unknown")


@given(st.integers(0, 2**32))
def test_bounds_and_counts_hold_in_any_order(seed) -> None:
    random = Random(seed)
    report = Reporting(servers=4, max_models=5, max_models_per_server=2)
    for _ in range(300):
        server, model = random.choice("abcd"), random.choice("mno")
        lease = random.choice(("l1", "l2"))
        match random.randrange(6):
            case 0:
                report.pass_time(random.choice((1, 900, 6_000, 40_000)))
            case 1:
                ends_ms = report.now_ms + random.choice((10, 30_000))
                report.book.begin_trial(Key(server, model), lease, ends_ms, report.now_ms)
            case 2 if random.random() < 0.2:
                report.book.forget(server)
            case _:
                result = random.choice((OK, BAD, BAD, BAD))
                report(server, result, model=model, token=random.choice("tu"), lease=lease)
        book = report.book
        assert len(book) <= 5
        entries = [(each, entry) for each in "abcd" for _, entry in book.entries(each)]
        assert len(entries) == len(book)
        assert book.ejected() == sum(not entry.breaker.is_closed for _, entry in entries)
        assert all(len([*book.entries(each)]) <= 2 for each in "abcd")
        assert max(map(len, book._ejected.values()), default=0) <= 2
        assert len(book._due) <= 3 * 5 + 65
        overdue = [entry.breaker.due_ms for _, entry in entries if entry.breaker.due_ms is not None]
        next_ms = book.next_ms()
        assert not overdue or (next_ms is not None and next_ms <= min(overdue))
    for _ in ("half open", "closed", "forgotten"):
        report.pass_time(10_000_000)
    assert len(report.book) == 0


def test_an_open_breaker_stays_open_in_the_meantime() -> None:
    report = Reporting()
    report("a", *[BAD] * 5)
    assert report("a", OK, BAD) is None
    assert report.breaker("a").state == BREAKER_STATE_OPEN
    assert report.book.results == {BAD: 6, OK: 1}
