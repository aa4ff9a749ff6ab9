"""The gRPC server: listens, enforces time limits on connections, and drains them at a stop."""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from hub.base.settings import Network
from hub.transports.grpc.native.accounts import Ledger
from hub.transports.grpc.native.call_status import Bound, CallFailed, exhausted
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.message_framing import FramedOnce
from hub.transports.grpc.native.method import Method
from hub.transports.grpc.native.open_connections import Connections
from hub.transports.grpc.native.proxy_reader import proxy_reader
from hub.transports.grpc.native.server_protocol import ServerProtocol, Shared
from hub.transports.listener import HandshakeLimits, Listener, listening_sockets

_SWEEP_S = 1.0
_BACKLOG = 1_024
_ACCEPT_TURNS = 6


class NativeServer:
    """Serves gRPC methods on one address."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        limits: Limits,
        *,
        tls: ssl.SSLContext | None = None,
        trusted_proxies: Sequence[Network] = (),
        exhausted: Callable[[Bound, str], CallFailed] = exhausted,
    ) -> None:
        """`tls` must offer "h2" by ALPN; without `tls` the server speaks plain text.

        Connections from `trusted_proxies` may begin with a header of the PROXY protocol.
        `exhausted` makes the error of a call that exceeds a bound.
        """
        self._trusted_proxies = trusted_proxies
        self._tls = tls
        self._limits = limits
        self._shared = Shared(
            methods=methods,
            limits=limits,
            ledger=Ledger(limits),
            framing=FramedOnce(),
            connections=Connections(limits),
            exhausted=exhausted,
        )
        self._listener: Listener | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> Connections:
        """The open connections."""
        return self._shared.connections

    @property
    def ledger(self) -> Ledger:
        """Counts what all connections hold together."""
        return self._shared.ledger

    async def start(self, host: str, port: int) -> int:
        """Starts listening; returns the port. Raises OSError."""
        listening = await listening_sockets(host, port, _BACKLOG)
        limits = self._limits
        self._listener = Listener(
            listening,
            lambda client: ServerProtocol(self._shared, client),
            HandshakeLimits(
                in_all=limits.handshakes,
                per_address=limits.handshakes_per_address,
                seconds=limits.handshake_s,
            ),
            tls=self._tls,
            read_client=proxy_reader(self._trusted_proxies),
        )
        self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep_all)
        return int(listening[0].getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Stops accepting connections; running calls get `grace_s` seconds to end."""
        if self._sweep is None:
            return
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
        connections = self._shared.connections
        connections.draining = True
        for connection in list(connections.open):
            connection.drain()
        # asyncio sets up a just accepted connection some turns later; then it is aborted.
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        if connections.open:
            with suppress(TimeoutError):
                await asyncio.wait_for(connections.emptied.wait(), grace_s)
        for connection in list(connections.open):
            connection.abort()
        if connections.open:
            await connections.emptied.wait()
        self._sweep.cancel()

    def _sweep_all(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._shared.connections.open):
            connection.sweep(now)
        self._sweep = loop.call_later(_SWEEP_S, self._sweep_all)
