"""The client's side of an HTTP/2 connection, frame by frame, to send what no client would."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hpack import Decoder, Encoder, NeverIndexedHeaderTuple

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.events import Event
from hub.transports.grpc.native.http2_connection import Connection
from hub.transports.grpc.native.limits import Limits

REQUEST: tuple[tuple[str, str], ...] = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/t/Echo"),
    (":authority", "hub"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def message(body: bytes) -> bytes:
    """A gRPC message with its prefix."""
    return b"\0" + len(body).to_bytes(4) + body


def request_with(**changed: str) -> tuple[tuple[str, str], ...]:
    """The usual request head, with some pseudo-header fields changed."""
    return tuple((name, changed.get(name.removeprefix(":"), value)) for name, value in REQUEST)


@dataclass(frozen=True)
class Frame:
    """A frame that the server sent."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        start = 4 if self.kind == frames.GOAWAY else 0
        return int.from_bytes(self.payload[start : start + 4])


def cut(output: bytes) -> Iterator[Frame]:
    """The whole frames in a server's output."""
    while len(output) >= frames.HEAD_BYTES:
        length = int.from_bytes(output[:3])
        stop = frames.HEAD_BYTES + length
        if len(output) < stop:
            return
        stream_id = int.from_bytes(output[5:9]) & frames.STREAM_ID_MASK
        yield Frame(output[3], output[4], stream_id, output[frames.HEAD_BYTES : stop])
        output = output[stop:]


class Builder:
    """Builds a client's frames; its header blocks share one compression state."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def hello(self, settings: dict[int, int] | None = None) -> bytes:
        """Preface and SETTINGS."""
        return frames.PREFACE + frames.settings(settings or {})

    def block(self, fields: Sequence[tuple[str, str]], *, indexed: bool = True) -> bytes:
        """An encoded header block."""
        if not indexed:
            return self._encoder.encode([NeverIndexedHeaderTuple(*field) for field in fields])  # type: ignore[arg-type]
        return self._encoder.encode(fields)

    def headers(
        self, stream_id: int, fields: Sequence[tuple[str, str]] = REQUEST, *, end: bool = False
    ) -> bytes:
        """A complete HEADERS frame."""
        flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
        return frames.frame(frames.HEADERS, flags, stream_id, self.block(fields))

    def data(self, stream_id: int, data: bytes = b"", *, end: bool = True) -> bytes:
        """A DATA frame."""
        return frames.frame(frames.DATA, frames.END_STREAM if end else 0, stream_id, data)

    def call(self, stream_id: int, body: bytes = b"", **changed: str) -> bytes:
        """All frames of a unary call."""
        head = self.headers(stream_id, request_with(**changed))
        return head + self.data(stream_id, message(body))


class Peer(Builder):
    """A client of the core, without sockets."""

    def __init__(self, limits: Limits | None = None, settings: dict[int, int] | None = None):
        super().__init__()
        self.now = 100.0
        self.core = Connection(limits or Limits(), self.now)
        self.events: list[Event] = []
        self._decoder = Decoder()
        self.send(self.hello(settings))
        self.greeting = self.received()

    def send(self, data: bytes) -> list[Event]:
        """Makes the core receive bytes; returns the resulting events."""
        events = self.core.receive(data, self.now)
        self.events += events
        return events

    def received(self) -> list[Frame]:
        """The frames that the core sent since the last call."""
        return list(cut(b"".join(self.core.outbox.take())))

    def fields(self, frame: Frame) -> dict[str, str]:
        """The fields of HEADERS from the core; must be called for each, in order."""
        return {str(name): str(value) for name, value in self._decoder.decode(frame.payload)}


class SocketPeer(Builder):
    """A client on a real socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader, self.writer = reader, writer
        self.frames: list[Frame] = []
        self._buffer = b""
        self._decoder = Decoder()

    @classmethod
    async def connect(cls, port: int, settings: dict[int, int] | None = None) -> "SocketPeer":
        """Connects, and sends preface and SETTINGS."""
        peer = cls(*await asyncio.open_connection("127.0.0.1", port))
        peer.writer.write(peer.hello(settings))
        return peer

    async def another(self, settings: dict[int, int] | None = None) -> "SocketPeer":
        """One more connection to the same server."""
        return await self.connect(self.writer.get_extra_info("peername")[1], settings)

    async def send(self, data: bytes) -> None:
        """Sends bytes, as long as the server still reads."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def wait_for(
        self, kind: int, stream_id: int | None = None, within_s: float = 20
    ) -> Frame:
        """The next frame of a type. Raises EOFError if the server closes first."""
        async with asyncio.timeout(within_s):
            while True:
                for index, frame in enumerate(self.frames):
                    if frame.kind == kind and stream_id in (None, frame.stream_id):
                        del self.frames[: index + 1]
                        return frame
                await self._read()

    async def wait_closed(self, within_s: float = 20) -> list[Frame]:
        """All frames until the server closes the connection."""
        async with asyncio.timeout(within_s):
            with suppress(EOFError):
                while True:
                    await self._read()
        return self.frames

    async def _read(self) -> None:
        try:
            data = await self._reader.read(65_536)
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError
        self._buffer += data
        for frame in cut(self._buffer):
            self.frames.append(frame)
            self._buffer = self._buffer[frames.HEAD_BYTES + len(frame.payload) :]

    def fields(self, frame: Frame) -> dict[str, str]:
        """The fields in HEADERS that the server sent; to be called for each, in order."""
        return {str(name): str(value) for name, value in self._decoder.decode(frame.payload)}

    def close(self) -> None:
        """Closes the socket."""
        self.writer.close()
