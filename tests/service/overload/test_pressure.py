from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.service.overload.pressure import (
    FALL_MS,
    LAG_READINGS,
    RESOURCES,
    SLOW_FALL_MS,
    Level,
    Load,
    Pressure,
)
from llmhub.v1.admin_service_pb2 import OverloadLevel

BUDGETS = Load(loop_lag=1.0, memory=1000.0, descriptors=100.0, store_queue=50.0)
STEP_MS = 250


def fed(pressure: Pressure, *loads: Load, start_ms: int = 0) -> list[Level]:
    return [pressure.update(load, start_ms + i * STEP_MS) for i, load in enumerate(loads)]


def test_a_calm_hub_stays_calm() -> None:
    pressure = Pressure(BUDGETS)
    assert set(fed(pressure, *[Load(0.1, 700.0, 70.0, 3.0)] * 50)) == {Level.CALM}
    assert pressure.since_ms is None


def test_without_budgets_no_load_is_too_much() -> None:
    assert fed(Pressure(), *[Load(1e9, 1e18, 1e9, 1e9)] * 20)[-1] is Level.CALM


def test_levels_begin_one_after_the_other_up_to_the_one_of_the_pressure() -> None:
    worst = Pressure(BUDGETS)
    assert fed(worst, *[Load(memory=2000.0)] * 7) == [1, 2, 3, 4, 5, 5, 5]
    assert worst.cause == "memory"
    assert fed(Pressure(BUDGETS), *[Load(descriptors=86.0)] * 4) == [1, 2, 2, 2]


def test_one_long_step_of_the_loop_is_no_overload() -> None:
    pressure = Pressure(BUDGETS)
    assert fed(pressure, Load(loop_lag=60.0), *[Load()] * 3, Load(loop_lag=60.0))[-1] == 0
    slow = fed(pressure, *[Load(loop_lag=2.0)] * (LAG_READINGS + 1), start_ms=10_000)
    assert slow[-1] > Level.CALM
    assert pressure.cause == "loop_lag"


def test_a_level_ends_only_after_the_pressure_was_well_below_it_for_a_while() -> None:
    pressure = Pressure(BUDGETS)
    fed(pressure, *[Load(memory=870.0)] * 3)
    assert pressure.level is Level.SNAPSHOTS
    # Just below where the level begins is not well below.
    assert set(fed(pressure, *[Load(memory=840.0)] * 60, start_ms=1_000)) == {Level.SNAPSHOTS}
    low = fed(pressure, *[Load(memory=600.0)] * 60, start_ms=20_000)
    steps = FALL_MS // STEP_MS
    assert low.index(Level.CONNECTIONS) == steps
    assert low.index(Level.CALM) == 2 * steps
    assert low[-1] is Level.CALM


def steady(pressure: Pressure, load: Load, from_s: int, for_s: int) -> list[Level]:
    return fed(pressure, *[load] * (for_s * 1000 // STEP_MS), start_ms=from_s * 1000)


@pytest.mark.parametrize("share", [0.72, 0.78, 0.9, 0.99])
def test_memory_that_stays_the_same_below_the_budget_is_no_overload(share: float) -> None:
    pressure = Pressure(BUDGETS)
    steady(pressure, Load(memory=990.0), 0, 5)
    assert pressure.level >= Level.WATCHES
    levels = steady(pressure, Load(memory=1000 * share), 5, 120)
    assert levels[-1] is Level.CALM
    assert all(a >= b for a, b in pairwise(levels))


@pytest.mark.parametrize("per_s", [0.1, 1.0, 20.0])
def test_memory_that_grows_is_refused_work_before_it_reaches_the_budget(per_s: float) -> None:
    pressure, used, now_ms = Pressure(BUDGETS), 900.0, 100_000
    assert steady(pressure, Load(memory=used), 0, 100)[-1] is Level.CALM
    room_at: dict[Level, float] = {}
    while used < 1000:
        used += per_s * STEP_MS / 1000
        now_ms += STEP_MS
        room_at.setdefault(pressure.update(Load(memory=used), now_ms), 1000 - used)
    assert room_at[Level.CONNECTIONS] / per_s == pytest.approx(15 if per_s < 2 else 1, abs=0.3)
    assert room_at[Level.WATCHES] > 0


def test_memory_at_its_budget_is_too_much_however_long_it_lasts() -> None:
    pressure = Pressure(BUDGETS)
    assert set(steady(pressure, Load(memory=1000.0), 0, 300)[4:]) == {Level.READS}
    assert pressure.by_resource["memory"] == 1.0


def test_what_an_attacker_keeps_does_not_add_up_to_the_budget() -> None:
    """After each thaw it takes all that it gets, and keeps that."""
    pressure, used, now_s = Pressure(BUDGETS), 100.0, 0
    for _ in range(20):
        steady(pressure, Load(memory=used), now_s, 120)
        assert pressure.level is Level.CALM
        now_s += 120
        while pressure.level is Level.CALM:
            used += (1000 - used) / 20
            pressure.update(Load(memory=used), now_s * 1000)
            now_s += 1
        assert used < 1000


@pytest.mark.parametrize("load", [Load(descriptors=75.0), Load(store_queue=39.0)])
def test_a_level_also_ends_if_the_pressure_stays_just_below_it(load: Load) -> None:
    pressure = Pressure(BUDGETS)
    steady(pressure, Load(descriptors=82.0), 0, 2)
    assert pressure.level is Level.CONNECTIONS
    levels = steady(pressure, load, 2, 90)
    assert levels.index(Level.CALM) == SLOW_FALL_MS // STEP_MS
    assert levels[-1] is Level.CALM


def test_a_load_that_swings_does_not_make_the_level_swing() -> None:
    pressure = Pressure(BUDGETS)
    levels = fed(pressure, *[Load(memory=860.0), Load(memory=700.0)] * 100)
    assert sum(a != b for a, b in pairwise(levels)) == 1


@given(st.lists(st.floats(0, 3000), max_size=200))
def test_it_moves_one_level_at_a_time_and_recovers(memory: list[float]) -> None:
    pressure = Pressure(BUDGETS)
    levels = [Level.CALM, *fed(pressure, *[Load(memory=each) for each in memory])]
    assert all(abs(a - b) <= 1 for a, b in pairwise(levels))
    calm = fed(pressure, *[Load()] * (5 * FALL_MS // STEP_MS + 20), start_ms=10**6)
    assert calm[-1] is Level.CALM


def test_the_contract_has_the_same_levels() -> None:
    names = [
        name.removeprefix("OVERLOAD_LEVEL_") for name in OverloadLevel.DESCRIPTOR.values_by_name
    ]
    assert names[1:] == [level.name for level in Level][1:]
    assert [level.value for level in Level] == list(OverloadLevel.values())
    assert RESOURCES == ("loop_lag", "memory", "descriptors", "store_queue")
