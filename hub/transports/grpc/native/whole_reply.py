"""A whole response in three frames, whose header blocks are packed once for many streams."""

from struct import Struct
from typing import Final

from hub.transports.grpc.native.header_blocks import HeaderEncoder
from hub.transports.grpc.native.header_list import Fields
from hub.transports.grpc.native.http2_frames import DATA, END_HEADERS, END_STREAM, HEADERS

_UNKNOWN: Final = -1


class WholeReply:
    """HEADERS, DATA and HEADERS with the same fields each time, and other data."""

    __slots__ = (
        "_changes",
        "_head",
        "_head_block",
        "_start",
        "_stop",
        "_trailers",
        "_trailers_block",
    )

    def __init__(self, head: Fields, trailers: Fields, encoder: HeaderEncoder) -> None:
        """Encodes the fields, so the first reply is sent before any other block."""
        before = encoder.changes
        self._head, self._trailers = head, trailers
        self._head_block, self._trailers_block = encoder.encode(head), encoder.encode(trailers)
        # Blocks that add to the client's table may be sent once.
        self._changes = before if before == encoder.changes else _UNKNOWN
        # Two frames' heads, and the first one's payload between them; see `http2_frames.HEAD`.
        self._start = Struct(f">HBBBI{len(self._head_block)}sHBBBI")
        self._stop = Struct(f">HBBBI{len(self._trailers_block)}s")

    def is_of(self, head: Fields, trailers: Fields, changes: int) -> bool:
        """Whether it has these fields, and its blocks still mean them."""
        return head is self._head and trailers is self._trailers and changes == self._changes

    def frames(self, stream_id: int, data: bytes) -> tuple[bytes, bytes, bytes]:
        """The frames for a stream. No block is longer than a frame may be."""
        head, trailers = self._head_block, self._trailers_block
        length, size, last = len(head), len(data), len(trailers)
        return (
            self._start.pack(
                *(length >> 8, length & 0xFF, HEADERS, END_HEADERS, stream_id, head),
                *(size >> 8, size & 0xFF, DATA, 0, stream_id),
            ),
            data,
            self._stop.pack(
                *(last >> 8, last & 0xFF, HEADERS, END_HEADERS | END_STREAM, stream_id, trailers)
            ),
        )
