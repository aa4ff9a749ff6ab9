"""Splits a client's bytes into frames (RFC 9113, sections 3.4 and 4.1)."""

from collections.abc import Iterator

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.protocol_errors import ConnectionFault

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream id, payload."""


class FrameReader:
    """Checks the preface and the first frame, and keeps a partial frame."""

    __slots__ = ("_buffer", "_preface_read", "count", "settled")

    def __init__(self) -> None:
        self._buffer = b""
        self._preface_read = False
        self.count = 0
        """The number of complete frames read."""
        self.settled = False
        """Whether the client's first frame, SETTINGS, has arrived."""

    @property
    def partial(self) -> bool:
        """Whether a frame is incomplete."""
        return bool(self._buffer)

    def read(self, data: bytes) -> Iterator[Frame]:
        """The complete frames in the kept bytes and `data`. Raises ConnectionFault."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        position, end = 0, len(data)
        if not self._preface_read:
            if data[:24] != frames.PREFACE[:end]:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no client preface (section 3.4)")
            if end < len(frames.PREFACE):
                self._buffer = data
                return
            self._preface_read = True
            position = len(frames.PREFACE)
        unpack = frames.HEAD.unpack_from
        while end - position >= frames.HEAD_BYTES:
            high, low, kind, flags, stream_id = unpack(data, position)
            length = high << 8 | low
            if length > frames.DEFAULT_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            if not self.settled and (kind != frames.SETTINGS or flags & frames.ACK):
                raise ConnectionFault(
                    ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS (section 3.4)"
                )
            start = position + frames.HEAD_BYTES
            stop = start + length
            if stop > end:
                break
            position = stop
            self.settled = True
            self.count += 1
            yield kind, flags, stream_id & frames.STREAM_ID_MASK, data[start:stop]
        if position < end:
            self._buffer = data[position:]
