import pytest

from hub.registry.observation import Observation
from hub.registry.outcomes.breaker import FIRST_EJECTION_MS, HALF_OPEN_MS
from hub.registry.outcomes.fleet_outcomes import FleetOutcomes
from hub.registry.outcomes.outcome_book import PUBLISH_MS
from hub.registry.selection.leases import Lease
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    BREAKER_STATE_CLOSED,
    BREAKER_STATE_HALF_OPEN,
    BREAKER_STATE_OPEN,
    FAULT_NO_ANSWER,
    FAULT_REQUESTS_FAIL,
    FAULT_UNSPECIFIED,
    STATUS_HEALTHY,
    Endpoint,
)
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_OK,
    OUTCOME_RESULT_TIMED_OUT,
    Outcome,
)
from tests.support.fleet_of import NOW, add, loaded

OK = Outcome(result=OUTCOME_RESULT_OK)
BAD = Outcome(result=OUTCOME_RESULT_TIMED_OUT)


class Fleet:
    def __init__(self) -> None:
        self.registry = Registry(first_revision=1_000)
        self.outcomes = FleetOutcomes(self.registry)
        for n in range(4):
            add(self.registry, f"s{n}:1", loaded("m"))

    def lease(self, id_: str = "s0:1", lease_id: str = "l", token: str = "t") -> Lease:
        return Lease(lease_id, id_, NOW + 60_000, token, "m")

    def report(self, *outcomes: Outcome | None, id_: str = "s0:1", now_ms: int = NOW) -> None:
        for outcome in outcomes:
            self.outcomes.report(self.lease(id_), outcome, now_ms)

    def endpoint(self, id_: str = "s0:1") -> Endpoint:
        record = self.registry.get(id_)
        assert record is not None
        return record.message

    def probe(self, id_: str = "s0:1", now_ms: int = NOW, error: str = "") -> None:
        models = None if error else (loaded("m"),)
        seen = Observation(
            checked_at_ms=now_ms, next_check_at_ms=now_ms + 30_000, models=models, error=error
        )
        self.registry.observe(id_, seen)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_an_open_breaker_is_an_event_and_shows_that_requests_fail(fleet) -> None:
    fleet.report(*[BAD] * 4)
    before = fleet.registry.event_revision
    fleet.report(BAD)
    assert fleet.registry.event_revision > before
    endpoint = fleet.endpoint()
    (shown,) = endpoint.outcomes
    assert (endpoint.status, endpoint.fault) == (STATUS_HEALTHY, FAULT_REQUESTS_FAIL)
    assert (shown.model, shown.breaker, shown.ejections) == ("m", BREAKER_STATE_OPEN, 1)
    assert shown.reason == "5 requests in a row failed, the last one with: timed out"
    assert shown.changes_at.ToMilliseconds() == NOW + FIRST_EJECTION_MS
    assert shown.failed_ratio == 1


def test_the_registry_lets_time_pass(fleet) -> None:
    fleet.report(*[BAD] * 5)
    registry = fleet.registry
    assert NOW < registry.next_deadline_ms() <= NOW + FIRST_EJECTION_MS
    registry.expire(NOW + FIRST_EJECTION_MS)
    assert fleet.endpoint().outcomes[0].breaker == BREAKER_STATE_HALF_OPEN
    registry.expire(NOW + FIRST_EJECTION_MS + HALF_OPEN_MS)
    assert fleet.endpoint().outcomes[0].breaker == BREAKER_STATE_CLOSED
    assert fleet.endpoint().fault == FAULT_UNSPECIFIED


def test_a_successful_probe_does_not_hide_that_requests_fail(fleet) -> None:
    fleet.report(*[BAD] * 5)
    before = fleet.registry.event_revision
    fleet.probe(now_ms=NOW + 1)
    assert fleet.endpoint().fault == FAULT_REQUESTS_FAIL
    assert fleet.registry.event_revision == before, "nothing has changed for watchers"


def test_a_failed_probe_says_more_than_failed_requests(fleet) -> None:
    fleet.report(*[BAD] * 5)
    fleet.probe(now_ms=NOW + 1, error="no answer")
    assert fleet.endpoint().fault == FAULT_NO_ANSWER
    fleet.registry.expire(NOW + FIRST_EJECTION_MS)
    assert fleet.endpoint().fault == FAULT_NO_ANSWER
    fleet.probe(now_ms=NOW + FIRST_EJECTION_MS + 1)
    assert fleet.endpoint().fault == FAULT_REQUESTS_FAIL


