import pytest

from hub.probes.backends.prometheus_text import count, gauges, series, share

PAGE = b"""# HELP running Requests in flight.
# TYPE running gauge
running{engine="0",model="a b } c"} 2.0
running{engine="1",model="a"} 3.0 1700000000000
running_total 99
waiting 1
used NaN
broken
"""


def test_gauge_is_the_sum_of_its_series() -> None:
    assert gauges(PAGE, ["running", "waiting"]) == {"running": 5.0, "waiting": 1.0}


@pytest.mark.parametrize("name", ["used", "broken", "absent", "run"])
def test_gauge_without_a_finite_number_is_left_out(name: str) -> None:
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
