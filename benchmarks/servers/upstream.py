"""An inference server that costs next to nothing: it answers every request with prepared bytes.

Arguments: its address as HOST:PORT (host 0.0.0.0 for all addresses of loopback, of which it
then accepts only those), the number of pieces of a streamed answer, the seconds before the
first one, and those between them. A request whose body contains `"stream":true` gets such an
answer. The header `x-served-by` has the port. `GET /v1/models` lists one model, "m".
"""

import asyncio
import socket
import sys
from dataclasses import dataclass
from typing import cast

import uvloop

from benchmarks.servers import ready

_BODY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
)
_MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    b"x-served-by: %d\r\n\r\n"
)
_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"token "}}]}\n\n'
_PIECE = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_END = b"0\r\n\r\n"
_STREAMED = b'"stream":true'


@dataclass(frozen=True, slots=True)
class Answers:
    """What the server answers. Times are in seconds."""

    whole: bytes
    stream_head: bytes
    pieces: int
    first_s: float
    pause_s: float


class Server(asyncio.Protocol):
    """One connection. Requests come one after another, as a proxy sends them."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._received = bytearray()
        self._length: int | None = None
        self._body_at = 0
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
            if self._received.startswith(b"GET "):
                self._answer_get()
                return
            self._body_at = head + 4
            self._length = _length(bytes(self._received[:head]).lower(), self._body_at)
        if self._length < 0:
            # The head may end with the same bytes.
            if not self._received.endswith(_END, self._body_at):
                return
        elif len(self._received) < self._length:
            return
        streams = _STREAMED in self._received
        self._received.clear()
        self._length = None
        if streams:
            loop = asyncio.get_running_loop()
            loop.call_later(self._answers.first_s, self._begin_stream)
        else:
            self._transport.write(self._answers.whole)

    def _answer_get(self) -> None:
        is_list = self._received.startswith(b"GET /v1/models ")
        self._received.clear()
        self._transport.write(_json(_MODELS) if is_list else _NOT_FOUND)

    def _begin_stream(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._answers.stream_head)
        self._stream(self._answers.pieces)

    def _stream(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(_END)
            return
        self._transport.write(_PIECE)
        asyncio.get_running_loop().call_later(self._answers.pause_s, self._stream, left - 1)


def _json(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def _length(head: bytes, start: int) -> int:
    """The bytes of the whole request; -1 if it ends with an empty chunk."""
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return start + int(rest.split(b"\r\n", 1)[0]) if found else -1


async def _main(address: str, pieces: int, first_s: float, pause_s: float) -> None:
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host, int(port)), backlog=1024)
    own_port = listener.getsockname()[1]
    answers = Answers(_json(_BODY), _STREAM_HEAD % own_port, pieces, first_s, pause_s)
    server = await asyncio.get_running_loop().create_server(lambda: Server(answers), sock=listener)
    ready.say(port=own_port)
    await ready.until_stopped()
    server.close()


uvloop.run(_main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:5])))
