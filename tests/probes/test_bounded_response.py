import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from hub.base.settings import ProbeSettings
from hub.probes.asker import Asker, ProbeTarget
from hub.probes.bounded_response import MAX_HEAD_BYTES
from hub.probes.faults import BadAnswer
from hub.probes.probe_client import ProbeClient

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SETTINGS = ProbeSettings(total_timeout_s=30, allow=(ip_network("127.0.0.0/8"),))


class Raw:
    """A server that answers requests with bytes; `gone` is set when the hub disconnects it."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.answered = 0
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.answered += 1
                await self._write(writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()


@asynccontextmanager
async def probing(server: Raw) -> AsyncIterator[Asker]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = ProbeClient(SETTINGS)
    await client.open()
    try:
        yield client.to(ProbeTarget(f"127.0.0.1:{port}", "http", "127.0.0.1", port))
    finally:
        await client.close()
        listening.close()


def endlessly(chunk: bytes) -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(chunk)
            await writer.drain()

    return write


def once(data: bytes) -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return write


def answer(body: bytes, *, before: bytes = b"") -> bytes:
    return before + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    "chunk",
    [
        CONTINUE * 1000,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 8000,
    ],
    ids=["continue", "early hints", "fields"],
)
async def test_a_server_that_never_sends_its_final_head_is_disconnected(chunk: bytes):
    honest = Raw(once(answer(b"{}")))
    endless = Raw(endlessly(chunk))
    async with probing(endless) as ask, probing(honest) as ask_honest:
        with pytest.raises(BadAnswer) as caught:
            await ask.get("/api/tags")
        async with asyncio.timeout(10):
            await endless.gone.wait()
        assert (await ask_honest.get("/api/tags")).json() == {}
    if chunk.startswith(b"HTTP/1.1 1"):
        assert str(caught.value) == (
            f"sent more than {MAX_HEAD_BYTES:,} bytes before the head of its answer"
        )


async def test_an_answer_may_have_a_few_informational_responses_and_a_long_body():
    body = b'"' + b"x" * (20 * MAX_HEAD_BYTES) + b'"'
    server = Raw(once(answer(body, before=CONTINUE * 20)))
    async with probing(server) as ask:
        for _ in range(3):
            assert len((await ask.get("/api/tags")).json()) == 20 * MAX_HEAD_BYTES
    assert server.answered == 3


async def test_the_bound_is_exact():
    def headed(length: int) -> bytes:
        begin = answer(b"{}").removesuffix(b"\r\n{}")
        missing = length - len(begin) - len(b"\r\n")
        # Fields of 4,000 bytes, because aiohttp accepts at most 8,190.
        sizes = [4000] * ((missing - 100) // 4000)
        sizes.append(missing - sum(sizes))
        fields = b"".join(b"X: " + b"y" * (size - 5) + b"\r\n" for size in sizes)
        return begin + fields + b"\r\n"

    async with probing(Raw(once(headed(MAX_HEAD_BYTES + 1) + b"{}"))) as ask:
        with pytest.raises(BadAnswer, match="before the head"):
            await ask.get("/api/tags")
    async with probing(Raw(once(headed(MAX_HEAD_BYTES) + b"{}"))) as ask:
        assert (await ask.get("/api/tags")).json() == {}


async def test_data_on_an_idle_connection_is_bounded_too():
    async def answer_then_flood(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"{}"))
        await endlessly(CONTINUE * 100)(writer)

    server = Raw(answer_then_flood)
    async with probing(server) as ask:
        assert (await ask.get("/api/tags")).json() == {}
        async with asyncio.timeout(10):
            await server.gone.wait()
