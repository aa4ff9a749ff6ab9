import pytest

from hub.registry.health.load_times import LAST_LOADS, LoadTimes
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    Model,
)

ID, OTHER = "gpu-1:8080", "gpu-2:8080"
ON_DISK = Model(name="m", state=MODEL_STATE_AVAILABLE)
LOADING = Model(name="m", state=MODEL_STATE_LOADING)
LOADED = Model(name="m", state=MODEL_STATE_LOADED)


def test_a_load_starts_midway_between_the_last_probe_without_it_and_the_first_with_it() -> None:
    seen = LoadTimes()
    assert not seen.observe(ID, [ON_DISK], 0, before_ms=None)
    assert not seen.observe(ID, [LOADING], 2_000, before_ms=0)
    assert not seen.observe(ID, [LOADING], 9_000, before_ms=2_000)
    assert seen.observe(ID, [LOADED], 11_000, before_ms=9_000)
    assert seen.expected_ms(ID, "m") == 10_000
    assert not seen.observe(ID, [LOADED], 12_000, before_ms=11_000), "a load ends only once"


def test_a_load_of_a_whole_server_is_attributed_to_the_model_it_lists_afterwards() -> None:
    seen = LoadTimes()
    seen.observe(ID, (), 1_000, before_ms=None, server_loads=True)
    seen.observe(ID, (), 3_000, before_ms=1_000, server_loads=True)
    assert seen.observe(ID, [LOADED], 5_000, before_ms=3_000)
    assert seen.expected_ms(ID, "m") == 4_000


def test_unobserved_loading_is_not_counted() -> None:
    seen = LoadTimes()
    seen.observe(ID, [ON_DISK], 0, before_ms=None)
    assert not seen.observe(ID, [LOADED], 30_000, before_ms=0)
    assert seen.expected_ms(ID, "m") is None
    assert not seen


@pytest.mark.parametrize("after", [[ON_DISK], []], ids=["given up", "crashed"])
def test_a_load_that_failed_is_not_counted(after: list[Model]) -> None:
    seen = LoadTimes()
    seen.observe(ID, [LOADING], 0, before_ms=None)
    seen.observe(ID, after, 1_000, before_ms=0)
    assert not seen.observe(ID, [LOADED], 90_000, before_ms=1_000)


def test_a_forgotten_endpoint_has_no_load_in_progress() -> None:
    seen = LoadTimes()
    seen.observe(ID, [LOADING], 0, before_ms=None)
    seen.forget(ID)
    seen.forget("unknown:1")
    assert not seen.observe(ID, [LOADED], 1_000, before_ms=0)


def test_the_load_time_is_the_median_of_the_last_few_on_the_endpoint() -> None:
    seen = LoadTimes()
    for took in (9_000, 9_000, 9_000, 1_000, 1_000, 60_000, 2_000, 3_000):
        seen.measured(ID, "m", took)
    assert LAST_LOADS == 5
    assert seen.expected_ms(ID, "m") == 2_000


def test_the_fleets_load_time_is_used_if_the_endpoint_has_none() -> None:
    seen = LoadTimes()
    for took in (4_000, 6_000, 5_000):
        seen.measured(OTHER, "m", took)
    assert seen.expected_ms(ID, "m") == 5_000
    seen.measured(ID, "m", 1_000)
    assert seen.expected_ms(ID, "m") == 1_000
    assert seen.expected_ms(ID, "another") is None


@pytest.mark.parametrize("took", [0, -5, 86_400_001])
def test_an_absurd_time_is_ignored(took: int) -> None:
    seen = LoadTimes()
    seen.measured(ID, "m", took)
    assert seen.expected_ms(ID, "m") is None


def test_memory_is_bounded_and_the_least_recently_updated_entry_is_evicted() -> None:
    seen = LoadTimes(capacity=3)
    for number in range(3):
        seen.measured(ID, f"m{number}", 1_000)
    seen.measured(ID, "m0", 1_000)
    seen.measured(ID, "m3", 1_000)
    known = [seen.expected_ms(ID, f"m{number}") is not None for number in range(4)]
    assert known == [True, False, True, True]


def test_changed_and_evicted_keys_are_returned_once():
    times = LoadTimes(capacity=2)
    times.measured("a", "m", 10)
    times.measured("a", "m", 20)
    times.measured("b", "m", 30)
    assert times.take_changed() == [("a", "m"), ("b", "m")]
    assert times.take_changed() == []
    assert times.of("a", "m") == [10, 20]
    times.measured("c", "m", 40)
    assert set(times.take_changed()) == {("c", "m"), ("a", "m")}
    assert times.of("a", "m") == []
