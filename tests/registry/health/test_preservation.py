from hypothesis import given
from hypothesis import strategies as st

from hub.registry.health.preservation import Preservation, State

S = 1_000


def guard(share: float = 0.5, least: int = 5) -> Preservation:
    return Preservation(share=share, least=least, interval_ms=30 * S, confirm_ms=300 * S)


def fail(of: Preservation, *numbers: int) -> None:
    for number in numbers:
        of.failed(f"h:{number}")


def test_half_the_fleet_may_fail_and_one_more_freezes() -> None:
    fleet = guard()
    fail(fleet, *range(10))
    assert fleet.may_fall(20, 0)
    fail(fleet, 10)
    assert not fleet.may_fall(20, 1)
    report = fleet.report(20, 2)
    assert (report.state, report.since_ms, report.freezes) == (State.FROZEN, 1, 1)
    assert (report.failing, report.base, report.confirmed_at_ms) == (11, 20, 300 * S + 1)


def test_few_endpoints_never_freeze() -> None:
    fleet = guard()
    fail(fleet, 0, 1, 2, 3)
    assert fleet.may_fall(4, 0)
    fail(fleet, 4)
    assert not fleet.may_fall(5, 0)


def test_a_share_of_one_turns_it_off() -> None:
    fleet = guard(share=1)
    fail(fleet, *range(20))
    assert fleet.may_fall(20, 0)


def test_it_thaws_when_probes_succeed_again_and_not_at_the_edge() -> None:
    fleet = guard()
    fail(fleet, *range(20))
    assert not fleet.may_fall(20, 0)
    for number in range(14):
        fleet.recovered(f"h:{number}")
    assert not fleet.may_fall(20, 10 * S), "6 of 20 are more than half of the share"
    fleet.recovered("h:14")
    assert fleet.may_fall(20, 11 * S)
    assert fleet.report(20, 12 * S).since_ms == 11 * S


def test_failures_that_last_are_taken_as_true_until_most_are_well() -> None:
    fleet = guard()
    fail(fleet, *range(20))
    assert not fleet.may_fall(20, 0)
    assert not fleet.may_fall(20, 300 * S - 1)
    assert fleet.may_fall(20, 300 * S)
    assert fleet.state is State.CONFIRMED
    for number in range(20):
        fleet.fell(f"h:{number}", 300 * S + number)
        assert fleet.may_fall(19 - number, 300 * S + number), "no second freeze in between"
    assert fleet.may_fall(0, 340 * S)
    assert fleet.state is State.TRUSTING
    assert fleet.report(0, 340 * S).freezes == 1


def test_who_looks_decides_nothing() -> None:
    fleet = guard()
    fail(fleet, *range(20))
    assert fleet.report(20, 0).state is State.FROZEN
    assert (fleet.state, fleet.freezes) == (State.TRUSTING, 0)
    assert not fleet.may_fall(20, 0)
    assert fleet.report(20, 300 * S).state is State.CONFIRMED
    assert fleet.state is State.FROZEN, "the next probe confirms it, and the log says so"
    assert fleet.may_fall(20, 301 * S)
    assert fleet.state is State.CONFIRMED
    assert fleet.report(20, 302 * S).since_ms == 301 * S


def test_those_who_fell_count_for_one_interval() -> None:
    fleet = guard()
    for number in range(5):
        fleet.fell(f"h:{number}", number)
    fail(fleet, 5, 6)
    report = fleet.report(7, 29 * S)
    assert (report.failing, report.base) == (7, 12)
    report = fleet.report(7, 60 * S)
    assert (report.failing, report.base) == (2, 7)


def test_a_slow_death_of_the_whole_fleet_is_believed() -> None:
    """Never more than a few in one interval: they are really gone."""
    fleet = guard()
    for number in range(100):
        at = number * 20 * S
        fail(fleet, number)
        assert fleet.may_fall(100 - number, at), number
        fleet.fell(f"h:{number}", at)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["failed", "fell", "recovered"]),
            st.integers(0, 30),
            st.integers(0, 60 * S),
        ),
        max_size=60,
    )
)
def test_counts_stay_within_the_base(steps: list[tuple[str, int, int]]) -> None:
    """Whatever happens: who fails or fell is counted once, and the state says what is done."""
    fleet, now = guard(), 0
    healthy = {f"h:{number}" for number in range(31)}
    for step, number, passed in steps:
        now += passed
        id_ = f"h:{number}"
        if step == "recovered":
            healthy.add(id_)
            fleet.recovered(id_)
        elif id_ in healthy:
            fleet.failed(id_)
            if step == "fell" and fleet.may_fall(len(healthy), now):
                healthy.discard(id_)
                fleet.fell(id_, now)
        report = fleet.report(len(healthy), now)
        assert 0 <= report.failing <= report.base <= 31
        assert fleet.may_fall(len(healthy), now) == (report.state is not State.FROZEN)
