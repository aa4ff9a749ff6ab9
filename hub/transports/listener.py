"""Accepts connections, and bounds what comes before their protocol: above all TLS.

asyncio's own servers make a protocol only once TLS is complete, so they can neither count
unfinished handshakes nor see where they come from. Here handshakes are bounded per address
and in total, and one more ends the oldest of the address with the most.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from hub.transports.arrivals import Arrivals
from hub.transports.peer import network_of

log = structlog.get_logger()

# The pause after a failed accept; usually there are no file descriptors left.
_PAUSE_S: Final = 0.1
# Connections accepted in one turn of the loop.
_AT_ONCE: Final = 64
# How long a client may take to end TLS on its side; a stop of the hub waits for that.
_SHUTDOWN_S: Final = 1.0
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

ReadClient = Callable[[socket.socket, str], Awaitable[str | None]]
"""Reads from a new connection, given the peer's address, the address that a proxy names.

It raises OSError, TimeoutError or ValueError if the connection is not to be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeLimits:
    """Bounds on connections in their handshake, on TLS and before it."""

    in_all: int = 1_024
    """unfinished TLS handshakes; one more ends the oldest of the address with the most"""
    per_address: int = 256
    """the same of one address: one more ends its oldest"""
    seconds: float = 10.0
    """seconds that a handshake may take"""


def handshake_limits(max_connections: int) -> HandshakeLimits:
    """The bounds of a transport with so many connections.

    Handshakes use descriptors beyond those of the connections, and these are short if the
    connections are few: see `hub.server.file_descriptors`.
    """
    most = HandshakeLimits()
    in_all = max(1, min(most.in_all, max_connections // 4))
    return HandshakeLimits(in_all=in_all, per_address=min(most.per_address, in_all))


class Listener:
    """Accepts connections; each gets a protocol that knows the client's address."""

    def __init__(
        self,
        listening: list[socket.socket],
        factory: Callable[[str | None], asyncio.Protocol],
        limits: HandshakeLimits,
        *,
        tls: ssl.SSLContext | None,
        read_client: ReadClient | None = None,
        on_evicted: Callable[[str], None] | None = None,
    ) -> None:
        """`factory` makes a protocol from what `read_client` returns, or from None.

        `on_evicted` is called with the network of a handshake that ends for another one.
        """
        self.sockets = listening
        self._factory = factory
        self._limits = limits
        self._tls = tls
        self._read_client = read_client
        self._on_evicted = on_evicted
        self._handshakes: Arrivals[asyncio.Task[None]] = Arrivals(
            per_network=limits.per_address, in_all=limits.in_all
        )
        # All tasks until they end, because a cancelled one still has to close its socket.
        self._tasks: set[asyncio.Task[None]] = set()
        self._resumes: dict[socket.socket, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()
        for each in listening:
            self._loop.add_reader(each, self._accept, each)

    @property
    def handshakes(self) -> int:
        """The number of connections in their handshake."""
        return len(self._handshakes)

    def close(self) -> None:
        """Stops accepting, and cancels the running handshakes. Idempotent."""
        for timer in self._resumes.values():
            timer.cancel()
        self._resumes.clear()
        for each in self.sockets:
            self._loop.remove_reader(each)
            each.close()
        self.sockets = []
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Waits, after `close`, until no handshake is left."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        # asyncio's own servers lose a connection that arrives in the turn in which they close.
        for _ in range(_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("a connection cannot be accepted", error=str(error))
                self._loop.remove_reader(listening)
                self._resumes[listening] = self._loop.call_later(
                    _PAUSE_S, self._accept_again, listening
                )
                return
            connection.settimeout(0)
            self._begin(connection, address[0])

    def _accept_again(self, listening: socket.socket) -> None:
        del self._resumes[listening]
        self._loop.add_reader(listening, self._accept, listening)

    def _begin(self, connection: socket.socket, peer: str) -> None:
        network = network_of(peer)
        while (oldest := self._handshakes.to_evict(network)) is not None:
            if self._on_evicted is not None:
                self._on_evicted(self._handshakes.network(oldest))
            self._handshakes.discard(oldest)
            oldest.cancel()
        task = self._loop.create_task(self._hand_over(connection, peer))
        self._handshakes.add(task, network)
        self._tasks.add(task)

        def forget(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            self._handshakes.discard(done)
            # A task that is cancelled before its first step has no chance to close it.
            if done.cancelled():
                connection.close()

        task.add_done_callback(forget)

    async def _hand_over(self, connection: socket.socket, peer: str) -> None:
        client = None
        seconds = self._limits.seconds
        try:
            if self._read_client is not None:
                async with asyncio.timeout(seconds):
                    client = await self._read_client(connection, peer)
            await self._loop.connect_accepted_socket(
                lambda: self._factory(client),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=seconds if self._tls else None,
                ssl_shutdown_timeout=_SHUTDOWN_S if self._tls else None,
            )
        except ValueError as error:
            log.warning("a proxy sent what cannot be read", peer=peer, error=str(error))
            connection.close()
        except (OSError, TimeoutError):
            # The client left or sent nothing, or TLS failed.
            connection.close()


async def listening_sockets(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Non-blocking sockets for all addresses of the host, on one port. Raises OSError."""
    infos = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # "::" stands for IPv4 as well, where the system can.
    both = host == "::" and socket.has_dualstack_ipv6()
    opened: list[socket.socket] = []
    failed: OSError | None = None
    for family, *_, address in dict.fromkeys(infos):
        at = (str(address[0]), port)
        dual = both and family == socket.AF_INET6
        try:
            each = socket.create_server(at, family=family, backlog=backlog, dualstack_ipv6=dual)
        except OSError as error:
            # A name may have an address that this machine does not have.
            failed = error
            if error.errno in _NOT_HERE:
                continue
            break
        each.setblocking(False)  # noqa: FBT003
        opened.append(each)
        port = int(each.getsockname()[1])
    else:
        if opened:
            return opened
    for each in opened:
        each.close()
    assert failed is not None, "a name has an address"
    raise failed
