import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.history.follower import Follower
from hub.registry.history.latest_log import FOREVER_MS, Latest, LatestLog
from hub.registry.history.ring import Ring

Item = Latest[str]


def ring(*revisions: int, capacity: int = 100, floor: int = 0) -> Ring[Item]:
    made: Ring[Item] = Ring(capacity, floor, max_bytes=10_000)
    for revision in revisions:
        append(made, revision)
    return made


def append(to: Ring[Item], revision: int) -> None:
    to.append(revision, Latest("key", revision, "value"), 1)


def revisions(items) -> list[int]:
    return [item.revision for item in items]


def test_it_takes_each_item_once_and_in_order() -> None:
    history = ring(3, 5, 9)
    follower = Follower(history, 3)
    assert revisions(follower.take()) == [5, 9]
    assert follower.take() == []
    append(history, 12)
    assert revisions(follower.take()) == [12]


def test_a_limit_leaves_the_rest_for_the_next_time() -> None:
    follower = Follower(ring(1, 2, 3, 4, 5), 0)
    assert [revisions(follower.take(2)) for _ in range(4)] == [[1, 2], [3, 4], [5], []]


def test_a_new_follower_has_to_read_the_state_first() -> None:
    history = ring(floor=0)
    follower = Follower(history)
    assert follower.take() is None
    follower.go_to(0)
    append(history, 1)
    assert revisions(follower.take()) == [1]


def test_one_that_is_too_slow_stays_lost_until_it_has_read_the_state() -> None:
    history = ring(capacity=2)
    follower = Follower(history, 0)
    for revision in (1, 2, 3):
        append(history, revision)
    assert follower.take() is None
    append(history, 4)
    assert follower.take() is None
    follower.go_to(4)
    assert follower.take() == []
    append(history, 5)
    assert revisions(follower.take()) == [5]


def test_a_cleared_ring_loses_those_that_have_not_got_so_far() -> None:
    history = ring(1, 2)
    behind, ahead = Follower(history, 2), Follower(history, 3)
    history.clear(3)
    assert behind.take() is None
    assert ahead.take() == []
    append(history, 4)
    assert revisions(ahead.take()) == [4]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_the_log_of_latest_values_is_followed_likewise(limit: int) -> None:
    log: LatestLog[str] = LatestLog(ttl_ms=FOREVER_MS, tombstones=1, floor=0)
    follower = Follower(log, 0)
    for revision, key in enumerate("abca", 1):
        log.put(key, key, revision, 0)
    taken = []
    while items := follower.take(limit):
        taken += items
    assert [(item.key, item.revision) for item in taken] == [("b", 2), ("c", 3), ("a", 4)]
    log.remove("a", 5)
    log.remove("b", 6)
    assert follower.take() is None


STEPS = st.lists(
    st.one_of(st.just("append"), st.integers(1, 4).map(lambda limit: ("take", limit))),
    max_size=60,
)


@given(STEPS, st.integers(1, 6))
def test_whatever_the_pace_nothing_is_missed_without_a_notice(steps, capacity: int) -> None:
    history = ring(capacity=capacity)
    follower = Follower(history, 0)
    last, missing = 0, []
    for step in steps:
        if step == "append":
            last += 1
            append(history, last)
            missing.append(last)
            continue
        items = follower.take(step[1])
        if items is None:
            assert len(missing) > capacity
            follower.go_to(last)
            missing.clear()
        else:
            assert revisions(items) == missing[: step[1]]
            del missing[: step[1]]
