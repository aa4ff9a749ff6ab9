import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.header_frames import BlockReader, unpadded
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.protocol_errors import ConnectionFault


@pytest.mark.parametrize(
    ("payload", "data"), [(b"\x02ab\0\0", b"ab"), (b"\0ab", b"ab"), (b"\x02\0\0", b"")]
)
def test_padding_is_removed(payload: bytes, data: bytes) -> None:
    assert unpadded(frames.PADDED, payload) == data
    assert unpadded(0, payload) == payload


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05ab\0\0"])
def test_more_padding_than_payload_is_a_fault(payload: bytes) -> None:
    with pytest.raises(ConnectionFault, match="padding"):
        unpadded(frames.PADDED, payload)


def test_a_block_is_joined_from_its_frames() -> None:
    reader = BlockReader(Limits())
    assert reader.begin(0, 5, b"one") is None
    assert reader.stream_id == 5
    assert reader.add(0, b"two") is None
    assert reader.add(frames.END_HEADERS, b"three") == b"onetwothree"
    assert reader.stream_id == 0


def test_a_priority_is_removed_from_the_block() -> None:
    reader = BlockReader(Limits())
    flags = frames.END_HEADERS | frames.PRIORITY_FLAG
    assert reader.begin(flags, 5, b"\x80\0\0\x07\x10block") == b"block"
    assert reader.dependency == 7
    with pytest.raises(ConnectionFault, match="priority"):
        reader.begin(flags, 5, b"\0\0")


@pytest.mark.parametrize("part", [b"", b"x" * 60])
def test_a_block_is_bounded_in_frames_and_bytes(part: bytes) -> None:
    reader = BlockReader(Limits(continuations=3, header_block_bytes=100))
    reader.begin(0, 1, b"")

    def add_all() -> None:
        for _ in range(4):
            reader.add(0, part)

    with pytest.raises(ConnectionFault, match="too many"):
        add_all()
