"""The gRPC server: listens, keeps its connections' time limits, and drains them at the end."""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hub.base.settings import Network
from hub.transports.grpc.native.accounts import Ledger
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.message_framing import FramedOnce
from hub.transports.grpc.native.method import Method
from hub.transports.grpc.native.proxied_listener import SHUTDOWN_S, ProxiedListener
from hub.transports.grpc.native.server_protocol import ServerProtocol, Shared

_SWEEP_S = 1.0
_BACKLOG = 1_024
_ACCEPT_TURNS = 6


class NativeServer:
    """Serves methods by path, on one address."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        limits: Limits,
        *,
        tls: ssl.SSLContext | None = None,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        """`tls` offers "h2" by ALPN; without it the server speaks plain text.

        Connections of `trusted_proxies` may begin with a header of the PROXY protocol.
        """
        self._trusted_proxies = trusted_proxies
        self._tls = tls
        self._limits = limits
        self._shared = Shared(
            methods=methods,
            limits=limits,
            ledger=Ledger(limits),
            framing=FramedOnce(),
        )
        self._server: asyncio.Server | None = None
        self._listener: ProxiedListener | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def ledger(self) -> Ledger:
        """What all connections together hold."""
        return self._shared.ledger

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        loop = asyncio.get_running_loop()
        listening = _listening_socket(host, port)
        handshake_s = self._limits.handshake_s
        if self._trusted_proxies:
            self._listener = ProxiedListener(
                listening,
                lambda client: ServerProtocol(self._shared, client),
                self._trusted_proxies,
                tls=self._tls,
                handshake_s=handshake_s,
            )
        else:
            self._server = await loop.create_server(
                lambda: ServerProtocol(self._shared),
                sock=listening,
                backlog=_BACKLOG,
                ssl=self._tls,
                ssl_handshake_timeout=handshake_s if self._tls else None,
                ssl_shutdown_timeout=SHUTDOWN_S if self._tls else None,
            )
        self._sweep = loop.call_later(_SWEEP_S, self._sweep_all)
        return int(listening.getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing more; calls that run get `grace_s` seconds to end."""
        if self._sweep is None:
            return
        if self._server is not None:
            self._server.close()
        if self._listener is not None:
            await self._listener.close()
        shared = self._shared
        shared.draining = True
        for connection in list(shared.connections):
            connection.drain()
        # A connection that asyncio has just accepted is made, and cut, some turns later.
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        if shared.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(shared.emptied.wait(), grace_s)
        for connection in list(shared.connections):
            connection.abort()
        if shared.connections:
            await shared.emptied.wait()
        self._sweep.cancel()

    def _sweep_all(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._shared.connections):
            connection.sweep(now)
        self._sweep = loop.call_later(_SWEEP_S, self._sweep_all)


def _listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; for "::" also to IPv4. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server(
        (str(address[0]), int(address[1])), family=family, backlog=_BACKLOG, dualstack_ipv6=both
    )
    listening.setblocking(False)  # noqa: FBT003
    return listening
