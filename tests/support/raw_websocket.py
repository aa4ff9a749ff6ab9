"""A WebSocket client that writes whatever bytes a test wants, at once and without reading."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.hub import HubClient
from tests.support.websocket_fuzz import HANDSHAKE, frame

_WAIT_S = 30.0
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class RawSocket:
    """A TCP connection to the WebSocket server of a hub; every wait has a deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(_WAIT_S):
            await asyncio.get_running_loop().sock_sendall(self.connection, data)

    def fill(self, data: bytes) -> int:
        """Sends as much as the system takes without waiting; returns how many bytes."""
        count = 0
        try:
            while count < len(data):
                count += self.connection.send(data[count : count + 65_536])
        except (BlockingIOError, ConnectionError):
            pass
        return count

    async def read_until(self, wanted: bytes) -> bytes:
        """Reads until that is among what arrived. Raises ConnectionError at the end."""
        while wanted not in self.received:
            if not await self._read():
                raise ConnectionError(f"ended after {self.received[-200:]!r}")
        return self.received

    async def read_all(self) -> bytes:
        """Reads to the end."""
        while await self._read():
            pass
        return self.received

    async def _read(self) -> bool:
        async with asyncio.timeout(_WAIT_S):
            try:
                data = await asyncio.get_running_loop().sock_recv(self.connection, 65_536)
            except ConnectionError:
                return False
        self.received += data
        return bool(data)


@asynccontextmanager
async def tcp(hub: HubClient) -> AsyncIterator[RawSocket]:
    """A connection on which nothing is sent yet."""
    host, _, port = hub.ws_address.rpartition(":")
    with socket.socket() as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
        yield RawSocket(connection)


@asynccontextmanager
async def opened(hub: HubClient) -> AsyncIterator[RawSocket]:
    """A connection whose handshake is done."""
    async with tcp(hub) as raw:
        await raw.send(HANDSHAKE)
        await raw.read_until(b"\r\n\r\n")
        raw.received = b""
        yield raw


@asynccontextmanager
async def identified(hub: HubClient, agent_id: str, token: str) -> AsyncIterator[RawSocket]:
    """A sidecar that has identified."""
    async with opened(hub) as raw:
        identify = f'{{"type":"identify","agent_id":"{agent_id}","token":"{token}"}}'
        await raw.send(frame(TEXT, identify.encode()))
        await raw.read_until(b'"identified"')
        raw.received = b""
        yield raw
