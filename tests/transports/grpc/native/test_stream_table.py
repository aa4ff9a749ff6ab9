import pytest

from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.protocol_errors import ConnectionFault, StreamFault
from hub.transports.grpc.native.stream import Stream
from hub.transports.grpc.native.stream_table import StreamTable


def table(*open_ids: int, highest: int = 9) -> StreamTable:
    made = StreamTable(2)
    made.highest = highest
    for stream_id in open_ids:
        made.open[stream_id] = Stream(stream_id, 0, 0.0)
    return made


def test_idle_streams_and_stream_0_are_faults() -> None:
    table().require_used(9, "DATA")
    for stream_id in (0, 8, 11):
        with pytest.raises(ConnectionFault, match=f"DATA on stream {stream_id}"):
            table().require_used(stream_id, "DATA")


def test_late_frames_of_streams_that_the_server_reset_are_ignored() -> None:
    streams = table()
    streams.note_reset(3)
    streams.ignore_late(3)


def test_late_frames_of_other_streams_are_faults() -> None:
    with pytest.raises(StreamFault) as half_closed:
        table(5).ignore_late(5)
    assert half_closed.value.code == ErrorCode.STREAM_CLOSED
    with pytest.raises(ConnectionFault) as closed:
        table().ignore_late(7)
    assert closed.value.code == ErrorCode.STREAM_CLOSED


def test_only_the_last_resets_are_remembered() -> None:
    streams = table()
    for stream_id in (1, 3, 5):
        streams.note_reset(stream_id)
    streams.ignore_late(3)
    streams.ignore_late(5)
    with pytest.raises(ConnectionFault):
        streams.ignore_late(1)
