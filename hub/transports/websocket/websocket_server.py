"""The WebSocket transport: listens, and ends its connections when the hub stops."""

import asyncio
from contextlib import suppress

from hub.base.settings import WsSettings
from hub.service.presence import GOING_AWAY
from hub.transports.context import TransportContext
from hub.transports.listener import Listener, handshake_limits, listening_sockets
from hub.transports.session.sidecar_session import SessionContext
from hub.transports.websocket.admission import Admission
from hub.transports.websocket.websocket_limits import WebSocketLimits
from hub.transports.websocket.websocket_protocol import Shared, WebSocketProtocol

# Turns of the loop until a connection that asyncio has just accepted is made.
_ACCEPT_TURNS = 6


class WebSocketServer:
    """Serves the sidecars' WebSocket endpoint."""

    def __init__(
        self,
        settings: WsSettings,
        context: TransportContext,
        sessions: SessionContext,
        limits: WebSocketLimits | None = None,
    ) -> None:
        self._tls = context.tls
        limits = limits or WebSocketLimits()
        self._shared = Shared(
            settings=settings,
            limits=limits,
            sessions=sessions,
            clock=context.clock,
            admission=Admission(
                settings,
                limits,
                sessions.traffic,
                context.trusted_proxies,
                context.overload,
                context.tls,
            ),
        )
        self._server: asyncio.Server | Listener | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        shared, backlog = self._shared, self._shared.limits.backlog
        if self._tls is not None:
            self._server = Listener(
                await listening_sockets(host, port, backlog),
                lambda _client: WebSocketProtocol(shared),
                handshake_limits(shared.settings.max_connections),
                tls=self._tls.context,
                on_evicted=shared.admission.note_evicted,
            )
        else:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: WebSocketProtocol(shared), host, port, backlog=backlog
            )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stops accepting, tells every sidecar that the hub is stopping, and waits."""
        if self._server is None:
            return
        self._server.close()
        if isinstance(self._server, Listener):
            await self._server.wait_closed()
        shared = self._shared
        shared.is_stopping = True
        for connection in list(shared.connections):
            connection.stop(GOING_AWAY)
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        if shared.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(shared.emptied.wait(), shared.limits.close_s)
        for connection in list(shared.connections):
            connection.abort()
        if shared.answers:
            await asyncio.wait(shared.answers, timeout=shared.limits.close_s)
