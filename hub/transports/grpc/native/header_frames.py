"""Header blocks from HEADERS and CONTINUATION (RFC 9113, sections 6.2 and 6.10)."""

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.protocol_errors import ConnectionFault

_PRIORITY_BYTES = 5


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without its padding. Raises ConnectionFault."""
    if not flags & frames.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload (section 6.1)")
    return payload[1 : len(payload) - payload[0]]


class BlockReader:
    """Collects one header block, with bounds on its bytes and frames."""

    __slots__ = ("_frames", "_limits", "_parts", "_size", "dependency", "flags", "stream_id")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parts: list[bytes] = []
        self._size = 0
        self._frames = 0
        self.stream_id = 0
        """The stream of the incomplete block, or 0."""
        self.flags = 0
        """The flags of the HEADERS frame that began the block."""
        self.dependency = 0
        """The stream that the last complete block depends on, or 0 (RFC 7540, 5.3.1)."""

    def begin(self, flags: int, stream_id: int, payload: bytes) -> bytes | None:
        """Takes HEADERS; returns the block if it is complete. Raises ConnectionFault."""
        block = unpadded(flags, payload)
        self.dependency = 0
        if flags & frames.PRIORITY_FLAG:
            if len(block) < _PRIORITY_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without its priority")
            self.dependency = frames.U32.unpack_from(block)[0] & frames.STREAM_ID_MASK
            block = block[_PRIORITY_BYTES:]
        if flags & frames.END_HEADERS:
            return block
        self.stream_id, self.flags = stream_id, flags
        self._parts, self._size, self._frames = [block], len(block), 0
        return None

    def add(self, flags: int, payload: bytes) -> bytes | None:
        """Takes CONTINUATION; returns the block once it is complete. Raises ConnectionFault."""
        self._frames += 1
        self._size += len(payload)
        if (
            self._frames > self._limits.continuations
            or self._size > self._limits.header_block_bytes
        ):
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "a header block of too many bytes or frames"
            )
        self._parts.append(payload)
        if not flags & frames.END_HEADERS:
            return None
        self.stream_id = 0
        block = b"".join(self._parts)
        self._parts = []
        return block
