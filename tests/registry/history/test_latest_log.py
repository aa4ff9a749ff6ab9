import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.history.latest_log import Latest, LatestLog
from hub.registry.history.ring import Compacted

TTL_MS = 90_000
NOW = 1_800_000_000_000


def log(tombstones: int = 10) -> LatestLog[str]:
    return LatestLog(ttl_ms=TTL_MS, tombstones=tombstones, floor=0)


def test_a_cursor_gets_the_newest_value_once() -> None:
    latest = log()
    latest.put("a", "old", 1, NOW)
    latest.put("b", "only", 2, NOW)
    latest.put("a", "new", 3, NOW)
    assert latest.after(0) == [Latest("b", 2, "only"), Latest("a", 3, "new")]
    assert latest.after(2) == [Latest("a", 3, "new")]
    assert latest.after(3) == []
    assert latest.get("a") == "new"
    assert len(latest) == 2


def test_a_value_is_gone_exactly_at_its_deadline() -> None:
    latest = log()
    latest.put("a", "x", 1, NOW)
    assert latest.next_deadline_ms() == NOW + TTL_MS
    assert latest.pop_expired(NOW + TTL_MS - 1) is None
    assert latest.get("a") == "x"
    assert latest.pop_expired(NOW + TTL_MS) == "a"
    assert latest.get("a") is None
    assert latest.next_deadline_ms() is None


def test_put_restarts_the_time_to_live() -> None:
    latest = log()
    latest.put("a", "x", 1, NOW)
    latest.put("b", "y", 2, NOW + 1)
    latest.put("a", "z", 3, NOW + 2)
    assert latest.pop_expired(NOW + TTL_MS) is None
    assert latest.pop_expired(NOW + TTL_MS + 2) == "b"
    assert latest.pop_expired(NOW + TTL_MS + 2) == "a"
    assert latest.pop_expired(NOW + TTL_MS + 2) is None


def test_a_cursor_receives_removals_and_returning_keys() -> None:
    latest = log()
    latest.put("a", "x", 1, NOW)
    latest.pop_expired(NOW + TTL_MS)
    latest.bury("a", 2)
    assert latest.after(1) == [Latest("a", 2, None)]
    latest.put("a", "back", 3, NOW + TTL_MS)
    assert latest.after(1) == [Latest("a", 3, "back")]


def test_a_cursor_that_missed_a_forgotten_removal_is_refused() -> None:
    latest = log(tombstones=1)
    for revision, key in enumerate("abc", start=1):
        latest.put(key, key, revision, NOW)
    for revision, key in enumerate("ab", start=4):
        assert latest.pop_expired(NOW + TTL_MS) == key
        latest.bury(key, revision)
    assert latest.after(4) == [Latest("b", 5, None)]
    with pytest.raises(Compacted):
        latest.after(3)


@given(
    steps=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 60_000)), max_size=40),
    cursor=st.integers(0, 60),
    tombstones=st.integers(1, 3),
)
def test_changes_after_a_cursor_lead_to_the_current_state(
    steps: list[tuple[str, int]], cursor: int, tombstones: int
) -> None:
    latest = log(tombstones)
    states: list[dict[str, str]] = [{}]

    def record() -> None:
        states.append(dict(latest.items()))

    now = NOW
    for key, passed in steps:
        now += passed
        while (expired := latest.pop_expired(now)) is not None:
            latest.bury(expired, len(states))
            record()
        latest.put(key, f"{key}@{now}", len(states), now)
        record()
    cursor = min(cursor, len(states) - 1)
    try:
        changes = latest.after(cursor)
    except Compacted:
        return
    assert [change.revision for change in changes] == sorted({c.revision for c in changes})
    seen = dict(states[cursor])
    for change in changes:
        if change.value is None:
            seen.pop(change.key, None)
        else:
            seen[change.key] = change.value
    assert seen == states[-1]


def test_a_dropped_value_leaves_no_trace() -> None:
    latest = log(tombstones=0)
    latest.put("a", "x", 1, NOW)
    assert latest.drop("a")
    assert not latest.drop("a")
    assert latest.after(0) == []


def test_a_limit_keeps_the_oldest_changes() -> None:
    latest = log()
    for revision, key in enumerate("abcb", start=1):
        latest.put(key, key, revision, NOW)
    assert [each.key for each in latest.after(0, 2)] == ["a", "c"]
