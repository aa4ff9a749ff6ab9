import pytest

from hub.sidecar.ending import REFUSED_WAIT_MS, ending_of_close


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
def test_a_refusal_says_how_long_to_stay_away(reason: str, wait_ms: int) -> None:
    ending = ending_of_close(1008, reason)
    assert (ending.wait_ms, ending.is_soon, ending.is_replaced) == (wait_ms, False, False)
    assert reason in ending.reason


def test_a_hub_that_stops_will_be_back_soon() -> None:
    assert ending_of_close(1001, "hub is stopping").is_soon


def test_another_connection_of_the_agent_replaces_this_one() -> None:
    assert ending_of_close(4001, "replaced").is_replaced


@pytest.mark.parametrize("code", [None, 1000, 1006, 1011, 4999])
def test_everything_else_is_tried_again(code: int | None) -> None:
    ending = ending_of_close(code, "")
    assert (ending.wait_ms, ending.is_soon, ending.is_replaced) == (0, False, False)
