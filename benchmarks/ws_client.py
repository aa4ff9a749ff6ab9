"""A WebSocket client that uses little CPU: raw sockets and frames masked in advance.

The load generator shares the machine with the server that it measures, so it must
use less CPU than the server. RFC 6455 requires masked client frames (section 5.3).
"""

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct

_HEAD_BYTES = 4096
_TEXT, _PING, _PONG = 0x1, 0x9, 0xA


def frame(**members: object) -> bytes:
    """A JSON object as a masked text frame."""
    payload = json.dumps(members, separators=(",", ":")).encode()
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    if len(payload) < 126:
        head = struct.pack("!BB", 0x81, 0x80 | len(payload))
    else:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, len(payload))
    return head + mask + masked


def upgrade(path: str) -> bytes:
    """An opening handshake (RFC 6455, section 4.1)."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


RESOURCE_REPORT = frame(
    type="resource_report",
    cpu_percent=12.5,
    ram_used_bytes=730218752,
    ram_total_bytes=33276502016,
    vram_used_bytes=6137025024,
    vram_total_bytes=None,
    timestamp=1795339132121,
)
"""A report as a real sidecar sends it, with a null and without GPUs."""

PING = frame(type="ping")


async def connect(port: int, identify: bytes | None, path: str = "/ws") -> socket.socket:
    """Opens a connection and, if `identify` is a frame, sends it and awaits "identified".

    The socket is non-blocking. Raises ConnectionError if the server refuses.
    """
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.settimeout(0)
    try:
        await loop.sock_connect(connection, ("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_sendall(connection, upgrade(path))
        head = await loop.sock_recv(connection, _HEAD_BYTES)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"handshake refused: {head[:80]!r}")
        if identify is not None:
            await loop.sock_sendall(connection, identify)
            answer = await loop.sock_recv(connection, _HEAD_BYTES)
            if b'"identified"' not in answer:
                raise ConnectionError(f"identify refused: {answer[:80]!r}")
    except BaseException:
        connection.close()
        raise
    return connection


async def connect_many(
    port: int, identifies: list[bytes | None], in_flight: int = 32
) -> list[socket.socket]:
    """Opens a connection for each item, at most `in_flight` at a time.

    The result omits connections that the server refuses.
    """
    waiting = iter(identifies)
    opened: list[socket.socket] = []

    async def work() -> None:
        for identify in waiting:
            with contextlib.suppress(ConnectionError):
                opened.append(await connect(port, identify))

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return opened


def identify_frame(agent_id: str, token: str) -> bytes:
    """An `identify` frame without an endpoint."""
    return frame(
        type="identify", agent_id=agent_id, token=token, name=agent_id, capabilities=["code"]
    )


def texts(connection: socket.socket, received: bytes) -> list[bytes]:
    """The payloads of the received text frames; answers keepalive pings.

    Expects whole frames of at most 125 bytes, as the servers here send them.
    Raises ConnectionError if the connection has ended.
    """
    found, position = [], 0
    while position < len(received):
        opcode, length = received[position] & 0x0F, received[position + 1]
        payload = received[position + 2 : position + 2 + length]
        position += 2 + length
        if opcode == _TEXT:
            found.append(payload)
        elif opcode == _PING:
            # A mask of zeros leaves the payload unchanged.
            connection.sendall(bytes((0x80 | _PONG, 0x80 | length, 0, 0, 0, 0)) + payload)
        else:
            raise ConnectionError(f"the server closed: {payload!r}")
    if not received:
        raise ConnectionError("the server cut the connection")
    return found


def answer_keepalives(connections: list[socket.socket]) -> None:
    """Answers waiting pings: a server closes connections that do not answer."""
    for connection in connections:
        timeout = connection.gettimeout()
        connection.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            texts(connection, connection.recv(_HEAD_BYTES))
        connection.settimeout(timeout)


def block(connections: list[socket.socket]) -> None:
    """Makes the sockets blocking, for loads that run without an event loop."""
    for connection in connections:
        connection.settimeout(20)


def close(connections: list[socket.socket]) -> None:
    """Closes the sockets with a reset, so that no port stays in TIME_WAIT."""
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
