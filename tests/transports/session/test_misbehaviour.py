import pytest

from hub.transports.session.misbehaviour import Allowance, Cooldowns, ViolationWindow

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


def test_an_allowance_is_a_burst_and_a_rate() -> None:
    allowance = Allowance(burst=3, each_ms=100)
    assert [allowance.spend(NOW) for _ in range(4)] == [True] * 3 + [False]
    assert [allowance.spend(NOW + at) for at in (99, 100, 199, 200)] == [False, True, False, True]
    # What is not used is kept, up to the burst.
    assert [allowance.spend(NOW + HOUR) for _ in range(4)] == [True] * 3 + [False]


def test_what_was_not_there_to_take_costs_nothing() -> None:
    allowance = Allowance(burst=1, each_ms=100)
    taken = [allowance.spend(NOW + at) for at in range(0, 1_000, 10)]
    assert sum(taken) == 10


def test_each_penalty_is_longer() -> None:
    cooldowns = Cooldowns()
    now = NOW
    for seconds in (30, 60, 300, 300, 300):
        assert cooldowns.penalise("a", now) == seconds
        assert cooldowns.remaining_ms("a", now) == seconds * 1000
        assert cooldowns.remaining_ms("a", now + seconds * 1000 - 1) == 1
        now += seconds * 1000
        assert cooldowns.remaining_ms("a", now) == 0


def test_a_clean_hour_counts_from_the_end_of_the_penalty() -> None:
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


def test_the_number_of_remembered_agents_is_bounded() -> None:
    cooldowns = Cooldowns(max_agents=100)
    for i in range(1_000):
        cooldowns.penalise(f"agent-{i}", NOW + i)
        assert len(cooldowns) <= 100
    assert cooldowns.remaining_ms("agent-999", NOW + 999) == 30_000
    assert cooldowns.remaining_ms("agent-0", NOW) == 0


def test_expired_penalties_are_dropped() -> None:
    cooldowns = Cooldowns()
    for i in range(50):
        cooldowns.penalise(f"agent-{i}", NOW)
    cooldowns.penalise("late", NOW + 30_000 + HOUR)
    assert len(cooldowns) == 1


def test_other_penalty_steps_can_be_set() -> None:
    cooldowns = Cooldowns((1, 2), forget_ms=10)
    assert [cooldowns.penalise("a", NOW + i) for i in range(3)] == [1, 2, 2]
    with pytest.raises(ValueError, match="step"):
        Cooldowns(())
