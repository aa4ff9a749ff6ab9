import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.events import DataReceived, RequestReceived
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.protocol_errors import StreamFault
from hub.transports.grpc.native.request_reader import account_body
from hub.transports.grpc.native.stream import Stream
from tests.support.http2_peer import REQUEST, Peer, message


def test_trailers_end_a_body() -> None:
    peer = Peer()
    peer.send(peer.headers(1) + peer.data(1, message(b"x"), end=False))
    (ended,) = peer.send(peer.headers(1, (("a", "b"),), end=True))
    assert isinstance(ended, DataReceived)
    assert (ended.data, ended.ended) == (b"", True)


@pytest.mark.parametrize(
    ("fields", "end"), [((("a", "b"),), False), (((":path", "/"),), True), ((("A", "b"),), True)]
)
def test_malformed_trailers_are_a_fault(fields: tuple[tuple[str, str], ...], *, end: bool) -> None:
    peer = Peer()
    peer.send(peer.headers(1))
    peer.received()
    peer.send(peer.headers(1, fields, end=end))
    (reset,) = peer.received()
    assert (reset.kind, reset.code) == (frames.RST_STREAM, ErrorCode.PROTOCOL_ERROR)


def test_the_block_of_a_refused_stream_is_still_decoded() -> None:
    peer = Peer()
    peer.core.refuse_streams()
    peer.send(peer.headers(1, (*REQUEST, ("first", "seen"))))
    peer.core._streams.refusing = False
    (event,) = peer.send(peer.headers(3, (*REQUEST, ("first", "seen"))))
    assert isinstance(event, RequestReceived)
    assert event.request.fields[-1] == (b"first", b"seen")


def test_stream_ids_only_increase() -> None:
    peer = Peer()
    peer.send(peer.headers(5, end=True))
    peer.send(peer.headers(3))
    assert peer.core.failed


def test_a_body_must_match_its_content_length() -> None:
    stream = Stream(1, 0, 0.0)
    stream.expected = 5
    account_body(stream, 3, ended=False)
    account_body(stream, 2, ended=True)
    assert not stream.remote_open
    for length, ended in ((6, False), (4, True)):
        stream = Stream(1, 0, 0.0)
        stream.expected = 5
        with pytest.raises(StreamFault):
            account_body(stream, length, ended=ended)
