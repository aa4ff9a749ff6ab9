"""Accepts connections, and makes the handshakes before HTTP/2: a trusted proxy's header, TLS.

The header of the PROXY protocol comes before anything else, including TLS, so it is read
from the socket before asyncio takes the socket over. It is read only if the peer is a
trusted proxy. Handshakes are bounded per address and in total; one more ends the oldest.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from hub.base.settings import Network
from hub.transports.grpc.native import proxy_protocol
from hub.transports.grpc.native.arrivals import Arrivals
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.proxy_protocol import BadProxyHeader
from hub.transports.peer import is_trusted, network_of

log = structlog.get_logger()

# The pause between reads of a socket with an incomplete header.
_POLL_S: Final = 0.01
# The pause after a failed accept; usually there are no file descriptors left.
_PAUSE_S: Final = 0.1
# Connections accepted in one turn of the loop.
_AT_ONCE: Final = 64
# How long a client may take to end TLS on its side; a stop of the hub waits for that.
SHUTDOWN_S: Final = 1.0


class Listener:
    """Accepts connections on one socket; each gets a protocol that knows the client's address."""

    def __init__(
        self,
        listening: socket.socket,
        factory: Callable[[str | None], asyncio.Protocol],
        limits: Limits,
        *,
        trusted: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`factory` makes a protocol from the address that a proxy named, or from None."""
        self._listening = listening
        self._factory = factory
        self._trusted = trusted
        self._tls = tls
        self._handshake_s = limits.handshake_s
        self._handshakes: Arrivals[asyncio.Task[None]] = Arrivals(
            per_network=limits.handshakes_per_address, in_all=limits.handshakes
        )
        # All tasks until they end, because a cancelled one still has to close its socket.
        self._tasks: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listening, self._accept)

    async def close(self) -> None:
        """Stops accepting, and cancels the running handshakes. Idempotent."""
        if self._listening.fileno() < 0:
            return
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._listening)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listening.close()

    def _accept(self) -> None:
        # asyncio's own servers lose a connection that arrives in the turn in which they close.
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("a gRPC connection cannot be accepted", error=str(error))
                self._loop.remove_reader(self._listening)
                self._resume = self._loop.call_later(_PAUSE_S, self._accept_again)
                return
            connection.settimeout(0)
            self._begin(connection, address[0])

    def _accept_again(self) -> None:
        self._resume = None
        self._loop.add_reader(self._listening, self._accept)

    def _begin(self, connection: socket.socket, peer: str) -> None:
        network = network_of(peer)
        while (oldest := self._handshakes.to_evict(network)) is not None:
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
        try:
            if is_trusted(peer, self._trusted):
                async with asyncio.timeout(self._handshake_s):
                    client = await _client_address(connection)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._factory(client),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_s if self._tls else None,
                ssl_shutdown_timeout=SHUTDOWN_S if self._tls else None,
            )
        except BadProxyHeader as error:
            log.warning("a trusted proxy sent a bad PROXY header", peer=peer, error=str(error))
            connection.close()
        except (OSError, TimeoutError):
            # The client left or sent nothing, or TLS failed.
            connection.close()


async def _client_address(connection: socket.socket) -> str | None:
    """The address in the PROXY header; None if the connection has no header.

    Raises BadProxyHeader, OSError.
    """
    while True:
        await _readable(connection)
        begun = connection.recv(proxy_protocol.HEAD_BYTES, socket.MSG_PEEK)
        if not begun:
            raise ConnectionResetError
        signature = proxy_protocol.SIGNATURE
        if begun[: len(signature)] != signature[: len(begun)]:
            return None
        if len(begun) == proxy_protocol.HEAD_BYTES:
            break
        await asyncio.sleep(_POLL_S)
    header = await _exactly(connection, proxy_protocol.HEAD_BYTES)
    header += await _exactly(connection, proxy_protocol.rest_bytes(header))
    return proxy_protocol.source(header)


async def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(connection, count - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def on_readable() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(connection, on_readable)
    try:
        await readable
    finally:
        with suppress(OSError):
            loop.remove_reader(connection)
