from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.registry.outcomes.breaker import (
    FIRST_EJECTION_MS,
    FORGIVEN_MS,
    HALF_OPEN_MS,
    MAX_EJECTION_MS,
    Breaker,
)
from llmhub.v1.endpoint_pb2 import (
    BREAKER_STATE_CLOSED,
    BREAKER_STATE_HALF_OPEN,
    BREAKER_STATE_OPEN,
)


def half_open(now_ms: int = 0) -> Breaker:
    breaker = Breaker()
    breaker.open("why", now_ms - FIRST_EJECTION_MS)
    assert breaker.pass_time(now_ms)
    return breaker


def test_an_open_breaker_becomes_half_open_after_its_time() -> None:
    breaker = Breaker()
    assert breaker.is_closed
    assert breaker.due_ms is None
    breaker.open("5 in a row", 0, "a")
    assert (breaker.state, breaker.reason, breaker.blamed_by) == (
        *(BREAKER_STATE_OPEN, "5 in a row", "a"),
    )
    assert not breaker.pass_time(FIRST_EJECTION_MS - 1)
    assert breaker.pass_time(FIRST_EJECTION_MS)
    assert breaker.state == BREAKER_STATE_HALF_OPEN
    assert breaker.changes_ms == FIRST_EJECTION_MS + HALF_OPEN_MS


def test_a_half_open_breaker_has_one_trial_at_a_time() -> None:
    breaker = half_open()
    assert breaker.begin_trial("l1", 1000)
    assert breaker.on_trial
    assert not breaker.begin_trial("l2", 1000)
    assert not breaker.end_trial("l2")
    assert breaker.end_trial("l1")
    assert breaker.begin_trial("l2", 1000)
    assert breaker.due_ms == 1000
    assert not breaker.pass_time(1000)
    assert not breaker.on_trial


def test_a_closed_breaker_has_no_trial() -> None:
    assert not Breaker().begin_trial("l1", 1000)


def test_a_half_open_breaker_closes_by_itself_even_during_a_trial() -> None:
    breaker = half_open()
    breaker.begin_trial("l1", 10 * HALF_OPEN_MS)
    assert not breaker.pass_time(HALF_OPEN_MS - 1)
    assert breaker.pass_time(HALF_OPEN_MS)
    assert breaker.is_closed
    assert not breaker.on_trial
    assert not breaker.pass_time(HALF_OPEN_MS)


def test_the_time_doubles_up_to_its_bound_and_is_forgiven() -> None:
    breaker, now_ms, times = Breaker(), 0, []
    for _ in range(8):
        breaker.open("why", now_ms)
        assert breaker.changes_ms is not None
        times.append(breaker.changes_ms - now_ms)
        now_ms = breaker.changes_ms
        breaker.pass_time(now_ms)
        breaker.close(now_ms)
    assert times[:3] == [FIRST_EJECTION_MS, 2 * FIRST_EJECTION_MS, 4 * FIRST_EJECTION_MS]
    assert times[-2:] == [MAX_EJECTION_MS, MAX_EJECTION_MS]
    breaker.open("why", now_ms + FORGIVEN_MS + 1)
    assert breaker.ejections == 1


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order, a breaker is consistent and lets all in at last."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.now_ms, self.lease = Breaker(), 0, 0

    @rule()
    def fail(self) -> None:
        self.breaker.open("why", self.now_ms)

    @rule(ttl_ms=st.integers(1, 200_000))
    def try_it(self, ttl_ms: int) -> None:
        self.lease += 1
        self.breaker.begin_trial(f"l{self.lease}", self.now_ms + ttl_ms)

    @rule(succeeds=st.booleans())
    def end(self, succeeds: bool) -> None:
        if self.breaker.end_trial(f"l{self.lease}") and succeeds:
            self.breaker.close(self.now_ms)

    @rule(by_ms=st.integers(1, 400_000))
    def wait(self, by_ms: int) -> None:
        self.now_ms += by_ms
        while (due_ms := self.breaker.due_ms) is not None and due_ms <= self.now_ms:
            self.breaker.pass_time(self.now_ms)

    @invariant()
    def is_consistent(self) -> None:
        breaker = self.breaker
        assert (breaker.state == BREAKER_STATE_CLOSED) == (breaker.changes_ms is None)
        assert not breaker.on_trial or breaker.state == BREAKER_STATE_HALF_OPEN
        if breaker.changes_ms is not None:
            assert self.now_ms < breaker.changes_ms <= self.now_ms + MAX_EJECTION_MS


TestAnyOrder = AnyOrder.TestCase
