"""Every bound of the native gRPC transport, in one place, with its unit.

Each bounds what a peer can make the server hold or do. None depends on the peer's
cooperation: exceeding a bound ends the call, the stream or the connection.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds per connection, per address (an IPv4 address or an IPv6 /64), and in total."""

    # Connections.
    connections: int = 4_000
    """connections in all; those above have the reserve"""
    connections_per_address: int = 1_024
    """connections of one address; the ones above it use the reserve"""
    reserved_connections: int = 64
    """connections above a bound, only for health checks; one more ends the oldest of them"""
    reserved_s: float = 5.0
    """from the acceptance of a connection in the reserve to its end"""
    strangers: int = 2_000
    """connections in all that have shown no valid token; one more ends the oldest of them"""
    strangers_per_address: int = 512
    """as many of one address"""
    stranger_idle_s: float = 30.0
    """without an open stream on a connection without a valid token; then GOAWAY and close"""
    handshakes: int = 1_024
    """connections in their TLS or PROXY handshake; one more ends the oldest of them"""
    handshakes_per_address: int = 256
    """the same, per address or proxy"""
    handshake_s: float = 10.0
    """from the accepted connection to the client's SETTINGS, TLS included"""
    idle_s: float = 300.0
    """without an open stream; then GOAWAY and close"""
    half_open_s: float = 10.0
    """for the rest of a header block, a unary request or a frame that has begun"""
    keepalive_s: float = 60.0
    """without a received byte, before the server sends a PING"""
    keepalive_timeout_s: float = 20.0
    """for any byte after that PING; then the connection is closed"""
    drain_ping_s: float = 1.0
    """after the first GOAWAY, before streams are refused even if the PING is not answered"""

    # Streams and headers.
    streams: int = 1_000
    """open streams of a connection (SETTINGS_MAX_CONCURRENT_STREAMS)"""
    streams_per_address: int = 16_000
    """open streams of one address"""
    streams_in_all: int = 100_000
    """open streams of the server, with requests or replies in flight"""
    calls_per_address: int = 8_000
    """calls of one address whose handlers run or wait"""
    calls_in_all: int = 20_000
    """calls of the server whose handlers run or wait"""
    streams_per_token: int = 4_096
    """open streaming calls with one token"""
    refused_requests: int = 16
    """requests of a connection that are not gRPC and have not ended"""
    header_list_bytes: int = 16_384
    """decoded fields of a request, plus 32 bytes for each field; above it the call fails"""
    header_list_hard_bytes: int = 65_536
    """above it decoding stops and the connection ends"""
    header_block_bytes: int = 32_768
    """encoded header block, all its frames together"""
    continuations: int = 8
    """CONTINUATION frames of one header block"""
    remembered_blocks: int = 16
    """header blocks that the decoder remembers, and as many for the encoder"""
    remembered_block_bytes: int = 4_096
    """the longest decoded header list that is remembered"""
    reset_streams_remembered: int = 1_000
    """streams that the server reset and whose late frames are ignored"""

    # Work that a peer can cause without a useful request.
    control_frames_per_s: float = 500.0
    """PING, SETTINGS, PRIORITY, RST_STREAM, WINDOW_UPDATE, unknown and empty frames"""
    control_frames_burst: int = 2_000
    """this many at once"""
    control_frames_earned: int = 4
    """additional ones for each full DATA frame sent"""
    resets_per_s: float = 100.0
    """streams that end early because of the peer: reset before an answer, or faulty"""
    resets_burst: int = 2_000
    """this many at once"""

    # Data from the peer.
    message_bytes: int = 4_194_304
    """longest request message, before and after decompression"""
    stream_window: int = 262_144
    """flow-control window of a stream"""
    connection_window: int = 1_048_576
    """flow-control window of a connection"""
    received_bytes: int = 8_388_608
    """received and not yet handled, per connection"""
    received_bytes_per_address: int = 67_108_864
    """received and not yet handled, per address"""
    received_bytes_in_all: int = 268_435_456
    """received and not yet handled, in total"""
    bytes_per_turn: int = 2_048
    """received bytes of one connection that are handled before others get their turn"""
    stranger_bytes_per_turn: int = 1_024
    """the same without a valid token"""

    # Data to the peer.
    unsent_bytes: int = 67_108_864
    """unread replies per connection; a single longer reply is still sent"""
    unsent_bytes_per_address: int = 268_435_456
    """unread replies per address; a body that several streams send counts once"""
    unsent_bytes_per_token: int = 134_217_728
    """unread replies per token; a body that several streams send counts once"""
    unsent_bytes_in_all: int = 536_870_912
    """unread replies in total; a body that several streams send counts once"""
    unsent_high_water: int = 65_536
    """unread bytes of a stream above which its handler waits"""
    unsent_age_s: float = 60.0
    """a stream whose unread bytes do not shrink for this long is reset; a socket is closed"""
    unsent_total_s: float = 300.0
    """a stream with unread bytes for this long is reset, even if the client reads slowly"""
    write_buffer_bytes: int = 262_144
    """bytes in the socket's buffer above which data is queued and reading pauses"""

    @property
    def calls_kept_free(self) -> int:
        """The number of calls that only unary calls may use."""
        return self.calls_in_all // 4
