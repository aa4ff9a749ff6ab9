from hpack import Decoder

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.header_blocks import HeaderEncoder
from hub.transports.grpc.native.header_list import Fields
from hub.transports.grpc.native.whole_reply import WholeReply
from tests.support.http2_peer import cut

HEAD: Fields = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS: Fields = ((b"grpc-status", b"0"),)


def test_the_three_frames_of_a_reply() -> None:
    encoder, decoder = HeaderEncoder(max_remembered=4), Decoder()
    for number in range(3):
        reply = WholeReply(HEAD, TRAILERS, encoder)
        head, data, last = cut(b"".join(reply.frames(2 * number + 1, b"data")))
        assert tuple(map(tuple, decoder.decode(head.payload, raw=True))) == HEAD
        assert data.payload == b"data"
        assert tuple(map(tuple, decoder.decode(last.payload, raw=True))) == TRAILERS
        assert [one.flags for one in (head, data, last)] == [
            frames.END_HEADERS,
            0,
            frames.END_HEADERS | frames.END_STREAM,
        ]
        assert {one.stream_id for one in (head, data, last)} == {2 * number + 1}


def test_blocks_that_change_the_clients_table_are_sent_once() -> None:
    encoder = HeaderEncoder(max_remembered=4)
    first = WholeReply(HEAD, TRAILERS, encoder)
    assert not first.is_of(HEAD, TRAILERS, encoder.changes)
    second = WholeReply(HEAD, TRAILERS, encoder)
    assert second.is_of(HEAD, TRAILERS, encoder.changes)
    assert not second.is_of(HEAD, (TRAILERS[0],), encoder.changes)
    encoder.resize(64)
    assert not second.is_of(HEAD, TRAILERS, encoder.changes)
