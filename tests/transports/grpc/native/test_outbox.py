import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.flow_control import WindowOverflow
from hub.transports.grpc.native.header_blocks import HeaderEncoder
from hub.transports.grpc.native.outbox import Outbox
from hub.transports.grpc.native.stream import Stream
from hub.transports.grpc.native.stream_table import StreamTable
from tests.support.http2_peer import Frame, cut

_TRAILERS = ((b"grpc-status", b"0"),)
_HEAD = ((b":status", b"200"),)


class Rig:
    def __init__(self, *windows: int) -> None:
        table = StreamTable(8)
        self.outbox = Outbox(table, HeaderEncoder(max_remembered=4))
        self.outbox.replenish(1 << 20)
        self.streams = [Stream(2 * n + 1, window, 0.0) for n, window in enumerate(windows)]
        for stream in self.streams:
            stream.remote_open = False
            table.open[stream.id] = stream

    def sent(self) -> list[Frame]:
        return list(cut(b"".join(self.outbox.take())))

    def sizes(self) -> list[tuple[int, int]]:
        return [(one.stream_id, len(one.payload)) for one in self.sent() if one.kind == frames.DATA]


def test_a_message_that_fits_is_written_by_reference() -> None:
    rig = Rig(1_000)
    data = b"x" * 500
    rig.outbox.message(rig.streams[0], data)
    assert any(chunk is data for chunk in rig.outbox.take())


def test_a_message_waits_for_its_window_and_trailers_for_the_message() -> None:
    rig = Rig(3)
    (stream,) = rig.streams
    rig.outbox.message(stream, b"12345678")
    rig.outbox.end(stream, _TRAILERS)
    assert rig.sizes() == [(1, 3)]
    assert rig.outbox.pending_bytes == 5
    rig.outbox.window_update(stream, 100)
    data, trailers = rig.sent()
    assert data.payload == b"45678"
    assert trailers.flags & frames.END_STREAM
    assert (stream.closed, rig.outbox.pending_bytes) == (True, 0)


def test_streams_waiting_for_the_connection_take_turns() -> None:
    rig = Rig(1 << 20, 1 << 20)
    rig.outbox.window = 0
    for stream in rig.streams:
        rig.outbox.message(stream, bytes(60_000))
    rig.sent()
    rig.outbox.window_update(None, 40_000)
    assert [stream_id for stream_id, _ in rig.sizes()] in ([1, 3, 1], [3, 1, 3])


def test_data_waits_while_the_socket_is_full() -> None:
    rig = Rig(1 << 20)
    rig.outbox.replenish(0)
    rig.outbox.message(rig.streams[0], b"abc")
    assert not rig.sent()
    rig.outbox.replenish(10)
    assert rig.sizes() == [(1, 3)]
    assert rig.outbox.drained == rig.streams


def test_a_smaller_initial_window_may_make_windows_negative() -> None:
    rig = Rig(65_535)
    rig.outbox.message(rig.streams[0], bytes(1_000))
    rig.outbox.resize(0)
    assert rig.streams[0].window == -1_000
    rig.outbox.message(rig.streams[0], b"abc")
    rig.sent()
    rig.outbox.resize(1_002)
    assert rig.sizes() == [(1, 2)]
    rig.outbox.window_update(rig.streams[0], 2**31 - 1)
    with pytest.raises(WindowOverflow):
        rig.outbox.window_update(rig.streams[0], 2**31 - 1)


def test_frames_cut_short_are_counted_separately() -> None:
    rig = Rig(1)
    rig.outbox.message(rig.streams[0], bytes(10))
    rig.outbox.window_update(rig.streams[0], 100)
    assert rig.outbox.take_counts() == (1, 1)
    assert rig.outbox.take_counts() == (0, 0)


def test_long_trailers_are_split_into_several_frames() -> None:
    rig = Rig(1)
    rig.outbox.end(rig.streams[0], ((b"grpc-message", bytes(range(128)) * 300),))
    first, *rest = rig.sent()
    assert (first.kind, first.flags) == (frames.HEADERS, frames.END_STREAM)
    assert {one.kind for one in rest} == {frames.CONTINUATION}
    assert [one.flags for one in rest][-1] == frames.END_HEADERS
    assert max(len(one.payload) for one in (first, *rest)) <= frames.DEFAULT_FRAME_BYTES


def test_a_reset_drops_waiting_data() -> None:
    rig = Rig(0, 0)
    for stream in rig.streams:
        rig.outbox.message(stream, bytes(10))
    rig.outbox.reset(rig.streams[0], 8)
    assert rig.outbox.pending_bytes == 10
    (reset,) = rig.sent()
    assert (reset.kind, reset.code) == (frames.RST_STREAM, 8)


def test_a_response_without_trailers_ends_with_data() -> None:
    rig = Rig(100)
    rig.outbox.end(rig.streams[0], ())
    (last,) = rig.sent()
    assert (last.kind, last.flags, last.payload) == (frames.DATA, frames.END_STREAM, b"")


def test_a_whole_reply_is_sent_at_once_or_not_at_all() -> None:
    rig = Rig(10, 10)
    first, second = rig.streams
    assert rig.outbox.whole(first, _HEAD, b"12345678", _TRAILERS)
    assert [one.kind for one in rig.sent()] == [frames.HEADERS, frames.DATA, frames.HEADERS]
    assert first.closed
    assert not rig.outbox.whole(second, _HEAD, b"longer than it", _TRAILERS)
    rig.outbox.window = 5
    assert not rig.outbox.whole(second, _HEAD, b"123456", _TRAILERS)
    assert not rig.sent()
