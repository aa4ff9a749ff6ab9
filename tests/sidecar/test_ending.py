from random import Random

import pytest

from hub.sidecar.ending import (
    BASE_MS,
    CAP_MS,
    REFUSED_WAIT_MS,
    SOON_MS,
    STABLE_MS,
    Ending,
    ReconnectDelay,
    ending_of_close,
)


@pytest.mark.parametrize(
    ("reason", "wait_ms"),
    [
        ("cooldown active: retry in 30s", 30_000),
        ("cooldown active: retry in 300s", 300_000),
        ("too many validation errors", REFUSED_WAIT_MS),
        ("token revoked", REFUSED_WAIT_MS),
        ("retry in 99999999s", REFUSED_WAIT_MS),
    ],
)
def test_a_refusal_sets_the_time_to_wait(reason: str, wait_ms: int) -> None:
    ending = ending_of_close(1008, reason)
    assert (ending.wait_ms, ending.is_soon, ending.is_replaced) == (wait_ms, False, False)
    assert reason in ending.reason


def test_a_hub_that_stops_will_be_back_soon() -> None:
    assert ending_of_close(1001, "hub is stopping").is_soon


def test_another_connection_of_the_agent_replaces_this_one() -> None:
    assert ending_of_close(4001, "replaced").is_replaced


@pytest.mark.parametrize("code", [None, 1000, 1006, 1011, 4999])
def test_every_other_ending_is_retried(code: int | None) -> None:
    ending = ending_of_close(code, "")
    assert (ending.wait_ms, ending.is_soon, ending.is_replaced) == (0, False, False)


LOST = Ending("lost")


def test_the_span_doubles_up_to_the_cap_and_the_delay_is_random_within_it() -> None:
    longest = ReconnectDelay(lambda: 1.0)
    delays = [longest.delay_ms(LOST, None) for _ in range(8)]
    assert delays == [1000, 2000, 4000, 8000, 16_000, 32_000, CAP_MS, CAP_MS]
    shortest = ReconnectDelay(lambda: 0.0)
    assert [shortest.delay_ms(LOST, None) for _ in range(8)] == [0] * 8


def test_a_thousand_failures_do_not_overflow() -> None:
    backoff = ReconnectDelay(lambda: 0.5)
    assert [backoff.delay_ms(LOST, None) for _ in range(1000)][-1] == CAP_MS // 2


def test_the_requested_wait_is_the_minimum() -> None:
    backoff = ReconnectDelay(Random(1).random)
    ending = Ending("cooldown", wait_ms=30_000)
    for attempt in range(10):
        assert 30_000 <= backoff.delay_ms(ending, None) <= 30_000 + min(CAP_MS, BASE_MS << attempt)


def test_only_a_lasting_connection_resets_the_failures() -> None:
    backoff = ReconnectDelay(lambda: 1.0)
    for _ in range(5):
        backoff.delay_ms(LOST, None)
    assert backoff.delay_ms(LOST, STABLE_MS - 1) == 32_000
    assert backoff.delay_ms(LOST, STABLE_MS) == 1000


def test_an_announced_restart_has_a_short_delay() -> None:
    backoff = ReconnectDelay(lambda: 1.0)
    for _ in range(5):
        backoff.delay_ms(LOST, None)
    soon = Ending("stopping", is_soon=True)
    assert [backoff.delay_ms(soon, 10) for _ in range(3)] == [SOON_MS] * 3
    assert backoff.delay_ms(LOST, None) == 1000
