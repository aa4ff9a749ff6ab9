"""The SETTINGS of both sides, and their valid values (RFC 9113, section 6.5.2)."""

from dataclasses import dataclass
from typing import Final

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.flow_control import MAX_WINDOW
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.protocol_errors import ConnectionFault

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

_ENTRY_BYTES: Final = 6
_FRAME_SIZES: Final = range(frames.DEFAULT_FRAME_BYTES, 2**24)
# A client may allow longer frames, but shorter ones let other streams take turns.
_LONGEST_FRAME: Final = 65_536


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """The values of a SETTINGS frame that matter to a server; None for absent ones."""

    header_table_bytes: int | None
    initial_window: int | None
    max_frame: int | None


def initial_settings(limits: Limits) -> bytes:
    """The server's SETTINGS frame."""
    return frames.settings(
        {
            MAX_CONCURRENT_STREAMS: limits.streams,
            INITIAL_WINDOW_SIZE: limits.stream_window,
            MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
        }
    )


def validated(payload: bytes) -> PeerSettings:
    """The values in a SETTINGS payload. Raises ConnectionFault."""
    if len(payload) % _ENTRY_BYTES:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is cut short")
    values = frames.read_settings(payload)
    if values.get(ENABLE_PUSH, 0) > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
    initial_window = values.get(INITIAL_WINDOW_SIZE)
    if initial_window is not None and initial_window > MAX_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2^31-1")
    max_frame = values.get(MAX_FRAME_SIZE)
    if max_frame is not None:
        if max_frame not in _FRAME_SIZES:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
        max_frame = min(max_frame, _LONGEST_FRAME)
    return PeerSettings(values.get(HEADER_TABLE_SIZE), initial_window, max_frame)
