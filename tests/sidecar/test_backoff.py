from random import Random

from hub.sidecar.backoff import BASE_MS, CAP_MS, SOON_MS, STABLE_MS, ReconnectDelay
from hub.sidecar.ending import Ending

LOST = Ending("lost")


def test_the_span_doubles_to_the_cap_and_the_delay_is_drawn_from_all_of_it() -> None:
    longest = ReconnectDelay(lambda: 1.0)
    delays = [longest.delay_ms(LOST, None) for _ in range(8)]
    assert delays == [1000, 2000, 4000, 8000, 16_000, 32_000, CAP_MS, CAP_MS]
    shortest = ReconnectDelay(lambda: 0.0)
    assert [shortest.delay_ms(LOST, None) for _ in range(8)] == [0] * 8


def test_a_thousand_failures_are_no_overflow() -> None:
    backoff = ReconnectDelay(lambda: 0.5)
    assert [backoff.delay_ms(LOST, None) for _ in range(1000)][-1] == CAP_MS // 2


def test_what_the_hub_asked_for_is_the_least() -> None:
    backoff = ReconnectDelay(Random(1).random)
    ending = Ending("cooldown", wait_ms=30_000)
    for attempt in range(10):
        assert 30_000 <= backoff.delay_ms(ending, None) <= 30_000 + min(CAP_MS, BASE_MS << attempt)


def test_a_good_connection_forgets_the_failures_and_a_short_one_does_not() -> None:
    backoff = ReconnectDelay(lambda: 1.0)
    for _ in range(5):
        backoff.delay_ms(LOST, None)
    assert backoff.delay_ms(LOST, STABLE_MS - 1) == 32_000
    assert backoff.delay_ms(LOST, STABLE_MS) == 1000


def test_an_announced_restart_is_soon_over() -> None:
    backoff = ReconnectDelay(lambda: 1.0)
    for _ in range(5):
        backoff.delay_ms(LOST, None)
    soon = Ending("stopping", is_soon=True)
    assert [backoff.delay_ms(soon, 10) for _ in range(3)] == [SOON_MS] * 3
    assert backoff.delay_ms(LOST, None) == 1000
