"""Reads the header of the PROXY protocol, which comes before anything else, including TLS.

So it is read from the socket before asyncio takes the socket over, and only if the peer is a
trusted proxy.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from hub.base.settings import Network
from hub.transports.grpc.native import proxy_protocol
from hub.transports.listener import ReadClient
from hub.transports.peer import is_trusted

# The pause between reads of a socket with an incomplete header.
_POLL_S: Final = 0.01


def proxy_reader(trusted: Sequence[Network]) -> ReadClient | None:
    """Reads the header of connections from trusted proxies; None if there are none."""
    if not trusted:
        return None

    async def read(connection: socket.socket, peer: str) -> str | None:
        return await _client_address(connection) if is_trusted(peer, trusted) else None

    return read


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
