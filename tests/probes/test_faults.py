import pytest

from hub.probes.faults import (
    BadAnswer,
    Busy,
    NeedsApiKey,
    NotReady,
    OwnFault,
    ProbeError,
    Unreachable,
    WrongKind,
    shown,
)


@pytest.mark.parametrize(
    "error", [NeedsApiKey("x"), Busy("x", None), NotReady("x"), BadAnswer("x"), WrongKind("x")]
)
def test_only_unreachable_servers_have_not_answered(error: ProbeError) -> None:
    assert error.answered
    assert not Unreachable("x").answered


def test_an_own_fault_is_not_a_probe_error() -> None:
    assert not issubclass(OwnFault, ProbeError)


def test_loading_is_distinguished_from_other_reasons_for_not_being_ready() -> None:
    assert NotReady("is loading its model", is_loading=True).is_loading
    assert not NotReady("its engine is dead").is_loading


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" plain ", "plain"),
        ("two\nlines\x1b[2J", "two lines [2J"),
        ("é" * 200, "é" * 200),
        ("é" * 201, "é" * 200 + "..."),
        ("", ""),
    ],
)
def test_untrusted_text_becomes_one_short_printable_line(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_the_limit_can_be_given() -> None:
    assert shown("gzip, deflate", 4) == "gzip..."
