"""A cheap generator of HTTP load: prepared requests over raw sockets, one at a time on each."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_DEADLINE_S = 30.0


@dataclass(slots=True)
class Load:
    """What came of the requests: the seconds that each took, and the failures."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.seconds) / self.elapsed_s


def chat_request(host: str, path: str, body: bytes, token: str = "") -> bytes:
    """The bytes of a POST with a JSON body."""
    key = f"authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{key}"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Caller(asyncio.Protocol):
    """A connection with at most one request on it. Understands answers with a length only."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._length = 0
        self._answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `Protocol`."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> "asyncio.Future[bytes]":
        """Sends the request; the future gets the status line."""
        self._received.clear()
        self._length = 0
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        """See `Protocol`."""
        self._received += data
        if not self._length:
            head = self._received.find(_END)
            if head < 0:
                return
            fields = bytes(self._received[:head]).lower()
            _, _, rest = fields.partition(b"\r\ncontent-length:")
            self._length = head + len(_END) + int(rest.split(b"\r\n", 1)[0])
        if len(self._received) >= self._length and self._answered is not None:
            status = bytes(self._received[9:12])
            answered, self._answered = self._answered, None
            if not answered.done():
                answered.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `Protocol`."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("the connection was closed"))

    def close(self) -> None:
        """Closes the connection."""
        self._transport.abort()


async def connect(port: int, count: int) -> list[Caller]:
    """Connections to a server on loopback."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Caller, "127.0.0.1", port) for _ in range(count)]
    return [caller for _, caller in made]


async def closed_loop(callers: Sequence[Caller], request: bytes, count: int) -> Load:
    """Each caller sends its next request when the last one is answered; `count` in all."""
    load, left = Load(), iter(range(count))

    async def call(caller: Caller) -> None:
        for _ in left:
            await _one(caller, request, load, time.perf_counter())

    started = time.perf_counter()
    async with asyncio.timeout(_DEADLINE_S):
        await asyncio.gather(*map(call, callers))
    load.elapsed_s = time.perf_counter() - started
    return load


async def paced(callers: Sequence[Caller], request: bytes, count: int, rate: float) -> Load:
    """A request every 1/`rate` seconds, whether or not the last one is answered.

    A request that finds all callers busy waits, and the wait counts.
    """
    load, free = Load(), deque(callers)
    due: deque[float] = deque()
    running: set[asyncio.Task[None]] = set()

    async def call(caller: Caller, since: float) -> None:
        await _one(caller, request, load, since)
        free.append(caller)
        if due:
            start(due.popleft())

    def start(since: float) -> None:
        task = asyncio.create_task(call(free.popleft(), since))
        running.add(task)
        task.add_done_callback(running.discard)

    started = time.perf_counter()
    async with asyncio.timeout(_DEADLINE_S + count / rate):
        for number in range(count):
            await asyncio.sleep(started + number / rate - time.perf_counter())
            # The timer of the loop has a granularity of 1 ms, which is not the server's.
            if free:
                start(time.perf_counter())
            else:
                due.append(time.perf_counter())
        while running:
            await asyncio.wait(running)
    load.elapsed_s = time.perf_counter() - started
    return load


@dataclass(slots=True)
class Streamed:
    """One streamed answer: whether it has begun, and whether it came to its end."""

    began: bool = False
    whole: bool = False


class Streams:
    """Streamed answers to equal requests; `answers` grows while they run."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self.answers: list[Streamed] = []

    async def run(self, count: int, rate: float) -> None:
        """Sends a request every 1/`rate` seconds, each on a connection of its own."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.timeout(_DEADLINE_S + count / rate), asyncio.TaskGroup() as tasks:
            for number in range(count):
                await asyncio.sleep(started + number / rate - loop.time())
                answer = Streamed()
                self.answers.append(answer)
                tasks.create_task(self._read(answer))

    async def _read(self, answer: Streamed) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._request)
            received = b""
            while chunk := await reader.read(65_536):
                received = (received + chunk)[-64:] if answer.began else received + chunk
                answer.began = answer.began or received.startswith(b"HTTP/1.1 200")
                if answer.began and received.endswith(_LAST_CHUNK):
                    answer.whole = True
                    break
                if not answer.began and _END in received:
                    break
            writer.close()
        except OSError:
            return


async def _one(caller: Caller, request: bytes, load: Load, since: float) -> None:
    try:
        status = await caller.send(request)
    except OSError as error:
        load.failures.append(str(error))
        return
    if status == b"200":
        load.seconds.append(time.perf_counter() - since)
    else:
        load.failures.append(status.decode())
