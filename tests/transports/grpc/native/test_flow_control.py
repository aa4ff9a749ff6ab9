import pytest

from hub.transports.grpc.native.flow_control import (
    MAX_WINDOW,
    ReceiveWindow,
    WindowOverflow,
    grown,
)


def test_a_window_may_not_exceed_its_maximum() -> None:
    assert grown(1, MAX_WINDOW - 1) == MAX_WINDOW
    assert grown(-5, 3) == -2
    with pytest.raises(WindowOverflow):
        grown(1, MAX_WINDOW)


def test_credit_is_returned_in_halves() -> None:
    window = ReceiveWindow(100, 100)
    assert window.receive(60)
    assert window.release(49) == 0
    assert window.release(11) == 60
    assert window.available == 100


def test_a_peer_that_exceeds_the_window_is_detected() -> None:
    window = ReceiveWindow(100, 100)
    assert window.receive(100)
    assert not window.receive(1)


def test_credit_that_was_not_announced_is_owed() -> None:
    window = ReceiveWindow(100, 40)
    assert window.release(0) == 60
    assert window.available == 100
