from random import Random

import grpc
import pytest

from hub.client.call_errors import CallFailed
from hub.client.retry import Backoff, Retry, ends_a_watch

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def failed(code: grpc.StatusCode = UNAVAILABLE, retry_after_s: float | None = None) -> CallFailed:
    return CallFailed(code, "no", retry_after_s=retry_after_s)


def test_pauses_grow_to_a_bound_and_restart() -> None:
    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    backoff = Backoff(Retry(first_s=0.1, longest_s=1.0), Longest())
    assert [backoff.pause_s() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    backoff.reset()
    assert backoff.pause_s() == pytest.approx(0.1)
    for _ in range(10_000):
        backoff.pause_s()


def test_pauses_are_spread_from_nothing() -> None:
    pauses = [Backoff(Retry(first_s=1), Random(seed)).pause_s() for seed in range(50)]
    assert min(pauses) < 0.1
    assert max(pauses) > 0.9


def test_only_what_is_unavailable_is_tried_again_and_not_for_ever() -> None:
    backoff = Backoff(Retry(attempts=3), Random(1))
    assert backoff.before_retry_s("GetEndpoint", failed(grpc.StatusCode.NOT_FOUND), 9) is None
    assert backoff.before_retry_s("CreateToken", failed(), 9) is None
    assert backoff.before_retry_s("GetEndpoint", failed(), 9) is not None
    assert backoff.before_retry_s("GetEndpoint", failed(), 9) is not None
    assert backoff.before_retry_s("GetEndpoint", failed(), 9) is None


def test_the_hub_s_word_on_when_is_kept_where_the_deadline_allows() -> None:
    backoff = Backoff(Retry(first_s=0.001), Random(1))
    assert backoff.before_retry_s("GetEndpoint", failed(retry_after_s=2.0), 3.0) == 2.0
    assert backoff.before_retry_s("GetEndpoint", failed(retry_after_s=20.0), 3.0) is None


def test_what_a_watch_does_not_come_back_from() -> None:
    assert ends_a_watch(failed(grpc.StatusCode.UNAUTHENTICATED))
    assert not ends_a_watch(failed())
    assert not ends_a_watch(failed(grpc.StatusCode.OUT_OF_RANGE))
