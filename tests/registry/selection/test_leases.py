import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.registry.selection.leases import Leases, TooManyLeases


def leases(max_leases: int = 100) -> tuple[Leases, list[str]]:
    reported: list[str] = []
    return Leases(max_leases=max_leases, max_per_owner=100, on_change=reported.append), reported


def test_a_lease_counts_until_it_is_released() -> None:
    held, reported = leases()
    lease = held.take("l1", "a:1", 1000, 0)
    held.take("l2", "a:1", 1000, 0)
    assert (lease.id, lease.endpoint_id, lease.expires_ms) == ("l1", "a:1", 1000)
    assert held.in_flight("a:1") == 2
    assert held.release("l1")
    assert not held.release("l1")
    assert held.in_flight("a:1") == 1
    assert reported == ["a:1"] * 3


def test_leases_end_at_their_deadlines_in_any_order() -> None:
    held, _ = leases()
    held.take("long", "a:1", 5000, 0)
    held.take("short", "b:1", 10, 0)
    held.expire(9)
    assert len(held) == 2
    held.expire(10)
    assert (held.in_flight("a:1"), held.in_flight("b:1")) == (1, 0)
    assert not held.release("short")


def test_the_number_of_leases_is_bounded() -> None:
    held, _ = leases(2)
    held.take("1", "a", 10, 0)
    held.take("2", "a", 10, 0)
    with pytest.raises(TooManyLeases):
        held.take("3", "a", 10, 0)
    held.release("1")
    held.take("3", "a", 10, 0)


def test_the_number_of_leases_of_one_owner_is_bounded() -> None:
    held = Leases(max_leases=10, max_per_owner=2, on_change=lambda _id: None)
    held.take("1", "a", 10, 0, "greedy")
    held.take("2", "a", 20, 0, "greedy")
    with pytest.raises(TooManyLeases):
        held.take("3", "a", 10, 0, "greedy")
    held.take("4", "a", 10, 0, "other")
    held.expire(10)
    held.take("3", "a", 10, 10, "greedy")
    held.expire(30)
    assert not held._owned


def test_released_leases_leave_nothing_behind() -> None:
    held, _ = leases()
    for i in range(10_000):
        held.take(str(i), "a", 3_600_000, 0)
        held.release(str(i))
    assert len(held._deadlines) < 200
    assert not held._in_flight
    assert not held._owned


class LeasesMachine(RuleBasedStateMachine):
    """Compares the leases with a plain list of (id, endpoint, deadline)."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.held = Leases(max_leases=20, max_per_owner=20, on_change=self.changed)
        self.model: dict[str, tuple[str, int]] = {}
        self.now = 0
        self.next = 0

    def changed(self, id_: str) -> None:
        self.counts[id_] = self.held.in_flight(id_)

    @rule(endpoint=st.sampled_from("abc"), ttl=st.integers(1, 50))
    def take(self, endpoint: str, ttl: int) -> None:
        self.next += 1
        if len(self.model) >= 20:
            with pytest.raises(TooManyLeases):
                self.held.take(str(self.next), endpoint, ttl, self.now)
        else:
            self.held.take(str(self.next), endpoint, ttl, self.now)
            self.model[str(self.next)] = (endpoint, self.now + ttl)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        id_ = str(data.draw(st.integers(1, max(self.next, 1))))
        assert (self.held.release(id_) is not None) == (self.model.pop(id_, None) is not None)

    @rule(passed=st.integers(0, 60))
    def time_passes(self, passed: int) -> None:
        self.now += passed
        self.held.expire(self.now)
        self.model = {id_: each for id_, each in self.model.items() if each[1] > self.now}

    @invariant()
    def counts_agree(self) -> None:
        for endpoint in "abc":
            count = sum(each[0] == endpoint for each in self.model.values())
            assert self.held.in_flight(endpoint) == count == self.counts.get(endpoint, 0)
        assert len(self.held) == len(self.model)


TestLeases = LeasesMachine.TestCase


def test_an_owner_that_holds_none_may_take_the_only_one() -> None:
    leases = Leases(max_leases=2, max_per_owner=1, on_change=lambda _: None)
    leases.take("a", "h:1", 1_000, 0, owner="one")
    with pytest.raises(TooManyLeases, match="the caller holds 1 leases"):
        leases.take("b", "h:1", 1_000, 0, owner="one")
    leases.take("b", "h:1", 1_000, 0, owner="two")
    with pytest.raises(TooManyLeases, match="2 leases are held"):
        leases.take("c", "h:1", 1_000, 0, owner="three")
