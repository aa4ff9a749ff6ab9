import pytest

from hub.probes.asker import ProbeTarget
from hub.probes.watched import Watched


def watched() -> Watched:
    return Watched(ProbeTarget("a:1", "http", "a", 1))


def test_an_endpoint_that_never_answered_has_the_whole_timeout():
    assert watched().patience_s(5) == 5


@pytest.mark.parametrize(
    ("latency_ms", "timeout_s", "patience_s"),
    [(10, 5, 1.25), (1000, 5, 4), (3000, 5, 5), (10, 1, 1)],
)
def test_an_endpoint_that_answered_before_has_a_multiple_of_its_latency_within_bounds(
    latency_ms: float, timeout_s: float, patience_s: float
):
    endpoint = watched()
    endpoint.settle(latency_ms, has_failed=False)
    assert endpoint.patience_s(timeout_s) == patience_s


def test_the_time_of_a_hanging_probe_is_not_the_usual_latency():
    endpoint = watched()
    endpoint.settle(10, has_failed=False)
    endpoint.settle(None, has_failed=True)
    assert endpoint.is_doubted
    endpoint.settle(4000, has_failed=False)
    assert not endpoint.is_doubted
    assert endpoint.patience_s(5) == 1.25
    endpoint.settle(500, has_failed=False)
    assert endpoint.patience_s(5) == 2
