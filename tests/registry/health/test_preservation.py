from hypothesis import given
from hypothesis import strategies as st

from hub.registry.health.preservation import Preservation, State

S = 1_000


def guard(share: float = 0.5, least: int = 5) -> Preservation:
    return Preservation(share=share, least=least, interval_ms=30 * S, confirm_ms=300 * S)


def fail(of: Preservation, *numbers: int, at: int = -30 * S) -> None:
    for number in numbers:
        of.failed(f"h:{number}", at)


def may_fall(of: Preservation, healthy: int, now_ms: int) -> bool:
    """Whether an endpoint that has been failing for an interval may become unhealthy."""
    return of.may_fall("h:0", healthy, now_ms)


def test_half_the_fleet_may_fail_and_one_more_freezes() -> None:
    fleet = guard()
    fail(fleet, *range(10))
    assert may_fall(fleet, 20, 0)
    fail(fleet, 10)
    assert not may_fall(fleet, 20, 1)
    report = fleet.report(20, 2)
    assert (report.state, report.since_ms, report.freezes) == (State.FROZEN, 1, 1)
    assert (report.failing, report.base, report.confirmed_at_ms) == (11, 20, 300 * S + 1)


def test_few_endpoints_never_freeze() -> None:
    fleet = guard()
    fail(fleet, 0, 1, 2, 3)
    assert may_fall(fleet, 4, 0)
    fail(fleet, 4)
    assert not may_fall(fleet, 5, 0)


def test_a_share_of_one_disables_freezes() -> None:
    fleet = guard(share=1)
    fail(fleet, *range(20))
    assert may_fall(fleet, 20, 0)


def test_a_freeze_ends_with_hysteresis_when_probes_succeed_again() -> None:
    fleet = guard()
    fail(fleet, *range(20))
    assert not may_fall(fleet, 20, 0)
    for number in range(14):
        fleet.recovered(f"h:{number}")
    assert not may_fall(fleet, 20, 10 * S), "6 of 20 are more than half of the share"
    fleet.recovered("h:14")
    assert may_fall(fleet, 20, 11 * S)
    report = fleet.report(20, 12 * S)
    assert (report.since_ms, report.confirmed_at_ms) == (11 * S, None)


def test_a_freeze_that_the_next_probe_would_find_begins_now() -> None:
    fleet = guard()
    fail(fleet, *range(11))
    report = fleet.report(20, 7)
    assert (report.state, report.since_ms) == (State.FROZEN, 7)
    assert (report.confirmed_at_ms, report.freezes) == (300 * S + 7, 0)


def test_a_fallen_endpoint_that_recovers_no_longer_counts() -> None:
    fleet = guard()
    fleet.fell("h:0", 0)
    fleet.recovered("h:0")
    assert (fleet.report(20, 1).failing, fleet.report(20, 1).base) == (0, 20)


def test_a_fall_counts_for_less_than_an_interval() -> None:
    fleet = guard()
    fleet.fell("h:0", 0)
    assert (fleet.report(20, 30 * S - 1).failing, fleet.report(20, 30 * S).failing) == (1, 0)


def test_lasting_failures_are_accepted_until_most_endpoints_recover() -> None:
    fleet = guard()
    fail(fleet, *range(20))
    assert not may_fall(fleet, 20, 0)
    assert not may_fall(fleet, 20, 300 * S - 1)
    assert may_fall(fleet, 20, 300 * S)
    assert fleet.state is State.CONFIRMED
    for number in range(20):
        fleet.fell(f"h:{number}", 300 * S + number)
        assert may_fall(fleet, 19 - number, 300 * S + number), "no second freeze in between"
    assert may_fall(fleet, 0, 340 * S)
    assert fleet.state is State.TRUSTING
    assert fleet.report(0, 340 * S).freezes == 1


def test_reading_the_state_changes_nothing() -> None:
    fleet = guard()
    fail(fleet, *range(20))
    assert fleet.report(20, 0).state is State.FROZEN
    assert (fleet.state, fleet.freezes) == (State.TRUSTING, 0)
    assert not may_fall(fleet, 20, 0)
    assert fleet.report(20, 300 * S).state is State.CONFIRMED
    assert fleet.state is State.FROZEN, "the next probe confirms it, so that it is logged"
    assert may_fall(fleet, 20, 301 * S)
    assert fleet.state is State.CONFIRMED
    assert fleet.report(20, 302 * S).since_ms == 301 * S


def test_failed_endpoints_count_for_one_interval() -> None:
    fleet = guard()
    for number in range(5):
        fleet.fell(f"h:{number}", number)
    fail(fleet, 5, 6)
    report = fleet.report(7, 29 * S)
    assert (report.failing, report.base) == (7, 12)
    report = fleet.report(7, 60 * S)
    assert (report.failing, report.base) == (2, 7)


