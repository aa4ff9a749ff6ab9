"""Fake servers on raw asyncio connections: cheap, and able to misbehave in every way.

An HTTP framework could neither cut off a body in the middle nor reset a connection
on demand, and ten thousand of its servers would not fit on a small machine.
"""

import asyncio
import itertools
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit

_MAX_HEAD = 64 * 1024
_BACKLOG = 4096
_OVERSIZED_BYTES = 50 * 1024 * 1024
_CHUNK = b" " * 65_536
_REASONS = {200: "OK", 302: "Found", 401: "Unauthorized", 404: "Not Found"}


class Behaviour(Enum):
    """How a fake server treats its requests."""

    OK = "ok"
    # Answers after `delay_s`.
    SLOW = "slow"
    # Accepts, reads and never answers.
    HANGING = "hanging"
    # Accepts, reads and resets the connection.
    HALF_OPEN = "half-open"
    # Announces the whole body, sends half of it and closes.
    DROP = "drop"
    # 200 with application/json and a body that is not JSON.
    MALFORMED = "malformed"
    # 200 with a web page.
    HTML = "html"
    # 200 with 50 MB of JSON white space.
    OVERSIZED = "oversized"
    # 200 with a body that never ends, one byte at a time.
    DRIP = "drip"
    REDIRECT = "redirect"
    # Answers `flap_every` requests, resets as many, and so on.
    FLAPPING = "flapping"
    # The port is bound, but nothing listens on it.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Persona(Protocol):
    """The kind of server that a fake server imitates."""

    def answer(self, request: Request) -> Reply:
        """Answers one request."""
        ...


@dataclass(slots=True, eq=False)
class FakeServer:
    """One fake server; callers may change its fields while it runs."""

    host: str
    port: int
    persona: Persona
    behaviour: Behaviour = Behaviour.OK
    delay_s: float = 0.0
    drip_s: float = 0.02
    flap_every: int = 3
    # If set, every path except `open_paths` requires the key.
    api_key: str = ""
    open_paths: frozenset[str] = frozenset()
    requests: int = 0
    connections: int = 0
    open_connections: int = 0
    most_open_connections: int = 0
    recent: deque[Request] = field(default_factory=lambda: deque(maxlen=256))
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        """The endpoint id of the server in the hub."""
        return f"{self.host}:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The paths of the recent requests, oldest first."""
        return [request.path for request in self.recent]

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Waits until the condition holds; checks it after every request and connection.

        Raises TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.news.clear()
                await self.news.wait()


class Fleet:
    """Owns the fake servers and their connections; an async context manager."""

    def __init__(self) -> None:
        self.servers: list[FakeServer] = []
        self._listeners: list[asyncio.Server] = []
        self._reserved: list[socket.socket] = []
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def add(
        self,
        persona: Persona,
        behaviour: Behaviour = Behaviour.OK,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        **settings: object,
    ) -> FakeServer:
        """Starts a server on its own port; `settings` are fields of FakeServer."""
        if behaviour is Behaviour.REFUSED:
            sock = socket.socket()
            sock.bind((host, port))
            self._reserved.append(sock)
            bound = sock.getsockname()[1]
            return self._enlist(FakeServer(host, bound, persona, behaviour))
        server = FakeServer(host, port, persona, behaviour)
        for name, value in settings.items():
            setattr(server, name, value)
        listener = await self._listen(host, port, lambda _: server)
        server.port = listener.sockets[0].getsockname()[1]
        return self._enlist(server)

    async def add_spread(
        self, personas: Iterable[Persona], behaviours: Iterable[Behaviour]
    ) -> list[FakeServer]:
        """Starts servers at 127.x.y.z, one address each, all behind one listening socket.

        Thousands of servers need one file descriptor, and no two have the same host.
        The socket listens on every interface, because only that covers all of 127/8.
        It resets connections that do not arrive over loopback, and those to a server
        with the behaviour REFUSED.
        """
        by_host: dict[str, FakeServer] = {}
        listener = await self._listen("0.0.0.0", 0, by_host.get)  # noqa: S104
        port = listener.sockets[0].getsockname()[1]
        for number, (persona, behaviour) in enumerate(zip(personas, behaviours, strict=True)):
            high, low = divmod(number, 250)
            host = f"127.{10 + high // 250}.{high % 250}.{1 + low}"
            by_host[host] = self._enlist(FakeServer(host, port, persona, behaviour))
        return list(by_host.values())

    async def stop(self, server: FakeServer) -> None:
        """Stops listening for a server with its own port, and aborts its connections."""
        for listener in self._listeners:
            if any(s.getsockname()[1] == server.port for s in listener.sockets):
                listener.close()
        self.cut(server)

    def cut(self, server: FakeServer) -> None:
        """Aborts a server's connections; it continues to listen."""
        for connection in list(self._connections):
            if connection.server is server:
                connection.abort()

    async def close(self) -> None:
        """Stops everything."""
        for listener in self._listeners:
            listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connection in list(self._connections):
            connection.abort()
        for sock in self._reserved:
            sock.close()
        await asyncio.sleep(0)

    async def _listen(
        self, host: str, port: int, find: Callable[[str], FakeServer | None]
    ) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: _Connection(self, find), host, port, backlog=_BACKLOG
        )
        self._listeners.append(listener)
        return listener

    def _enlist(self, server: FakeServer) -> FakeServer:
        self.servers.append(server)
        return server


