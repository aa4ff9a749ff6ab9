"""The WebSocket door: JSON frames of sidecars, carried to and from a `Session`."""

import asyncio
import ipaddress
from collections.abc import Sequence
from http import HTTPStatus

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from hub.clock import Clock
from hub.codec.encode import encode_frame
from hub.config import WsSettings
from hub.presence import GOING_AWAY, Close
from hub.transports.frames import Session, SessionContext

log = structlog.get_logger()

# How long a peer may take to answer a close frame before the socket is cut.
_CLOSE_TIMEOUT_S = 2.0
# Frames that wait unread in one connection before the socket is no longer read.
_MAX_QUEUED_FRAMES = 16


class WebSocketDoor:
    """Serves the sidecars' WebSocket endpoint."""

    def __init__(self, settings: WsSettings, context: SessionContext, clock: Clock) -> None:
        self._settings = settings
        self._context = context
        self._clock = clock
        self._server: Server | None = None
        self._closers: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        settings = self._settings
        self._server = await serve(
            self._converse,
            host,
            port,
            process_request=self._admit,
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
        """Stops accepting, tells every sidecar that the hub goes away, and waits."""
        if self._server is None:
            return
        self._server.close(code=GOING_AWAY.code, reason=GOING_AWAY.reason)
        await self._server.wait_closed()
        if self._closers:
            await asyncio.wait(self._closers, timeout=_CLOSE_TIMEOUT_S)

    @property
    def connections(self) -> int:
        """How many connections are open, identified or not."""
        return self._connections

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path != self._settings.path:
            return connection.respond(
                HTTPStatus.NOT_FOUND, f"sidecars connect to {self._settings.path}\n"
            )
        if self._connections >= self._settings.max_connections:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        return None

    async def _converse(self, connection: ServerConnection) -> None:
        handle = _Handle(connection, self._closers)
        session = Session(self._context, handle, self._remote_address(connection), "ws")
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(
            self._settings.identify_timeout_s, session.close_unless_identified
        )
        self._connections += 1
        now_ms = self._clock.now_ms
        receive = session.receive_text
        try:
            async for text in connection:
                replies = receive(text, now_ms())
                if not isinstance(replies, Sequence):
                    replies = await replies
                for frame in replies:
                    await connection.send(encode_frame(frame))
                if session.closing is not None:
                    # Reading goes on: frames that wait unread would keep the peer's
                    # own close frame from being seen.
                    handle.close(session.closing)
        except ConnectionClosed:
            # The keepalive or the peer ended it; there is nobody left to tell.
            pass
        finally:
            self._connections -= 1
            deadline.cancel()
            session.end()

    def _remote_address(self, connection: ServerConnection) -> str:
        """Where the sidecar is: the peer, or what a trusted proxy says of it."""
        peer = str(connection.remote_address[0])
        if self._settings.trusted_proxies and _is_in(peer, self._settings.trusted_proxies):
            assert connection.request is not None
            forwarded = connection.request.headers.get("X-Forwarded-For", "")
            # The proxy appends the address it saw, so only the last one is its own word.
            candidate = forwarded.rpartition(",")[2].strip()
            try:
                return str(ipaddress.ip_address(candidate))
            except ValueError:
                log.warning("proxy sent no usable X-Forwarded-For", peer=peer)
        return peer


class _Handle:
    """Lets the presence close a connection without waiting for the peer."""

    def __init__(self, connection: ServerConnection, closers: set[asyncio.Task[None]]) -> None:
        self._connection = connection
        self._closers = closers
        self._closing = False

    def close(self, close: Close) -> None:
        if self._closing:
            return
        self._closing = True
        closing = self._connection.close(close.code, _reason(close))
        task = asyncio.get_running_loop().create_task(closing)
        self._closers.add(task)
        task.add_done_callback(self._closers.discard)


def _reason(close: Close) -> str:
    """The reason, cut to the 123 bytes that a close frame holds (RFC 6455, 5.5)."""
    return close.reason.encode()[:123].decode(errors="ignore")


def _is_in(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    return any(ip in network for network in networks if network.version == ip.version)
