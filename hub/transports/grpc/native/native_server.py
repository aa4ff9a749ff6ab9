"""The gRPC server: listens, enforces time limits on connections, and drains them at a stop."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from hub.base.settings import Network
from hub.transports.grpc.native.accounts import Ledger
from hub.transports.grpc.native.call_status import Bound, CallFailed, exhausted
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.listener import Listener
from hub.transports.grpc.native.message_framing import FramedOnce
from hub.transports.grpc.native.method import Method
from hub.transports.grpc.native.open_connections import Connections
from hub.transports.grpc.native.server_protocol import ServerProtocol, Shared

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
        listening = _listening_socket(host, port)
        self._listener = Listener(
            listening,
            lambda client: ServerProtocol(self._shared, client),
            self._limits,
            trusted=self._trusted_proxies,
            tls=self._tls,
        )
        self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep_all)
        return int(listening.getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Stops accepting connections; running calls get `grace_s` seconds to end."""
        if self._sweep is None:
            return
        if self._listener is not None:
            await self._listener.close()
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


def _listening_socket(host: str, port: int) -> socket.socket:
    """A listening socket; on "::" it also accepts IPv4. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server(
        (str(address[0]), int(address[1])), family=family, backlog=_BACKLOG, dualstack_ipv6=both
    )
    listening.setblocking(False)  # noqa: FBT003
    return listening
