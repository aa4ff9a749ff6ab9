import pytest

from hub.transports.session.misbehaviour import Cooldowns, ViolationWindow

NOW = 1_800_000_000_000
HOUR = 3_600_000


def test_the_tenth_violation_within_a_minute_closes() -> None:
    window = ViolationWindow()
    assert [window.add(NOW + i * 6_000) for i in range(10)] == [False] * 9 + [True]


def test_slower_violations_never_close() -> None:
    window = ViolationWindow()
    assert not any(window.add(NOW + i * 6_667) for i in range(100))


def test_the_window_slides() -> None:
    window = ViolationWindow(limit=3, window_ms=1_000)
    added = [window.add(NOW + at) for at in (0, 600, 1_000, 1_599, 3_000, 3_001, 3_002)]
    assert added == [False, False, False, True, False, False, True]


def test_each_back_off_is_longer() -> None:
    cooldowns = Cooldowns()
    now = NOW
    for seconds in (30, 60, 300, 300, 300):
        assert cooldowns.penalise("a", now) == seconds
        assert cooldowns.remaining_ms("a", now) == seconds * 1000
        assert cooldowns.remaining_ms("a", now + seconds * 1000 - 1) == 1
        now += seconds * 1000
        assert cooldowns.remaining_ms("a", now) == 0


def test_a_clean_hour_is_counted_from_the_end_of_the_back_off() -> None:
    cooldowns = Cooldowns()
    cooldowns.penalise("a", NOW)
    assert cooldowns.penalise("a", NOW + 30_000 + HOUR - 1) == 60
    later = NOW + 30_000 + HOUR - 1 + 60_000 + HOUR
    assert cooldowns.penalise("a", later) == 30


def test_penalties_of_agents_are_independent() -> None:
    cooldowns = Cooldowns()
    cooldowns.penalise("a", NOW)
    assert cooldowns.remaining_ms("b", NOW) == 0
    assert cooldowns.penalise("b", NOW) == 30


def test_it_is_bounded() -> None:
    cooldowns = Cooldowns(max_agents=100)
    for i in range(1_000):
        cooldowns.penalise(f"agent-{i}", NOW + i)
        assert len(cooldowns) <= 100
    assert cooldowns.remaining_ms("agent-999", NOW + 999) == 30_000
    assert cooldowns.remaining_ms("agent-0", NOW) == 0


def test_what_is_forgotten_is_dropped() -> None:
    cooldowns = Cooldowns()
    for i in range(50):
        cooldowns.penalise(f"agent-{i}", NOW)
    cooldowns.penalise("late", NOW + 30_000 + HOUR)
    assert len(cooldowns) == 1


def test_other_steps() -> None:
    cooldowns = Cooldowns((1, 2), forget_ms=10)
    assert [cooldowns.penalise("a", NOW + i) for i in range(3)] == [1, 2, 2]
    with pytest.raises(ValueError, match="step"):
        Cooldowns(())
