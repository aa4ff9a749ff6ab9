import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from hub.base.settings import ProbeSettings
from hub.probes.asker import Asker, ProbeTarget
from hub.probes.bounded_response import MAX_HEAD_BYTES, BoundedResponse
from hub.probes.faults import BadAnswer, Unreachable
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


def read(*pieces: bytes, max_body_bytes: int = 1000) -> BoundedResponse:
    response = BoundedResponse("/x", max_body_bytes, lambda: None)
    for piece in pieces:
        response.feed(piece)
    return response


CHUNKED = (
    b"HTTP/1.1 100 Continue\r\nServer: not this\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nServer: this\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n4;note=x\r\ndefg\r\n0\r\nLocation: no field of the head\r\n\r\n"
)


def test_the_answer_is_the_same_however_its_bytes_are_split():
    for cut in range(len(CHUNKED) + 1):
        for response in (
            read(CHUNKED[:cut], CHUNKED[cut:]),
            read(*(CHUNKED[at : at + cut + 1] for at in range(0, len(CHUNKED), cut + 1))),
        ):
            assert (response.status, response.body) == (200, b"abcdefg")
            assert response.field(b"server") == "this"
            assert response.field(b"location") == ""
            assert response.is_complete
            assert response.keeps_alive
            assert not response.has_surplus


def test_lines_that_end_in_a_bare_line_feed_are_read():
    response = read(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
    assert (response.body, response.is_complete) == (b"ok", True)


def test_the_head_is_announced_once_and_before_the_body():
    announced: list[int] = []
    response = BoundedResponse("/x", 1000, lambda: announced.append(response.body_bytes))
    response.feed(CONTINUE)
    assert announced == []
    response.feed(CHUNKED)
    assert announced == [0]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"SSH-2.0-x\r\n", "did not answer in HTTP to /x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "in HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "in HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: GZip\r\n\r\n",
            r"compressed its answer to /x \(gzip\)",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "answered more than 1,000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, "answered more than 1,000 bytes to /x"),
    ],
)
def test_an_invalid_or_too_large_answer_is_a_fault(data: bytes, sentence: str):
    with pytest.raises(BadAnswer, match=sentence):
        read(data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "closed the connection without an answer to /x"),
        (b"HTTP/1.1 200", "closed the connection without an answer to /x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "broke off in the middle"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "broke off in the middle",
        ),
    ],
)
def test_an_early_end_of_the_connection_is_a_fault(data: bytes, sentence: str):
    response = read(data)
    with pytest.raises(Unreachable, match=sentence):
        response.feed_eof()


def test_the_end_of_the_connection_ends_a_body_without_a_length():
    response = read(b"HTTP/1.1 200 OK\r\n\r\nab")
    assert not response.is_complete
    response.feed_eof()
    assert (response.is_complete, response.body) == (True, b"ab")
    response.feed_eof()


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00"])
@pytest.mark.parametrize("together", [True, False])
def test_bytes_after_the_answer_are_surplus(surplus: bytes, together: bool):
    whole = answer(b"{}")
    response = read(whole + surplus) if together else read(whole, surplus)
    assert (response.body, response.has_surplus) == (b"{}", True)
