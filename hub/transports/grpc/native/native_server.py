"""The gRPC server: listens, keeps its connections' time limits, and drains them at the end."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress

from hub.transports.grpc.native.accounts import Ledger
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.message_framing import FramedOnce
from hub.transports.grpc.native.method import Method
from hub.transports.grpc.native.server_protocol import ServerProtocol, Shared

_SWEEP_S = 1.0
_BACKLOG = 1_024


class NativeServer:
    """Serves methods by path, on one address."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        limits: Limits,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` offers "h2" by ALPN; without it the server speaks plain text."""
        self._tls = tls
        self._limits = limits
        self._shared = Shared(
            methods=methods,
            limits=limits,
            ledger=Ledger(limits),
            framing=FramedOnce(),
        )
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def ledger(self) -> Ledger:
        """What all connections together hold."""
        return self._shared.ledger

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ServerProtocol(self._shared),
            host,
            port,
            backlog=_BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=self._limits.handshake_s if self._tls else None,
        )
        self._sweep = loop.call_later(_SWEEP_S, self._sweep_all)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing more; calls that run get `grace_s` seconds to end."""
        if self._server is None:
            return
        self._server.close()
        shared = self._shared
        shared.draining = True
        for connection in list(shared.connections):
            connection.drain()
        if shared.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(shared.emptied.wait(), grace_s)
        for connection in list(shared.connections):
            connection.abort()
        if shared.connections:
            await shared.emptied.wait()
        if self._sweep is not None:
            self._sweep.cancel()

    def _sweep_all(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._shared.connections):
            connection.sweep(now)
        self._sweep = loop.call_later(_SWEEP_S, self._sweep_all)
