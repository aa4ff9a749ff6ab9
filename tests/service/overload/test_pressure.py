from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hub.service.overload.pressure import (
    FALL_MS,
    LAG_READINGS,
    RESOURCES,
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
