"""The connections of the probes: opened within the address policy, kept between probes.

The policy is enforced where the connection is made. So it applies to the very address of
the connection, however a name was written or resolved.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import aiohappyeyeballs

from hub.probes.address_policy import AddressPolicy
from hub.probes.asker import ProbeTarget
from hub.probes.probe_connection import ProbeConnection
from hub.probes.resolver import ProbeResolver, ResolvedAddress

KEEPALIVE_S: Final = 45.0
"""How long an idle connection stays open: longer than the default interval of probes.

Each endpoint that answers costs a file descriptor and memory, and the process must be
allowed that many.
"""

# How long to wait for one address of a name before trying the next one as well.
_NEXT_ADDRESS_S = 0.25

_Key = tuple[str, str, int]


class ConnectTimeout(Exception):
    """No connection was established in time."""


class ConnectionPool:
    """Opens connections and keeps idle ones. Belongs to one event loop."""

    def __init__(self, policy: AddressPolicy, connect_timeout_s: float) -> None:
        self._policy = policy
        self._connect_timeout_s = connect_timeout_s
        self._resolver = ProbeResolver()
        self._open: set[ProbeConnection] = set()
        self._idle: dict[_Key, list[ProbeConnection]] = {}
        # When each idle connection was put back, oldest first.
        self._idle_since: dict[ProbeConnection, tuple[_Key, float]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        # The connections that may be kept after their exchange.
        self._keepable: set[ProbeConnection] = set()

    def take_idle(self, target: ProbeTarget) -> ProbeConnection | None:
        """Returns an idle connection to the target; None if there is none."""
        key = _key(target)
        while kept := self._idle.get(key):
            connection = kept[-1]
            self._forget_idle(connection)
            if connection.is_open:
                return connection
        return None

    async def connect(self, target: ProbeTarget) -> ProbeConnection:
        """Opens a connection.

        Raises ConnectTimeout, OSError (ssl.SSLError, socket.gaierror, ForbiddenAddress).
        """
        try:
            async with asyncio.timeout(self._connect_timeout_s) as deadline:
                return await self._connect(target)
        except TimeoutError:
            if deadline.expired():
                raise ConnectTimeout from None
            raise

    def put_back(self, target: ProbeTarget, connection: ProbeConnection) -> None:
        """Keeps a connection after its exchange, if it may be used again."""
        if not connection.is_open:
            return
        if connection not in self._keepable:
            connection.abort()
            return
        key, now_s = _key(target), asyncio.get_running_loop().time()
        self._idle.setdefault(key, []).append(connection)
        self._idle_since[connection] = (key, now_s)
        if self._sweeping is None:
            self._sweep_at(now_s + KEEPALIVE_S)

    def retire(self) -> None:
        """Closes idle connections now, and others after their exchange."""
        self._keepable.clear()
        for connection in list(self._idle_since):
            connection.abort()

    async def close(self) -> None:
        """Closes all connections. Idempotent."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in list(self._open):
            connection.abort()
        await self._resolver.close()
        # An aborted transport closes its socket in the loop's next turn.
        await asyncio.sleep(0)

    async def _connect(self, target: ProbeTarget) -> ProbeConnection:
        loop = asyncio.get_running_loop()
        addresses = await self._resolver.resolve(target.host)
        make = functools.partial(ProbeConnection, self._lost)
        tls = _tls() if target.scheme == "https" else None
        server_name = target.host if tls is not None else None
        if len(addresses) == 1:
            # With a numeric address, uvloop connects at a fifth of the cost of our own socket.
            ((_, host),) = addresses
            self._policy.require(host)
            _, connection = await loop.create_connection(
                make, host, target.port, ssl=tls, server_hostname=server_name
            )
        else:
            connected = await self._first_connected(addresses, target.port)
            try:
                _, connection = await loop.create_connection(
                    make, sock=connected, ssl=tls, server_hostname=server_name
                )
            except BaseException:
                connected.close()
                raise
        self._open.add(connection)
        self._keepable.add(connection)
        return connection

    async def _first_connected(
        self, addresses: Sequence[ResolvedAddress], port: int
    ) -> socket.socket:
        """A socket to the first address that answers (Happy Eyeballs, RFC 8305)."""
        return await aiohappyeyeballs.start_connection(
            [
                (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
                for family, host in addresses
            ],
            happy_eyeballs_delay=_NEXT_ADDRESS_S,
            interleave=1,
            loop=asyncio.get_running_loop(),
            socket_factory=lambda info: self._socket(
                socket.AddressFamily(info[0]), str(info[4][0])
            ),
        )

    def _socket(self, family: socket.AddressFamily, host: str) -> socket.socket:
        self._policy.require(host)
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)

    def _forget_idle(self, connection: ProbeConnection) -> None:
        key, _ = self._idle_since.pop(connection)
        kept = self._idle[key]
        kept.remove(connection)
        if not kept:
            del self._idle[key]

    def _lost(self, connection: ProbeConnection) -> None:
        self._open.discard(connection)
        self._keepable.discard(connection)
        if connection in self._idle_since:
            self._forget_idle(connection)

    def _sweep_at(self, when_s: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_at(when_s, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now_s = asyncio.get_running_loop().time()
        while self._idle_since:
            connection, (_, since_s) = next(iter(self._idle_since.items()))
            if since_s + KEEPALIVE_S > now_s:
                self._sweep_at(since_s + KEEPALIVE_S)
                return
            self._forget_idle(connection)
            connection.abort()


def _key(target: ProbeTarget) -> _Key:
    return target.scheme, target.host, target.port


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
