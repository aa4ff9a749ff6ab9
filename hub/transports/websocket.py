"""The WebSocket transport: carries JSON frames between sidecars and a `SidecarSession`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event

from hub.base.clock import Clock
from hub.base.settings import WsSettings
from hub.contract.dialect.encode import encode_frame
from hub.contract.errors import InvalidToken
from hub.service.access.certificates import PeerCertificate
from hub.service.presence import GOING_AWAY, Close
from hub.transports.context import TransportContext
from hub.transports.peer import peer_address
from hub.transports.peer_certificates import shown_certificate
from hub.transports.session.deadlines import SessionDeadlines
from hub.transports.session.sidecar_frames import Replies
from hub.transports.session.sidecar_session import SessionContext, SidecarSession
from llmhub.v1.frame_pb2 import HubFrame

# How long a peer may take to answer a close frame before the socket is cut.
_CLOSE_TIMEOUT_S = 2.0
# Frames that wait unread in one connection before the socket is no longer read.
_MAX_QUEUED_FRAMES = 16
_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


class WebSocketServer:
    """Serves the sidecars' WebSocket endpoint."""

    def __init__(
        self,
        settings: WsSettings,
        context: TransportContext,
        sessions: SessionContext,
    ) -> None:
        self._settings = settings
        self._context = context
        self._sessions = sessions
        self._clock = context.clock
        self._server: Server | None = None
        self._closers: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        settings, tls = self._settings, self._context.tls
        self._server = await serve(
            self._converse,
            host,
            port,
            process_request=self._admit,
            create_connection=_Connection,
            ssl=tls.context if tls is not None else None,
            # Deflate would cost some 60 KiB a connection and save nothing on
            # frames of 200 bytes.
            compression=None,
            max_size=settings.max_frame_bytes,
            max_queue=_MAX_QUEUED_FRAMES,
            open_timeout=settings.identify_timeout_s,
            ping_interval=settings.ping_interval_s,
            ping_timeout=settings.ping_timeout_s,
            close_timeout=_CLOSE_TIMEOUT_S,
            server_header=None,
        )
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        """Stops accepting, tells every sidecar that the hub is stopping, and waits."""
        if self._server is None:
            return
        self._server.close(code=GOING_AWAY.code, reason=GOING_AWAY.reason)
        await self._server.wait_closed()
        if self._closers:
            await asyncio.wait(self._closers, timeout=_CLOSE_TIMEOUT_S)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path != self._settings.path:
            return connection.respond(
                HTTPStatus.NOT_FOUND, f"sidecars connect to {self._settings.path}\n"
            )
        try:
            self._certificate(connection)
        except InvalidToken as error:
            return connection.respond(HTTPStatus.UNAUTHORIZED, f"{error.message}\n")
        if self._sessions.traffic.websockets >= self._settings.max_connections:
            self._sessions.traffic.turned_away += 1
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        return None

    async def _converse(self, connection: ServerConnection) -> None:
        assert isinstance(connection, _Connection)
        handle = _Handle(connection, self._closers)
        session = SidecarSession(
            self._sessions,
            handle,
            self._remote_address(connection),
            "ws",
            self._certificate(connection),
        )
        deadlines = SessionDeadlines(session, self._clock, self._sessions.identify_timeout_s)
        self._sessions.traffic.websockets += 1
        connection.converse(session, self._clock)
        try:
            while True:
                replies = await connection.next_replies()
                if not isinstance(replies, tuple):
                    replies = await replies
                for frame in replies:
                    await connection.send(encode_frame(frame))
                connection.answered()
                deadlines.update()
                if session.closing is not None:
                    # Reading goes on: frames that wait unread would keep the peer's
                    # own close frame from being seen.
                    handle.close(session.closing)
        except ConnectionClosed:
            # It is closed, well or badly; no peer is left to answer.
            pass
        finally:
            self._sessions.traffic.websockets -= 1
            deadlines.cancel()
            connection.abandon()
            session.end()

    def _certificate(self, connection: ServerConnection) -> PeerCertificate | None:
        """The sidecar's certificate. Raises InvalidToken if it is revoked."""
        return self._context.certificate(shown_certificate(connection.transport))

    def _remote_address(self, connection: ServerConnection) -> str:
        """Where the sidecar is: the peer, or the address that a trusted proxy passes on."""
        assert connection.request is not None
        forwarded = connection.request.headers.get_all("X-Forwarded-For")
        return peer_address(
            str(connection.remote_address[0]), self._context.trusted_proxies, ",".join(forwarded)
        )


class _Connection(ServerConnection):
    """A connection that takes a frame in the callback in which it arrives.

    A task that waits in `recv` for every frame costs more than everything the hub does
    with a report: the queue, the wake-up, the switch. So a text frame goes to the session
    at once if none waits before it. It is queued for the task only if the session has
    replies, which take time to send, or if frames wait already. `recv` then sees to
    order, bounds, UTF-8 and fragments.
    """

    _session: SidecarSession | None = None
    _clock: Clock
    # What the session made of the one frame that is queued although it is taken.
    _replies: Replies | Awaitable[Replies] | None = None
    # Messages that are queued or being answered.
    _waiting = 0

    def converse(self, session: SidecarSession, clock: Clock) -> None:
        """From now on messages go to the session."""
        self._session, self._clock = session, clock

    async def next_replies(self) -> Replies | Awaitable[Replies]:
        """What the session answers to the next message that must be answered.

        Raises ConnectionClosed.
        """
        message = await self.recv()
        session = self._session
        assert session is not None
        if self._replies is not None:
            replies, self._replies = self._replies, None
            return replies
        if isinstance(message, bytes):
            return session.receive_binary(self._clock.now_ms())
        return session.receive_text(message, self._clock.now_ms())

    def answered(self) -> None:
        """The replies to the last message are sent."""
        self._waiting -= 1

    def abandon(self) -> None:
        """The connection is gone: no task waits for replies any more."""
        if isinstance(self._replies, Coroutine):
            self._replies.close()

    def process_event(self, event: Event) -> None:
        """See `ServerConnection`."""
        if isinstance(event, Frame) and event.fin and event.opcode in _DATA:
            session = self._session
            if session is not None and event.opcode is Opcode.TEXT and not self._waiting:
                replies = session.receive_text(bytes(event.data), self._clock.now_ms())
                if not replies and session.closing is None:
                    return
                self._replies = replies
            self._waiting += 1
        super().process_event(event)


class _Handle:
    """Lets the presence use a connection without waiting for the peer."""

    def __init__(self, connection: ServerConnection, closers: set[asyncio.Task[None]]) -> None:
        self._connection = connection
        self._tasks = closers
        self._closing = False

    def send(self, frame: HubFrame) -> None:
        self._run(self._send(encode_frame(frame)))

    async def _send(self, text: str) -> None:
        # A peer that is gone, or does not read, loses the frame with its connection.
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(text)

    def close(self, close: Close) -> None:
        if self._closing:
            return
        self._closing = True
        self._run(self._connection.close(close.code, _reason(close)))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _reason(close: Close) -> str:
    """The reason, cut to the 123 bytes that a close frame holds (RFC 6455, 5.5)."""
    return close.reason.encode()[:123].decode(errors="ignore")
