"""The core without sockets: states and faults that h2spec does not see."""

import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.events import (
    ConnectionFailed,
    DataReceived,
    PingAcknowledged,
    RequestReceived,
    StreamEnded,
)
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.limits import Limits
from tests.support.http2_peer import Peer, message

_HEAD = ((b":status", b"200"),)
_TRAILERS = ((b"grpc-status", b"0"),)


def only_stream(peer: Peer):
    (stream,) = peer.core.streams.values()
    return stream


def test_a_call_runs_from_request_to_trailers() -> None:
    peer = Peer()
    request, data = peer.send(peer.call(1, b"hello"))
    assert isinstance(request, RequestReceived)
    assert (request.request.path, request.ended) == (b"/t/Echo", False)
    assert isinstance(data, DataReceived)
    assert (data.data, data.ended) == (message(b"hello"), True)
    stream = only_stream(peer)
    peer.core.outbox.headers(stream, _HEAD)
    peer.core.outbox.message(stream, message(b"bye"))
    peer.core.outbox.end(stream, _TRAILERS)
    head, body, trailers = peer.received()
    assert peer.fields(head) == {":status": "200"}
    assert body.payload == message(b"bye")
    assert peer.fields(trailers) == {"grpc-status": "0"}
    assert trailers.flags == frames.END_HEADERS | frames.END_STREAM
    assert not peer.core.streams


def test_an_early_answer_stops_the_clients_request() -> None:
    peer = Peer()
    peer.send(peer.headers(1))
    peer.core.outbox.end(only_stream(peer), (*_HEAD, *_TRAILERS))
    _, reset = peer.received()
    assert (reset.kind, reset.code) == (frames.RST_STREAM, ErrorCode.NO_ERROR)
    # What the client sent before it knew is ignored.
    assert peer.send(peer.data(1, b"late", end=False)) == []
    assert not peer.core.failed


def test_ended_streams_return_the_connections_credit() -> None:
    peer = Peer(Limits(connection_window=100_000, stream_window=100_000))
    for stream_id in range(1, 41, 2):
        peer.send(peer.headers(stream_id))
        peer.send(peer.data(stream_id, bytes(10_000), end=False))
        peer.send(frames.rst_stream(stream_id, 8))
    assert not peer.core.failed
    updates = [one for one in peer.received() if one.kind == frames.WINDOW_UPDATE]
    assert sum(int.from_bytes(one.payload) for one in updates) >= 150_000


def test_a_client_that_ignores_the_window_is_disconnected() -> None:
    peer = Peer(Limits(connection_window=65_535))
    peer.send(peer.headers(1))
    for _ in range(5):
        peer.send(peer.data(1, bytes(16_384), end=False))
    failed = peer.events[-1]
    assert isinstance(failed, ConnectionFailed)
    assert failed.code == ErrorCode.FLOW_CONTROL_ERROR
    assert peer.send(peer.call(3)) == []


def test_a_reset_ends_only_its_stream() -> None:
    peer = Peer()
    peer.send(peer.headers(1) + peer.headers(3))
    (ended,) = peer.send(frames.rst_stream(1, ErrorCode.CANCEL))
    assert isinstance(ended, StreamEnded)
    assert (ended.stream.id, ended.code, ended.by_peer) == (1, ErrorCode.CANCEL, True)
    assert list(peer.core.streams) == [3]


def test_draining_serves_streams_in_flight_and_then_refuses() -> None:
    peer = Peer()
    peer.core.announce_drain()
    peer.send(peer.headers(1))
    peer.core.refuse_streams()
    peer.core.refuse_streams()
    peer.send(peer.headers(3))
    first, second, refused = peer.received()
    assert (first.kind, int.from_bytes(first.payload[:4])) == (frames.GOAWAY, 2**31 - 1)
    assert (second.kind, int.from_bytes(second.payload[:4])) == (frames.GOAWAY, 1)
    assert (refused.stream_id, refused.code) == (3, ErrorCode.REFUSED_STREAM)
    assert list(peer.core.streams) == [1]


def test_a_ping_acknowledgement_is_an_event() -> None:
    peer = Peer()
    peer.core.ping(b"12345678")
    (acknowledged,) = peer.send(frames.ping(b"12345678", ack=True))
    assert isinstance(acknowledged, PingAcknowledged)
    assert acknowledged.payload == b"12345678"


def test_sent_data_earns_control_frames() -> None:
    peer = Peer(Limits(control_frames_burst=20, control_frames_per_s=0, control_frames_earned=4))
    for stream_id in range(1, 401, 2):
        peer.send(peer.call(stream_id) + frames.window_update(0, 10) * 2)
        stream = only_stream(peer)
        peer.core.outbox.message(stream, message(b""))
        peer.core.outbox.end(stream, _TRAILERS)
    assert not peer.core.failed


@pytest.mark.parametrize("ended", [False, True])
def test_a_partial_frame_or_block_is_detected(*, ended: bool) -> None:
    peer = Peer()
    assert not peer.core.mid_frame
    peer.send(frames.frame(frames.HEADERS, frames.END_STREAM if ended else 0, 1, b"\x82"))
    assert peer.core.mid_frame


def test_a_later_goaway_names_no_later_stream() -> None:
    peer = Peer()
    peer.send(peer.call(1))
    peer.core.refuse_streams()
    peer.send(peer.call(3) + frames.frame(frames.PUSH_PROMISE, 0, 1))
    goaways = [one for one in peer.received() if one.kind == frames.GOAWAY]
    assert [int.from_bytes(one.payload[:4]) for one in goaways] == [1, 1]


@pytest.mark.parametrize("kind", [frames.RST_STREAM, frames.WINDOW_UPDATE, frames.DATA])
def test_streams_with_even_ids_are_idle(kind: int) -> None:
    peer = Peer()
    peer.send(peer.call(5) + frames.frame(kind, 0, 4, b"\0\0\0\1"))
    last = peer.received()[-1]
    assert (last.kind, last.code) == (frames.GOAWAY, ErrorCode.PROTOCOL_ERROR)