def test_figures_are_bookkeeping(fleet) -> None:
    before = fleet.registry.event_revision
    good = Outcome(result=OUTCOME_RESULT_OK, output_tokens=100)
    good.time_to_first_token.FromMilliseconds(250)
    good.duration.FromMilliseconds(2250)
    fleet.report(good, good)
    fleet.registry.expire(NOW + PUBLISH_MS)
    (shown,) = fleet.endpoint().outcomes
    assert fleet.registry.event_revision == before
    assert shown.recent_requests == pytest.approx(2, rel=0.1)
    assert shown.time_to_first_token.ToMilliseconds() == 250
    assert shown.tokens_per_second == 50


def test_a_trial_is_shown_while_it_lasts(fleet) -> None:
    fleet.report(*[BAD] * 5)
    now_ms = NOW + FIRST_EJECTION_MS
    fleet.registry.expire(now_ms)
    fleet.outcomes.begin_trial(fleet.lease(), now_ms)
    assert fleet.endpoint().outcomes[0].on_trial
    fleet.report(None, now_ms=now_ms)
    assert not fleet.endpoint().outcomes[0].on_trial
    fleet.outcomes.begin_trial(fleet.lease(), now_ms)
    fleet.report(OK, now_ms=now_ms)
    assert fleet.endpoint().outcomes[0].breaker == BREAKER_STATE_CLOSED


def test_figures_fade_from_the_endpoint(fleet) -> None:
    fleet.report(OK)
    now_ms = NOW
    while (due_ms := fleet.registry.next_deadline_ms()) is not None:
        assert due_ms > now_ms
        now_ms = due_ms
        fleet.registry.expire(now_ms)
    assert not fleet.endpoint().outcomes
    assert now_ms < NOW + 600_000


def test_only_servers_that_can_be_selected_count_for_the_bound(fleet) -> None:
    for n in (1, 2, 3):
        fleet.registry.put_endpoint(Endpoint(id=f"s{n}:1", admin_state=ADMIN_STATE_DISABLED))
    fleet.report(*[BAD] * 9)
    assert fleet.endpoint().outcomes[0].breaker == BREAKER_STATE_CLOSED


def test_another_server_at_the_address_begins_without_outcomes(fleet) -> None:
    fleet.report(*[BAD] * 5)
    fleet.registry.put_endpoint(Endpoint(id="s0:1", scheme="https"))
    assert not fleet.endpoint().outcomes
    assert len(fleet.outcomes.book) == 0
    fleet.report(*[BAD] * 5, id_="s1:1")
    fleet.registry.remove_endpoint("s1:1")
    assert len(fleet.outcomes.book) == 0
    fleet.report(BAD, id_="s1:1")
    fleet.outcomes.begin_trial(fleet.lease("s1:1"), NOW)
    assert len(fleet.outcomes.book) == 0


def test_registering_again_keeps_the_outcomes(fleet) -> None:
    fleet.report(*[BAD] * 5)
    fleet.registry.put_endpoint(Endpoint(id="s0:1", name="new name"))
    assert fleet.endpoint().outcomes[0].breaker == BREAKER_STATE_OPEN


def test_all_addresses_of_a_server_show_its_outcomes(fleet) -> None:
    for id_ in ("s0:1", "127.0.0.9:1"):
        add(fleet.registry, id_, loaded("m"))
        seen = Observation(
            checked_at_ms=NOW,
            next_check_at_ms=NOW + 30_000,
            models=(loaded("m"),),
            address="127.0.0.9",
        )
        fleet.registry.observe(id_, seen)
    assert fleet.endpoint("s0:1").same_server_as or fleet.endpoint("127.0.0.9:1").same_server_as
    fleet.report(*[BAD] * 5, id_="s0:1")
    assert fleet.endpoint("127.0.0.9:1").outcomes[0].breaker == BREAKER_STATE_OPEN
    assert fleet.endpoint("s0:1").outcomes[0].breaker == BREAKER_STATE_OPEN
