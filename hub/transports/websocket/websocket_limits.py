"""Every bound of the WebSocket transport that is not a setting, in one place, with its unit.

The settings are in `hub.base.settings.WsSettings`. What a sidecar may say is bounded by its
session: `hub.transports.session.misbehaviour`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketLimits:
    """Bounds per connection, per address (an IPv4 address or an IPv6 /64), and in all."""

    # Connections.
    backlog: int = 1_024
    """connections that the system accepts before the hub does"""
    handshakes: int = 1_024
    """connections in all whose opening handshake is not finished; one more cuts an older one"""
    handshakes_per_address: int = 256
    """the same for one address: one more gets HTTP 503; not counted for a trusted proxy"""
    refused: int = 1_024
    """refused connections in all that wait until their response is read; one more is cut"""
    retry_after_s: int = 5
    """seconds after which a refused connection may try again, in Retry-After"""
    head_bytes: int = 16_384
    """the request of a handshake with all its headers; a longer one gets HTTP 431"""
    close_s: float = 2.0
    """from the first close frame, or a refusal, until the socket is cut"""

    # What a connection may have the hub do.
    frames_per_turn: int = 16
    """frames of a connection that are handled before other connections get their turn"""
    bytes_per_frame: int = 4_096
    """a frame counts once more in its turn for each full such number of bytes"""
    fragments: int = 4_096
    """fragments of one message"""
    waiting_frames: int = 16
    """frames that wait for the answer to an earlier one before reading pauses"""
    control_burst: int = 100
    """frames at once that say nothing: pings, pongs, fragments that do not end a message"""
    control_each_ms: int = 100
    """milliseconds until one more of them is allowed"""
    control_pause_ms: int = 1_000
    """milliseconds for which reading pauses after one that is not allowed"""

    # Data to the peer.
    write_buffer_bytes: int = 32_768
    """bytes that the socket has not taken, past which reading pauses"""
    unsent_bytes: int = 1_048_576
    """bytes that the socket has not taken, past which the connection is cut"""
