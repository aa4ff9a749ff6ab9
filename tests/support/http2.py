"""Hand-made HTTP/2 frames (RFC 9113), for requests that no gRPC client would send."""

import asyncio
import struct
from contextlib import suppress
from typing import Self

_DATA, _HEADERS, _RESET, _SETTINGS, _PING = 0, 1, 3, 4, 6
_ACK = END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE = 4


class RawConnection:
    """A connection that accepts at most `window` bytes of each stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._next_stream = 1
        self._ended: dict[int, asyncio.Event] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, address: str, window: int = 65_535) -> Self:
        host, _, port = address.rpartition(":")
        connection = cls(*await asyncio.open_connection(host, int(port)))
        connection._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        connection._send(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window))
        return connection

    async def call(self, path: str, data: bytes | None, token: str = "", flags: int = 0) -> int:
        """Opens a stream and sends `data` on it, unless it is None; returns the stream's number."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._ended[stream] = asyncio.Event()
        headers = {
            **{":method": "POST", ":scheme": "http", ":path": path, ":authority": "hub"},
            **{"content-type": "application/grpc", "te": "trailers"},
        }
        if token:
            headers["authorization"] = f"Bearer {token}"
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())
        self._send(_HEADERS, _END_HEADERS, stream, block)
        if data is not None:
            self._send(_DATA, flags, stream, data)
        await self._writer.drain()
        return stream

    async def ended(self, stream: int) -> None:
        """Waits until the server has ended the stream."""
        async with asyncio.timeout(60):
            await self._ended[stream].wait()

    async def close(self) -> None:
        self._reading.cancel()
        # The server may have closed first, after a frame or inside one.
        try:
            with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
                await self._reading
        finally:
            self._writer.close()

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        head = struct.pack(">I", len(payload))[1:] + bytes((kind, flags))
        self._writer.write(head + struct.pack(">I", stream) + payload)

    async def _read(self) -> None:
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3]))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._send(kind, _ACK, 0, payload if kind == _PING else b"")
            elif kind == _RESET or (kind in (_DATA, _HEADERS) and flags & END_STREAM):
                self._ended[stream].set()


def _text(text: str) -> bytes:
    """An uncompressed HPACK string (RFC 7541)."""
    assert len(text) < 127
    return bytes((len(text),)) + text.encode()
