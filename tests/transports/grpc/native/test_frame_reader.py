import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.frame_reader import FrameReader
from hub.transports.grpc.native.protocol_errors import ConnectionFault

HELLO = frames.PREFACE + frames.settings({})


def read(reader: FrameReader, data: bytes) -> list[tuple[int, int, int, bytes]]:
    return list(reader.read(data))


@pytest.mark.parametrize("step", [1, 5, 1_000])
def test_frames_are_read_however_they_are_split(step: int) -> None:
    data = HELLO + frames.ping(b"12345678") + frames.frame(frames.DATA, 1, 3, b"body")
    reader = FrameReader()
    seen = [
        one
        for start in range(0, len(data), step)
        for one in read(reader, data[start : start + step])
    ]
    assert seen == [(4, 0, 0, b""), (6, 0, 0, b"12345678"), (0, 1, 3, b"body")]
    assert reader.count == 3
    assert not reader.partial


def test_the_reserved_bit_is_ignored() -> None:
    reader = FrameReader()
    read(reader, HELLO)
    assert read(reader, frames.frame(frames.DATA, 0, 0x8000_0005)) == [(0, 0, 5, b"")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "preface"),
        (frames.PREFACE + frames.ping(bytes(8)), "not SETTINGS"),
        (frames.PREFACE + frames.SETTINGS_ACK, "not SETTINGS"),
        (HELLO + frames.head(16_385, 0, 0, 1), "16385 bytes"),
    ],
)
def test_forbidden_input_is_a_fault(data: bytes, why: str) -> None:
    with pytest.raises(ConnectionFault, match=why):
        read(FrameReader(), data)


def test_the_first_settings_settle_the_connection() -> None:
    reader = FrameReader()
    read(reader, HELLO[:-1])
    assert (reader.settled, reader.partial) == (False, True)
    read(reader, HELLO[-1:])
    assert (reader.settled, reader.partial) == (True, False)
