import pytest

from hub.probes.backends.prometheus_text import HitRatio, count, gauges, series, share

PAGE = b"""# HELP running Requests in flight.
# TYPE running gauge
running{engine="0",model="a b } c"} 2.0
running{engine="1",model="a"} 3.0 1700000000000
running_total 99
waiting 1
used NaN
broken
"""


def test_a_gauge_is_the_sum_of_its_series() -> None:
    assert gauges(PAGE, ["running", "waiting"]) == {"running": 5.0, "waiting": 1.0}


@pytest.mark.parametrize("name", ["used", "broken", "absent", "run"])
def test_a_gauge_without_a_finite_number_is_omitted(name: str) -> None:
    assert gauges(PAGE, [name]) == {}


def test_series_are_counted_by_the_whole_name() -> None:
    assert [series(PAGE, name) for name in ("running", "waiting", "run")] == [2, 1, 0]


@pytest.mark.parametrize(
    ("number", "expected"), [(2.0, 2), (0.0, 0), (-1.0, None), (1e9, None), (None, None)]
)
def test_count(number: float | None, expected: int | None) -> None:
    assert count(number) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(0.0, 0.0), (1.0, 1.0), (1.1, None), (-0.1, None), (None, None)]
)
def test_share(number: float | None, expected: float | None) -> None:
    assert share(number) == expected


def test_the_ratio_covers_the_tokens_since_the_last_count():
    ratio = HitRatio()
    assert ratio.count(0, 0) is None
    assert ratio.count(100, 25) == 0.25
    assert ratio.count(200, 125) == 1.0
    assert ratio.count(200, 125) == 1.0, "it stays while there are no tokens"


def test_counters_that_went_back_mean_a_restarted_server():
    ratio = HitRatio()
    ratio.count(1000, 900)
    assert ratio.count(10, 5) == 0.5


@pytest.mark.parametrize(("queries", "hits"), [(None, 1), (1, None), (1, 2), (5, -1)])
def test_invalid_counters_give_no_ratio(queries: float | None, hits: float | None):
    assert HitRatio().count(queries, hits) is None


def test_contradictory_counters_give_a_ratio_within_the_bounds():
    ratio = HitRatio()
    ratio.count(100, 0)
    assert ratio.count(110, 100) == 1.0
