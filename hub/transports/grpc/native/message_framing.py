"""Converts gRPC's length-prefixed messages, plain or gzip, to and from bytes of DATA."""

import zlib
from struct import Struct
from typing import Final

from hub.transports.grpc.native.call_status import CallFailed, StatusCode

_PREFIX: Final = Struct(">BI")
_PREFIX_BYTES: Final = 5
_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16


def framed(message: bytes) -> bytes:
    """A message with its prefix."""
    return _PREFIX.pack(0, len(message)) + message


def framed_with_gzip(message: bytes) -> bytes:
    """A message with its prefix, compressed with gzip."""
    packer = zlib.compressobj(wbits=_GZIP_WINDOW)
    packed = packer.compress(message) + packer.flush()
    return _PREFIX.pack(1, len(packed)) + packed


class FramedOnce:
    """Frames a message once if many streams send it in succession, and shares the bytes."""

    __slots__ = ("_framed", "_message")

    def __init__(self) -> None:
        self._message = b""
        self._framed = framed(b"")

    def framed(self, message: bytes) -> bytes:
        """The message with its prefix; the same object if the message is the same as last time."""
        if message is not self._message:
            self._message, self._framed = message, framed(message)
        return self._framed


def only_message(data: bytes, max_bytes: int) -> bytes | None:
    """The message if `data` is exactly one uncompressed message, which is the usual case."""
    if len(data) < _PREFIX_BYTES:
        return None
    flag, length = _PREFIX.unpack_from(data)
    if flag or len(data) != length + _PREFIX_BYTES or length > max_bytes:
        return None
    return data[_PREFIX_BYTES:]


class Deframer:
    """Splits the body of a request into messages."""

    __slots__ = ("_buffer", "_gzip", "_max_bytes", "_needed")

    def __init__(self, max_bytes: int, *, gzip: bool) -> None:
        """`gzip` is whether the call's `grpc-encoding` is gzip; else compressed messages fail."""
        self._max_bytes = max_bytes
        self._gzip = gzip
        self._buffer = bytearray()
        self._needed = _PREFIX_BYTES

    @property
    def buffered(self) -> int:
        """Bytes of an incomplete message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are now complete. Raises CallFailed."""
        self._buffer += data
        if len(self._buffer) < self._needed:
            return []
        return self._cut()

    def _cut(self) -> list[bytes]:
        messages: list[bytes] = []
        buffer, position = self._buffer, 0
        self._needed = _PREFIX_BYTES
        while len(buffer) - position >= _PREFIX_BYTES:
            flag, length = _PREFIX.unpack_from(buffer, position)
            if length > self._max_bytes:
                raise CallFailed(
                    StatusCode.RESOURCE_EXHAUSTED,
                    f"received message larger than max ({length} vs. {self._max_bytes})",
                )
            start = position + _PREFIX_BYTES
            if len(buffer) - start < length:
                self._needed = _PREFIX_BYTES + length
                break
            position = start + length
            message = bytes(memoryview(buffer)[start:position])
            messages.append(self._unpacked(message) if flag else message)
        del buffer[:position]
        return messages

    def _unpacked(self, message: bytes) -> bytes:
        if not self._gzip:
            raise CallFailed(
                StatusCode.INTERNAL, "compressed message, but grpc-encoding names no compression"
            )
        unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW)
        try:
            unpacked = unpacker.decompress(message, self._max_bytes + 1)
        except zlib.error:
            raise CallFailed(StatusCode.INTERNAL, "compressed message is not gzip") from None
        if len(unpacked) > self._max_bytes:
            raise CallFailed(
                StatusCode.RESOURCE_EXHAUSTED,
                f"received message larger than max (above {self._max_bytes} once decompressed)",
            )
        if not unpacker.eof:
            raise CallFailed(StatusCode.INTERNAL, "gzip message is cut short")
        return unpacked
