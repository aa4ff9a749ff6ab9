import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.history.latest_log import FOREVER_MS, Latest, LatestLog
from hub.registry.history.ring import Compacted, Follower, Ring


def filled(capacity: int, revisions: list[int], floor: int = 0) -> Ring[str]:
    ring: Ring[str] = Ring(capacity, floor, max_bytes=10_000)
    for revision in revisions:
        ring.append(revision, f"at {revision}", 1)
    return ring


def test_a_cursor_gets_the_items_after_it() -> None:
    ring = filled(10, [3, 5, 9])
    assert ring.after(0, 10) == ["at 3", "at 5", "at 9"]
    assert ring.after(3, 10) == ["at 5", "at 9"]
    assert ring.after(4, 10) == ["at 5", "at 9"]
    assert ring.after(9, 10) == []


def test_counting_includes_only_items_that_the_ring_still_has() -> None:
    ring = filled(3, [3, 5, 9, 12, 20])
    assert [ring.count_after(each) for each in (0, 5, 9, 10, 19, 20, 99)] == [3, 3, 2, 2, 1, 0, 0]


def test_a_batch_is_limited_and_oldest_first() -> None:
    ring = filled(10, [1, 2, 3, 4])
    assert ring.after(1, 2) == ["at 2", "at 3"]


def test_a_cursor_from_before_the_ring_is_refused() -> None:
    ring = filled(2, [1, 2, 3], floor=0)
    assert ring.floor == 1
    assert ring.after(1, 10) == ["at 2", "at 3"]
    with pytest.raises(Compacted):
        ring.after(0, 10)


def test_a_cursor_of_an_earlier_incarnation_is_refused() -> None:
    ring = filled(10, [], floor=1_000)
    assert ring.after(1_000, 10) == []
    with pytest.raises(Compacted):
        ring.after(999, 10)


@pytest.mark.parametrize("revision", [7, 6, 0])
def test_revisions_must_increase(revision: int) -> None:
    ring = filled(10, [7])
    with pytest.raises(ValueError, match="does not follow"):
        ring.append(revision, "again", 1)
    assert ring.after(0, 10) == ["at 7"]


def test_the_first_revision_follows_the_floor() -> None:
    ring: Ring[str] = Ring(4, 100, max_bytes=100)
    with pytest.raises(ValueError, match="does not follow"):
        ring.append(100, "not new", 1)


def test_a_ring_without_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Ring(0, 0, max_bytes=100)


def test_large_items_evict_more_items() -> None:
    ring: Ring[str] = Ring(100, 0, max_bytes=10)
    for revision in range(1, 6):
        ring.append(revision, "small", 2)
    assert len(ring) == 5
    ring.append(6, "large", 7)
    assert ring.after(ring.floor, 10) == ["small", "large"]
    assert ring.floor == 4
    ring.append(7, "larger than all", 50)
    assert ring.after(6, 10) == ["larger than all"]
    with pytest.raises(Compacted):
        ring.after(5, 10)
    ring.append(8, "small", 2)
    assert ring.after(7, 10) == ["small"]
    assert ring.floor == 7


def test_evicted_items_are_freed_immediately() -> None:
    class Item:
        pass

    ring: Ring[Item] = Ring(4, 0, max_bytes=100)
    items: list[weakref.ref[Item]] = []
    for revision in range(1, 8):
        item = Item()
        items.append(weakref.ref(item))
        ring.append(revision, item, 1)
        del item
        assert sum(each() is not None for each in items) == len(ring) == min(revision, 4)


@given(
    capacity=st.integers(1, 8),
    steps=st.lists(st.integers(1, 3), max_size=60),
    cursor=st.integers(0, 200),
    limit=st.integers(1, 100),
)
def test_a_ring_is_the_tail_of_the_whole_history(
    capacity: int, steps: list[int], cursor: int, limit: int
) -> None:
    history: list[int] = []
    for step in steps:
        history.append((history[-1] if history else 0) + step)
    ring = filled(capacity, history)
    forgotten = history[:-capacity]
    assert len(ring) == len(history) - len(forgotten)
    assert ring.floor == (forgotten[-1] if forgotten else 0)
    if cursor < ring.floor:
        with pytest.raises(Compacted):
            ring.after(cursor, limit)
    else:
        expected = [f"at {revision}" for revision in history if revision > cursor]
        assert ring.after(cursor, limit) == expected[:limit]


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


def test_a_follower_takes_each_item_once_and_in_order() -> None:
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


def test_a_follower_that_is_too_slow_must_read_the_state() -> None:
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


def test_a_cleared_ring_refuses_followers_that_are_behind() -> None:
    history = ring(1, 2)
    behind, ahead = Follower(history, 2), Follower(history, 3)
    history.clear(3)
    assert behind.take() is None
    assert ahead.take() == []
    append(history, 4)
    assert revisions(ahead.take()) == [4]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_follower_works_on_a_latest_log_too(limit: int) -> None:
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
def test_a_follower_never_misses_an_item_unnoticed(steps, capacity: int) -> None:
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
