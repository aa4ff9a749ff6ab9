import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.accounts import Ledger
from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.call_head import call_head
from hub.transports.grpc.native.call_status import CallFailed
from hub.transports.grpc.native.events import RequestReceived
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.message_framing import framed_with_gzip
from tests.support.http2_peer import REQUEST, Peer, message
from tests.support.native_server import call_context


def begun(peer: Peer, *more: tuple[str, str], high_water: int = 1_000) -> Call:
    (event,) = peer.send(peer.headers(1, (*REQUEST, *more)))
    assert isinstance(event, RequestReceived)
    context = call_context(
        peer.core, Ledger(Limits()), max_message_bytes=100_000, high_water=high_water
    )
    peer.received()
    return Call(context, event.stream, call_head(event.headers, event.request))


def receive(peer: Peer, call: Call, data: bytes, *, ended: bool = False) -> None:
    peer.send(peer.data(1, data, end=ended))
    call.receive(data, ended=ended)


def test_messages_are_taken_in_order() -> None:
    peer = Peer()
    call = begun(peer)
    receive(peer, call, message(b"one") + message(b"two")[:4])
    receive(peer, call, message(b"two")[4:], ended=True)
    assert (call.waiting, call.half_closed, call.cut_short) == (2, True, False)
    assert [call.take(), call.take()] == [b"one", b"two"]
    assert call.buffered == 0


def test_a_body_that_ends_within_a_message_is_cut_short() -> None:
    peer = Peer()
    call = begun(peer)
    receive(peer, call, message(b"one")[:6], ended=True)
    assert call.cut_short


def test_a_slow_handler_makes_the_client_wait() -> None:
    peer = Peer()
    call = begun(peer, high_water=20_000)
    for _ in range(12):
        receive(peer, call, message(bytes(12_000)))
    before = [one for one in peer.received() if one.kind == frames.WINDOW_UPDATE]
    while call.waiting:
        call.take()
    after = [one for one in peer.received() if one.kind == frames.WINDOW_UPDATE]
    assert not before
    assert after
    assert call.stream.held == 0


def test_a_reply_carries_metadata() -> None:
    peer = Peer()
    call = begun(peer)
    call.initial_metadata, call.trailing_metadata = (("i", "1"),), (("t-bin", b"\xff"),)
    call.send_message(b"hello")
    call.finish()
    head, data, trailers, _ = peer.received()
    assert peer.fields(head)["i"] == "1"
    assert data.payload == message(b"hello")
    assert peer.fields(trailers) == {"grpc-status": "0", "t-bin": "/w"}


def test_an_error_before_any_message_is_trailers_only() -> None:
    peer = Peer()
    call = begun(peer)
    call.fail(5, "not here")
    only, _ = peer.received()
    fields = peer.fields(only)
    assert (fields[":status"], fields["grpc-status"], fields["grpc-message"]) == (
        "200",
        "5",
        "not here",
    )
    call.fail(6, "again")
    assert peer.received() == []


def test_only_clients_that_accept_gzip_get_it() -> None:
    peer = Peer()
    call = begun(peer, ("grpc-accept-encoding", "gzip"))
    call.compress = True
    call.send_message(b"x" * 1_000)
    head, data = peer.received()
    assert peer.fields(head)["grpc-encoding"] == "gzip"
    assert data.payload == framed_with_gzip(b"x" * 1_000)
    other = begun(Peer())
    other.compress = True
    other.send_message(b"plain")


def test_long_messages_are_not_copied() -> None:
    peer = Peer()
    call = begun(peer)
    peer.core.outbox.replenish(1 << 20)
    body = bytes(70_000)
    call.send_message(body)
    views = [one for one in peer.core.outbox.take() if isinstance(one, memoryview)]
    assert views
    assert all(view.obj is body for view in views)


def test_a_message_that_is_too_long_is_refused() -> None:
    peer = Peer()
    call = begun(peer)
    with pytest.raises(CallFailed):
        call.receive(b"\0\x7f\0\0\0", ended=False)