class _Connection(asyncio.Protocol):
    """One connection: parses requests, answers according to the behaviour."""

    def __init__(self, fleet: Fleet, find: Callable[[str], FakeServer | None]) -> None:
        self._fleet = fleet
        self._find = find
        self._buffer = b""
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._transport: asyncio.Transport | None = None
        self.server: FakeServer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        server = self.server = self._find(transport.get_extra_info("sockname")[0])
        if server is None or server.behaviour is Behaviour.REFUSED:
            self._reset()
            return
        self._fleet._connections.add(self)
        server.connections += 1
        server.open_connections += 1
        server.most_open_connections = max(server.most_open_connections, server.open_connections)
        server.news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._may_write.set()
        if self in self._fleet._connections and self.server is not None:
            self._fleet._connections.discard(self)
            self.server.open_connections -= 1
            self.server.news.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > _MAX_HEAD:
            self.abort()
            return
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            request = _parse(self._buffer[:end])
            if request is None or self.server is None:
                self._send(Reply(400), close=True)
                return
            rest = self._buffer[end + 4 :]
            length = int(request.headers.get("content-length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            if length:
                request = replace(request, body=rest[:length])
            self.server.requests += 1
            self.server.recent.append(request)
            self.server.news.set()
            self._respond(self.server, request)

    def _respond(self, server: FakeServer, request: Request) -> None:
        behaviour = server.behaviour
        if behaviour is Behaviour.FLAPPING:
            is_up = ((server.requests - 1) // server.flap_every) % 2 == 0
            behaviour = Behaviour.OK if is_up else Behaviour.HALF_OPEN
        match behaviour:
            case Behaviour.OK:
                self._send(_reply(server, request))
            case Behaviour.SLOW:
                self._spawn(self._slow(server, request))
            case Behaviour.HALF_OPEN:
                self._reset()
            case Behaviour.DROP:
                self._drop(_reply(server, request))
            case Behaviour.MALFORMED:
                self._send(Reply(body=b'{"models": [{"name": "a:latest", '))
            case Behaviour.HTML:
                page = b"<!DOCTYPE html><html><body>It works!</body></html>"
                self._send(Reply(body=page, content_type="text/html; charset=utf-8"))
            case Behaviour.OVERSIZED:
                self._spawn(self._oversized())
            case Behaviour.DRIP:
                self._spawn(self._drip(server))
            case Behaviour.REDIRECT:
                to = f"http://{server.id}/elsewhere{request.path}"
                self._send(Reply(302, headers=(("Location", to),)))
            case Behaviour.HANGING | Behaviour.REFUSED:
                return

    def _send(self, reply: Reply, *, close: bool = False) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(_head(reply, len(reply.body)) + reply.body)
        if close:
            self._transport.close()

    def _drop(self, reply: Reply) -> None:
        assert self._transport is not None
        body = reply.body or b"{}"
        self._transport.write(_head(reply, len(body)) + body[: len(body) // 2])
        self._transport.close()

    def _reset(self) -> None:
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        # Linger of zero seconds: closing sends RST instead of FIN.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._fleet._tasks.add(task)
        task.add_done_callback(self._fleet._tasks.discard)

    async def _slow(self, server: FakeServer, request: Request) -> None:
        await asyncio.sleep(server.delay_s)
        self._send(_reply(server, request))

    async def _oversized(self) -> None:
        assert self._transport is not None
        self._transport.write(_head(Reply(), None))
        for _ in range(_OVERSIZED_BYTES // len(_CHUNK)):
            await self._may_write.wait()
            if self._transport.is_closing():
                return
            self._transport.write(_chunk(_CHUNK))
        self._transport.write(_chunk(b"{}") + _chunk(b""))

    async def _drip(self, server: FakeServer) -> None:
        assert self._transport is not None
        self._transport.write(_head(Reply(), None) + _chunk(b'{"models": ['))
        for _ in itertools.count():
            await asyncio.sleep(server.drip_s)
            if self._transport.is_closing():
                return
            self._transport.write(_chunk(b" "))


def _reply(server: FakeServer, request: Request) -> Reply:
    if server.api_key and request.path not in server.open_paths:
        given = request.headers.get("authorization", "")
        if given != f"Bearer {server.api_key}":
            return Reply(401, b'{"error":{"message":"Invalid API Key","code":401}}')
    return server.persona.answer(request)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(reply: Reply, length: int | None) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}",
        f"Content-Type: {reply.content_type}",
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _parse(head: bytes) -> Request | None:
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, _ = lines[0].split(" ")
    except ValueError:
        return None
    parts = urlsplit(target)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(method, unquote(parts.path), dict(parse_qsl(parts.query)), headers)
