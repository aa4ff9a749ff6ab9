"""One sidecar's WebSocket connection in asyncio: the shell around its session.

It moves bytes, enforces deadlines, and stops reading from a peer that demands too much.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from enum import IntEnum
from http import HTTPStatus
from typing import cast

from websockets.frames import CloseCode
from websockets.http11 import Request

from hub.base.clock import Clock
from hub.base.settings import WsSettings
from hub.contract.dialect.encode import encode_frame
from hub.service.presence import Close
from hub.transports.peer_certificates import shown_certificate
from hub.transports.session.deadlines import SessionDeadlines
from hub.transports.session.misbehaviour import Allowance
from hub.transports.session.sidecar_frames import Replies
from hub.transports.session.sidecar_session import SessionContext, SidecarSession
from hub.transports.websocket.admission import Admission, Place, Refusal
from hub.transports.websocket.websocket_connection import (
    Message,
    Pong,
    Received,
    WebSocketConnection,
)
from hub.transports.websocket.websocket_limits import WebSocketLimits
from llmhub.v1.frame_pb2 import HubFrame

_PING_BYTES = 4


class Hold(IntEnum):
    """Why a connection is not read; each is a bit."""

    TURN = 1
    """it has had its share of this turn of the loop"""
    UNSENT = 2
    """the peer does not take what the hub sends"""
    WAITING = 4
    """too many frames wait for the answer to an earlier one"""
    PAUSE = 8
    """it is over a budget of frames that only cost"""


@dataclass(slots=True)
class Shared:
    """What all connections of one server share."""

    settings: WsSettings
    limits: WebSocketLimits
    sessions: SessionContext
    clock: Clock
    admission: Admission
    connections: "set[WebSocketProtocol]" = field(default_factory=set)
    answers: set[asyncio.Task[None]] = field(default_factory=set)
    """tasks that wait for answers; they may outlive their connections"""
    is_stopping: bool = False
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    """set once the server is stopping and the last connection is gone"""


class WebSocketProtocol(asyncio.Protocol):
    """One connection. It is also the `Connection` that the presence holds."""

    __slots__ = (
        "_connection",
        "_context",
        "_control",
        "_deadlines",
        "_has_close_deadline",
        "_holds",
        "_is_closing",
        "_is_lost",
        "_loop",
        "_peer",
        "_ping",
        "_pinged_at",
        "_place",
        "_resume",
        "_session",
        "_shared",
        "_timer",
        "_transport",
        "_waiting",
        "_wrote_eof",
    )

    _transport: asyncio.Transport
    _peer: str
    # The session runs in a context of its own, which holds the request id of its logs.
    _context: Context
    _deadlines: SessionDeadlines
    # The next deadline: of the handshake, then of the keepalive, then of the close.
    _timer: asyncio.TimerHandle

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._connection = WebSocketConnection(shared.settings.max_frame_bytes, shared.limits)
        self._place = Place(shared.admission, self.abort)
        self._session: SidecarSession | None = None
        # Messages that arrived while an answer is awaited; None if none is.
        self._waiting: list[Message] | None = None
        self._holds = 0
        self._resume: asyncio.TimerHandle | None = None
        self._control: Allowance | None = None
        # The payload of the ping whose pong is due.
        self._ping: bytes | None = None
        self._pinged_at = 0.0
        self._is_closing = self._is_lost = False
        self._has_close_deadline = self._wrote_eof = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        shared = self._shared
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(shared.limits.write_buffer_bytes)
        shared.connections.add(self)
        self._timer = self._loop.call_later(
            shared.settings.identify_timeout_s, self._transport.abort
        )
        peer = transport.get_extra_info("peername")
        if peer is None or shared.is_stopping:
            # The peer has left already, or the hub accepted it as it began to stop.
            self._transport.abort()
            return
        self._peer = str(peer[0])
        if refusal := self._place.begin(self._peer):
            if not shared.admission.has_room_to_refuse(len(shared.connections)):
                self._transport.abort()
            self._refuse(refusal)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._connection.receive(data)
        if not self._holds:
            self._work()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`. Closes the transport: the peer is the first to leave."""
        self._connection.receive_eof()
        self._flush()
        self._cut_later()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._hold(Hold.UNSENT)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._release(Hold.UNSENT)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._is_lost = True
        self._connection.receive_eof()
        self._timer.cancel()
        if self._resume is not None:
            self._resume.cancel()
        self._place.leave()
        if self._waiting is None:
            self._end()
        else:
            self._waiting.clear()

    def _end(self) -> None:
        """The connection is gone and no answer is awaited."""
        if self._session is not None:
            self._deadlines.cancel()
            self._session.end()
        shared = self._shared
        shared.connections.discard(self)
        if shared.is_stopping and not shared.connections:
            shared.emptied.set()

    # What the presence and the server call.

    def send(self, frame: HubFrame) -> None:
        """See `hub.service.presence.Connection`."""
        self._connection.send_text(encode_frame(frame).encode())
        self._loop.call_soon(self._flush)

    def close(self, close: Close) -> None:
        """See `hub.service.presence.Connection`."""
        if not self._is_closing:
            self._is_closing = True
            self._connection.close(close.code, close.reason)
            self._loop.call_soon(self._flush)

    def stop(self, close: Close) -> None:
        """The hub stops: closes what is open, and refuses a handshake that is under way."""
        if self._session is not None:
            self.close(close)
        elif not self._connection.is_ending:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            self._connection.reject(status, "Server is shutting down.\n")
            self._flush()

    def abort(self) -> None:
        """Cuts the connection."""
        self._transport.abort()

    # From bytes to the session and back.

    def _work(self) -> None:
        """Handles what has arrived, as far as this turn of the loop allows."""
        connection, limits = self._connection, self._shared.limits
        now_ms = self._shared.clock.now_ms()
        left, bytes_per_frame = limits.frames_per_turn, limits.bytes_per_frame
        while not self._holds:
            message = connection.next_message()
            if message is None:
                break
            if message.__class__ is bytes:
                left -= 1 + len(message) // bytes_per_frame
                session = self._session
                if session is not None and self._waiting is None:
                    replies = session.receive_text(message, now_ms)
                    if replies or session.closing is not None:
                        self._answer(replies)
                else:
                    self._keep(message)
            else:
                left -= 1
                self._take(message, now_ms)
            if left <= 0 and connection.has_unread:
                self._hold(Hold.TURN)
                self._loop.call_soon(self._release, Hold.TURN)
        self._flush()

    def _take(self, message: Message, now_ms: int) -> None:
        """Handles what is no text."""
        if isinstance(message, Request):
            self._admit(message)
        elif message is Received.BINARY:
            if self._waiting is None:
                assert self._session is not None
                self._answer(self._session.receive_binary(now_ms))
            else:
                self._keep(message)
        elif isinstance(message, Pong) and message == self._ping:
            self._ping = None
            if not self._has_close_deadline:
                self._schedule_ping(self._pinged_at + self._shared.settings.ping_interval_s)
        else:
            limits = self._shared.limits
            if self._control is None:
                self._control = Allowance(limits.control_burst, limits.control_each_ms)
            if not self._control.spend(now_ms):
                self._pause(limits.control_pause_ms)

    def _keep(self, message: Message) -> None:
        """Keeps a message until the answer to an earlier one is sent."""
        assert self._waiting is not None
        self._waiting.append(message)
        if len(self._waiting) >= self._shared.limits.waiting_frames:
            self._hold(Hold.WAITING)

    def _answer(self, replies: Replies | Awaitable[Replies]) -> None:
        if not isinstance(replies, tuple):
            self._waiting = []
            task = self._loop.create_task(self._answer_later(replies), context=self._context)
            self._shared.answers.add(task)
            task.add_done_callback(self._shared.answers.discard)
            return
        session = self._session
        assert session is not None
        for frame in replies:
            self._connection.send_text(encode_frame(frame).encode())
        self._deadlines.update()
        if session.identified:
            self._deadlines.identified()
            self._place.identify()
        if session.closing is not None:
            self.close(session.closing)
        elif pause_ms := session.take_pause_ms():
            self._pause(pause_ms)

    async def _answer_later(self, replies: Replies | Awaitable[Replies]) -> None:
        """Sends replies that wait for the disk, then answers the messages that came since."""
        session, kept = self._session, self._waiting
        assert session is not None
        assert kept is not None
        while True:
            done = replies if isinstance(replies, tuple) else await replies
            if not self._is_lost:
                self._answer(done)
                self._flush()
            if not kept:
                break
            message, now_ms = kept.pop(0), self._shared.clock.now_ms()
            if isinstance(message, bytes):
                replies = session.receive_text(message, now_ms)
            else:
                replies = session.receive_binary(now_ms)
        self._waiting = None
        if self._is_lost:
            self._end()
        else:
            self._release(Hold.WAITING)

    def _flush(self) -> None:
        """Writes what is to be sent, and sees what follows from it."""
        connection, transport = self._connection, self._transport
        out = connection.take_out()
        if not out or transport.is_closing():
            return
        if data := b"".join(out):
            transport.write(data)
        if connection.is_ending:
            self._cut_later()
        if connection.has_sent_all and not self._wrote_eof:
            self._wrote_eof = True
            if transport.can_write_eof():
                transport.write_eof()
            else:
                # TLS cannot close one side alone.
                transport.close()
        if transport.get_write_buffer_size() > self._shared.limits.unsent_bytes:
            transport.abort()

    def _cut_later(self) -> None:
        """The connection is to end: bounds for how long. Idempotent."""
        if not self._has_close_deadline:
            self._has_close_deadline = True
            self._set_timer(self._shared.limits.close_s, self._transport.abort)

    # The handshake.

    def _admit(self, request: Request) -> None:
        shared = self._shared
        address = self._place.open(self._peer, request, shown_certificate(self._transport))
        if isinstance(address, Refusal):
            self._refuse(address)
            return
        if not self._connection.accept(request):
            self._place.leave()
            return
        self._context = Context()
        about = address, "ws", self._place.certificate
        self._session = self._context.run(SidecarSession, shared.sessions, self, *about)
        self._deadlines = SessionDeadlines(
            self._session, shared.clock, shared.sessions.identify_timeout_s
        )
        self._schedule_ping(self._loop.time() + shared.settings.ping_interval_s)

    def _refuse(self, refusal: Refusal) -> None:
        self._connection.reject(refusal.status, refusal.text, refusal.retry_after_s)
        self._flush()

    # The keepalive.

    def _schedule_ping(self, at: float) -> None:
        self._set_timer(at - self._loop.time(), self._send_ping)

    def _send_ping(self) -> None:
        self._ping = secrets.token_bytes(_PING_BYTES)
        self._pinged_at = self._loop.time()
        self._connection.ping(self._ping)
        self._set_timer(self._shared.settings.ping_timeout_s, self._miss_pong)
        self._flush()

    def _miss_pong(self) -> None:
        self._connection.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
        self._flush()

    def _set_timer(self, seconds: float, callback: Callable[[], object]) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, seconds), callback)

    # Why the peer is not read.

    def _pause(self, milliseconds: int) -> None:
        self._hold(Hold.PAUSE)
        if self._resume is not None:
            self._resume.cancel()
        self._resume = self._loop.call_later(milliseconds / 1000, self._release, Hold.PAUSE)

    def _hold(self, reason: int) -> None:
        if not self._holds and not self._transport.is_closing():
            self._transport.pause_reading()
        self._holds |= reason

    def _release(self, reason: int) -> None:
        if not self._holds & reason:
            return
        self._holds &= ~reason
        if not self._holds and not self._transport.is_closing():
            self._transport.resume_reading()
            self._work()
