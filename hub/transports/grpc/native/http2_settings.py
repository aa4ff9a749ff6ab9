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

    header_table_bytes: tuple[int, ...]
    """The smallest and the last, which the encoder must both carry out (RFC 7541, section 4.2)."""
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
    initial_window = max_frame = None
    table_bytes: list[int] = []
    # Each value counts, also of a setting that comes again.
    for setting, value in frames.read_settings(payload):
        if setting == HEADER_TABLE_SIZE:
            table_bytes.append(value)
        elif setting == ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        elif setting == INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2^31-1"
                )
            initial_window = value
        elif setting == MAX_FRAME_SIZE:
            if value not in _FRAME_SIZES:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
            max_frame = min(value, _LONGEST_FRAME)
    table = (min(table_bytes), table_bytes[-1]) if table_bytes else ()
    return PeerSettings(table, initial_window, max_frame)
