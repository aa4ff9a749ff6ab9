"""An inference server that costs next to nothing: it answers every request with prepared bytes.

Arguments: its address as HOST:PORT (host 0.0.0.0 for all addresses of loopback, of which it
then accepts only those), the number of pieces of a streamed answer, and the seconds between
them. A request whose body contains `"stream":true` gets such an answer.
"""

import asyncio
import sys
from typing import cast

import uvloop

from benchmarks.servers import ready

_BODY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
)
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"token "}}]}\n\n'
_PIECE = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_END = b"0\r\n\r\n"
_STREAMED = b'"stream":true'


class Server(asyncio.Protocol):
    """One connection. Requests come one after another, as a proxy sends them."""

    def __init__(self, pieces: int, pause_s: float) -> None:
        self._pieces = pieces
        self._pause_s = pause_s
        self._received = bytearray()
        self._length: int | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `Protocol`."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        if not transport.get_extra_info("peername")[0].startswith("127."):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `Protocol`."""
        self._received += data
        if self._length is None:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return
            self._length = _length(bytes(self._received[:head]).lower(), head + 4)
        if self._length < 0:
            if not self._received.endswith(_END):
                return
        elif len(self._received) < self._length:
            return
        streams = _STREAMED in self._received
        self._received.clear()
        self._length = None
        if streams:
            self._transport.write(_STREAM_HEAD)
            self._stream(self._pieces)
        else:
            self._transport.write(_ANSWER)

    def _stream(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(_END)
            return
        self._transport.write(_PIECE)
        asyncio.get_running_loop().call_later(self._pause_s, self._stream, left - 1)


def _length(head: bytes, start: int) -> int:
    """The bytes of the whole request; -1 if it ends with an empty chunk."""
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return start + int(rest.split(b"\r\n", 1)[0]) if found else -1


async def _main(address: str, pieces: int, pause_s: float) -> None:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Server(pieces, pause_s), host, int(port), backlog=1024
    )
    ready.say(port=server.sockets[0].getsockname()[1])
    await ready.until_stopped()
    server.close()


uvloop.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
