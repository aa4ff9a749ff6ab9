import pytest

from hub.probes.backends.prefix_cache import HitRatio


def test_the_ratio_is_that_of_the_tokens_since_the_last_count():
    ratio = HitRatio()
    assert ratio.count(0, 0) is None
    assert ratio.count(100, 25) == 0.25
    assert ratio.count(200, 125) == 1.0
    assert ratio.count(200, 125) == 1.0, "it stays while no token comes"


def test_counters_that_went_back_belong_to_a_server_that_was_started_again():
    ratio = HitRatio()
    ratio.count(1000, 900)
    assert ratio.count(10, 5) == 0.5


@pytest.mark.parametrize(("queries", "hits"), [(None, 1), (1, None), (1, 2), (5, -1)])
def test_odd_counters_tell_nothing(queries: float | None, hits: float | None):
    assert HitRatio().count(queries, hits) is None


def test_counters_that_disagree_stay_within_the_bounds():
    ratio = HitRatio()
    ratio.count(100, 0)
    assert ratio.count(110, 100) == 1.0
