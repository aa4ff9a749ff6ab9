"""One connection in asyncio: passes bytes to and from the core, with one write per turn."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import structlog

from hub.transports.grpc.native.accounts import Ledger, Share
from hub.transports.grpc.native.call import CallContext
from hub.transports.grpc.native.call_runner import CallRunner
from hub.transports.grpc.native.call_status import Bound, CallFailed, exhausted
from hub.transports.grpc.native.events import (
    ConnectionFailed,
    DataReceived,
    PingAcknowledged,
    RequestReceived,
    StreamEnded,
)
from hub.transports.grpc.native.http2_connection import Connection
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.message_framing import FramedOnce
from hub.transports.grpc.native.method import Method
from hub.transports.grpc.native.open_connections import Connections
from hub.transports.peer import network_of

log = structlog.get_logger()

_KEEPALIVE: Final = b"llmhub-k"
# How long a client has to read the reason why the connection ends.
_LINGER_S: Final = 0.5
_DRAIN: Final = b"llmhub-d"


@dataclass(slots=True)
class Shared:
    """What all connections of a server share."""

    methods: Mapping[str, Method]
    limits: Limits
    ledger: Ledger
    framing: FramedOnce
    connections: Connections
    exhausted: Callable[[Bound, str], CallFailed] = exhausted
    """Makes the error of a call that exceeds a bound, from the bound and the peer."""


class ServerProtocol(asyncio.Protocol):
    """Feeds one connection's core, runs its calls, and enforces its time limits."""

    __slots__ = (
        "_ample_room",
        "_context",
        "_core",
        "_drain_at",
        "_ended",
        "_flush_due",
        "_frames_seen",
        "_idle_since",
        "_last_received",
        "_loop",
        "_opened_at",
        "_paused_since",
        "_peer",
        "_pinged_at",
        "_reserved",
        "_runner",
        "_share",
        "_shared",
        "_socket_bytes",
        "_stuck_since",
        "_transport",
        "_unread",
        "_unread_at",
        "network",
    )

    def __init__(self, shared: Shared, peer: str | None = None) -> None:
        """`peer` is the client's address if a proxy named it."""
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._core = Connection(shared.limits, now)
        self._peer = peer or ""
        self.network = ""
        """The network that it counts towards; empty until the connection is accepted."""
        self._reserved = False
        self._socket_bytes = 0
        self._opened_at = self._last_received = self._idle_since = now
        self._pinged_at: float | None = None
        self._paused_since: float | None = None
        self._stuck_since: float | None = None
        self._drain_at: float | None = None
        self._frames_seen = 0
        self._flush_due = False
        # As long as this much is left, the socket need not be asked.
        self._ample_room = shared.limits.write_buffer_bytes // 2
        self._ended = False
        # Received bytes that wait for a turn of the loop begin at `_unread_at`.
        self._unread = b""
        self._unread_at = 0

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepts the connection, or closes it if there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._peer:
            name = transport.get_extra_info("peername")
            self._peer = name[0] if isinstance(name, tuple) else ""
        shared = self._shared
        tls = transport.get_extra_info("ssl_object")
        if shared.connections.draining or (
            isinstance(tls, ssl.SSLObject) and tls.selected_alpn_protocol() != "h2"
        ):
            self._transport.abort()
            return
        self.network = network_of(self._peer)
        self._share = Share(shared.ledger, self.network)
        self._context = context = CallContext(
            connection=self._core,
            peer=self._peer,
            certificate=tls.getpeercert(binary_form=True) if tls is not None else None,
            framing=shared.framing,
            max_message_bytes=shared.limits.message_bytes,
            high_water=shared.limits.unsent_high_water,
            flush=self._flush_soon,
            token=shared.ledger.token,
            exhausted=shared.exhausted,
        )
        self._core.outbox.payer = shared.ledger.payer(self.network)
        self._runner = CallRunner(context, shared.methods, shared.limits, self._share)
        self._reserved = self._runner.only_checks = shared.connections.add(self)
        high = shared.limits.write_buffer_bytes
        self._transport.set_write_buffer_limits(high=high, low=high // 4)
        self._core.outbox.replenish(high)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all calls."""
        if not self.network:
            return
        self._core.failed = True
        self._ended = True
        self._shared.connections.remove(self)
        self._runner.close()
        self._unread = b""
        self._core.outbox.drop()
        self._note_socket(0)
        self._share.note_streams(0)

    def data_received(self, data: bytes) -> None:
        """Handles the received bytes, as far as this turn allows, and writes the replies."""
        now = self._loop.time()
        self._last_received = now
        self._pinged_at = None
        if self._unread:
            # TLS may have more for a connection that is not read.
            self._unread = self._unread[self._unread_at :] + data
            self._unread_at = 0
        elif len(data) <= self._bytes_per_turn:
            self._handle(data, now)
            self._runner.end_turn()
            self._flush()
        else:
            self._unread, self._unread_at = data, 0
            self._transport.pause_reading()
            self._take_turn()

    def pause_writing(self) -> None:
        """Pauses writing and reading, because the client does not read."""
        self._paused_since = self._loop.time()
        self._note_socket(self._transport.get_write_buffer_size())
        self._core.outbox.replenish(0)
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Resumes writing and reading, because the client reads again."""
        self._paused_since = None
        self._note_socket(0)
        if not self._unread and not self._ended:
            self._transport.resume_reading()
        self._core.outbox.replenish(self._room)
        self._flush()

    def eof_received(self) -> bool:
        """Closes the connection when the client has closed its side."""
        return False

    # Called by the server.

    @property
    def known(self) -> bool:
        """Whether a caller on this connection has shown a valid token."""
        return self._context.known

    def drain(self) -> None:
        """Accepts no more calls, and closes once the running ones have ended."""
        if self._drain_at is None:
            self._drain_at = self._loop.time() + self._shared.limits.drain_ping_s
            self._core.announce_drain()
            self._core.ping(_DRAIN)
            self._flush()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Enforces the time limits; called about once per second."""
        limits, core = self._shared.limits, self._core
        if self._ended:
            return
        core.outbox.now = now
        self._runner.expire(now)
        if self._too_long(now, self._paused_since, limits.unsent_age_s):
            log.debug("a client does not read", peer=self._peer)
            self.abort()
            return
        if not core.settled:
            if now - self._opened_at > limits.handshake_s:
                self.abort()
            return
        if self._stuck_in_frame(now):
            core.fail(ErrorCode.ENHANCE_YOUR_CALM, "a frame takes too long")
        elif core.outbox.pending_bytes:
            for stream in list(core.streams.values()):
                if stream.pending_bytes and (
                    now - stream.moved_at > limits.unsent_age_s
                    or now - stream.waiting_since > limits.unsent_total_s
                ):
                    core.reset(stream, ErrorCode.ENHANCE_YOUR_CALM)
                    self._runner.on_stream_ended(
                        StreamEnded(stream, ErrorCode.ENHANCE_YOUR_CALM, by_peer=False)
                    )
        if self._too_long(now, self._drain_at, 0):
            core.refuse_streams()
        if self._reserved and now - self._opened_at > limits.reserved_s:
            self.abort()
        elif core.streams:
            self._idle_since = now
        elif now - self._idle_since > (limits.idle_s if self.known else limits.stranger_idle_s):
            self.drain()
        self._keep_alive(now)
        self._flush()

    # In one turn of the loop.

    @property
    def _bytes_per_turn(self) -> int:
        limits = self._shared.limits
        return limits.bytes_per_turn if self.known else limits.stranger_bytes_per_turn

    def _take_turn(self) -> None:
        """Handles some of the received bytes, and lets other connections run before the rest."""
        if self._transport.is_closing():
            return
        stop = self._unread_at + self._bytes_per_turn
        data = self._unread[self._unread_at : stop]
        if stop < len(self._unread):
            self._unread_at = stop
        else:
            self._unread = b""
        try:
            self._handle(data, self._loop.time())
        except Exception:
            # asyncio closes a connection only for what escapes from a callback of its own.
            self._unread = b""
            self._transport.abort()
            raise
        if self._unread:
            self._loop.call_soon(self._take_turn)
        else:
            self._runner.end_turn()
            if self._paused_since is None and not self._ended:
                self._transport.resume_reading()
        self._flush()

    def _handle(self, data: bytes, now: float) -> None:
        runner = self._runner
        runner.now = now
        events = self._core.receive(data, now)
        if self._core.failed:
            # Nothing follows GOAWAY, and a broken connection starts no more calls.
            self._unread = b""
            events = events[-1:]
        position, count = 0, len(events)
        runner.begin_turn(count)
        while position < count:
            event = events[position]
            position += 1
            if type(event) is RequestReceived:
                after = events[position] if position < count else None
                if type(after) is DataReceived and after.ended and after.stream is event.stream:
                    position += 1
                    runner.on_whole_request(event, after)
                else:
                    runner.on_request(event)
            elif type(event) is DataReceived:
                runner.on_data(event)
            elif type(event) is StreamEnded:
                runner.on_stream_ended(event)
            elif type(event) is ConnectionFailed:
                self._on_failed(event)
            elif type(event) is PingAcknowledged:
                self._on_ping_ack(event)

    @property
    def _room(self) -> int:
        """Bytes that the socket accepts now."""
        return self._shared.limits.write_buffer_bytes - self._transport.get_write_buffer_size()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Writes the pending output, in one write."""
        self._flush_due = False
        outbox = self._core.outbox
        chunks = outbox.take()
        if self._ended:
            # GOAWAY was sent, or the socket is closed.
            return
        transport = self._transport
        if chunks:
            transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
            if self._paused_since is None and outbox.room < self._ample_room:
                outbox.replenish(self._room)
                if outbox.has_output:
                    self._flush_soon()
        if outbox.drained:
            drained, outbox.drained = outbox.drained, []
            for stream in drained:
                self._runner.on_drained(stream)
        self._share.note_streams(len(self._core.streams))
        if self._core.failed:
            self._linger()
        elif not self._core.streams and not self._unread and self._core.over_soon:
            transport.close()

    def _note_socket(self, count: int) -> None:
        """Records how many bytes are in the socket's buffer, while that exceeds its bound."""
        self._core.outbox.payer.add(count - self._socket_bytes)
        self._socket_bytes = count

    def _linger(self) -> None:
        """Closes after a delay, because a TCP reset could discard an unread GOAWAY."""
        if not self._ended:
            self._ended = True
            self._transport.pause_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._loop.call_later(_LINGER_S, self._transport.abort)

    def _on_failed(self, event: ConnectionFailed) -> None:
        log.debug(
            "a gRPC connection broke a rule",
            peer=self._peer,
            code=event.code.name,
            detail=event.detail,
        )
        self._runner.close()

    def _on_ping_ack(self, event: PingAcknowledged) -> None:
        # The client has seen the first GOAWAY, so no new stream is in flight.
        if self._drain_at is not None and event.payload == _DRAIN:
            self._core.refuse_streams()

    # Time limits.

    def _stuck_in_frame(self, now: float) -> bool:
        """Whether one frame or header block has been arriving for too long."""
        core = self._core
        if not core.mid_frame or core.frames_read != self._frames_seen:
            self._frames_seen = core.frames_read
            self._stuck_since = now if core.mid_frame else None
            return False
        return self._too_long(now, self._stuck_since, self._shared.limits.half_open_s)

    def _keep_alive(self, now: float) -> None:
        limits = self._shared.limits
        if self._paused_since is not None:
            return
        if self._pinged_at is not None:
            if now - self._pinged_at > limits.keepalive_timeout_s:
                log.debug("a client is gone", peer=self._peer)
                self.abort()
        elif now - self._last_received > limits.keepalive_s:
            self._pinged_at = now
            self._core.ping(_KEEPALIVE)

    @staticmethod
    def _too_long(now: float, since: float | None, limit_s: float) -> bool:
        return since is not None and now - since > limit_s
