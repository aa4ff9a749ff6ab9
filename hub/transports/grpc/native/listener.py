"""Accepts connections whose handshake comes before HTTP/2: TLS, or a trusted proxy's header.

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
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """Stops accepting, and cancels the running handshakes."""
        for task in (self._accepting, *self._tasks):
            task.cancel()
        await asyncio.gather(self._accepting, *self._tasks, return_exceptions=True)
        self._listening.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listening)
            except OSError as error:
                log.warning("a gRPC connection cannot be accepted", error=str(error))
                await asyncio.sleep(_PAUSE_S)
                continue
            network = network_of(address[0])
            while (oldest := self._handshakes.to_evict(network)) is not None:
                self._handshakes.discard(oldest)
                oldest.cancel()
            task = loop.create_task(self._hand_over(connection, address[0]))
            self._handshakes.add(task, network)
            self._tasks.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._handshakes.discard(task)

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
        except asyncio.CancelledError:
            connection.close()
            raise


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