def test_a_slow_failure_of_the_whole_fleet_is_believed() -> None:
    """Only a few fail in each interval, so the failures are real."""
    fleet = guard()
    for number in range(100):
        at = number * 20 * S
        fail(fleet, number)
        assert may_fall(fleet, 100 - number, at), number
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
    """Each failing or unhealthy endpoint counts once, and the report shows the real state."""
    fleet, now = guard(), 0
    healthy = {f"h:{number}" for number in range(31)}
    for step, number, passed in steps:
        now += passed
        id_ = f"h:{number}"
        if step == "recovered":
            healthy.add(id_)
            fleet.recovered(id_)
        elif id_ in healthy:
            fleet.failed(id_, now)
            if step == "fell" and fleet.may_fall(id_, len(healthy), now):
                healthy.discard(id_)
                fleet.fell(id_, now)
        report = fleet.report(len(healthy), now)
        assert 0 <= report.failing <= report.base <= 31
        late = fleet.may_fall("unknown:1", len(healthy), now)
        assert late == (report.state is not State.FROZEN)


def test_a_repeated_failure_is_not_enough_until_other_probes_succeed() -> None:
    fleet = guard()
    fleet.failed("h:0", 0)
    assert not fleet.may_fall("h:0", 10, 1 * S), "it may be the hub's own network"
    fleet.succeeded("h:1")
    assert fleet.may_fall("h:0", 10, 1 * S)
    fleet.failed("h:2", 2 * S)
    assert not fleet.may_fall("h:0", 10, 2 * S), "two failed since then, and one succeeded"
    fleet.succeeded("h:3")
    assert fleet.may_fall("h:0", 10, 2 * S)
    assert fleet.may_fall("h:2", 10, 2 * S)


def test_successes_before_the_failure_do_not_count() -> None:
    fleet = guard()
    for number in range(1, 10):
        fleet.succeeded(f"h:{number}")
    fleet.failed("h:0", 0)
    fleet.failed("h:0", 1 * S)
    assert not fleet.may_fall("h:0", 10, 1 * S)


def test_without_other_successes_an_endpoint_waits_for_most_of_an_interval() -> None:
    fleet = guard()
    fleet.failed("h:0", 0)
    assert not fleet.may_fall("h:0", 10, 22 * S)
    assert fleet.may_fall("h:0", 10, 23 * S)


def test_small_fleets_and_confirmed_failures_need_no_other_successes() -> None:
    fleet = guard()
    fleet.failed("h:0", 0)
    assert fleet.may_fall("h:0", 4, 1 * S)
    assert not fleet.may_fall("h:0", 5, 1 * S)
    assert fleet.may_fall("h:0", 5, 1 * S, is_confirmed=True)
    for number in range(1, 5):
        fleet.failed(f"h:{number}", 1 * S)
    assert not fleet.may_fall("h:0", 5, 2 * S, is_confirmed=True), "the whole fleet is frozen"


@given(
    st.integers(5, 60),
    st.integers(1, 4),
    st.lists(st.integers(0, 30 * S - 1), min_size=60, max_size=60),
)
def test_repeated_failures_make_no_endpoint_of_an_unreachable_fleet_unhealthy(
    count: int, repeats: int, times: list[int]
) -> None:
    """Each is probed at its own time and again every 1.5 s, but the freeze comes first."""
    fleet = guard()
    probes = sorted(
        (at + repeat * 1_500, f"h:{number}")
        for number, at in enumerate(times[:count])
        for repeat in range(repeats + 1)
    )
    missed: set[str] = set()
    for now, id_ in probes:
        fleet.failed(id_, now)
        may = fleet.may_fall(id_, count, now)
        assert not (id_ in missed and may)
        missed.add(id_)
    assert fleet.state is State.FROZEN


def test_waiting_endpoints_become_unhealthy_one_by_one_but_not_in_a_freeze() -> None:
    fleet = guard()
    for number in range(3):
        fleet.failed(f"h:{number}", 0)
        fleet.wait(f"h:{number}")
    assert fleet.next_to_fall(20, 1 * S) is None
    for number in range(3, 6):
        fleet.succeeded(f"h:{number}")
    for healthy in (20, 19, 18):
        id_ = fleet.next_to_fall(healthy, 2 * S)
        assert id_ is not None
        fleet.fell(id_, 2 * S)
    assert fleet.next_to_fall(17, 2 * S) is None
    fail(fleet, *range(6, 20))
    fleet.wait("h:6")
    assert fleet.next_to_fall(17, 2 * S) is None
    assert fleet.state is State.FROZEN
    fleet.wait("h:7")
    assert fleet.next_to_fall(100, 3 * S) is None, "the next probe decides again"
