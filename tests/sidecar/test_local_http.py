import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hub.sidecar.local_http import MAX_BYTES, AskError, get, send

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(write: Write) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers every connection with `write`; yields the server's URL and its received requests."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            await write(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/base", asked


def says(raw: bytes) -> Write:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return write


async def test_a_request_uses_the_base_path_and_http_1_0() -> None:
    raw = b'HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Length: 8\r\n\r\n{"a": 1}rest'
    async with server(says(raw)) as (url, asked):
        answer = await get(url, "/v1/models")
    assert asked[0].startswith(b"GET /base/v1/models HTTP/1.0\r\nHost: 127.0.0.1:")
    assert (answer.status, answer.header("Server")) == (200, "llama.cpp")
    assert answer.header("Location") == ""


async def test_without_a_length_the_body_ends_with_the_connection() -> None:
    async with server(says(b"HTTP/1.0 200 OK\r\n\r\n[1]")) as (url, _):
        assert (await get(url, "/")).body == b"[1]"


async def test_a_body_is_sent_as_json() -> None:
    async with server(says(b"HTTP/1.0 404 Not Found\r\n\r\n{}")) as (url, asked):
        answer = await send("POST", url, "/api/show", b'{"model":"a"}')
    assert asked[0].startswith(b"POST /base/api/show HTTP/1.0\r\n")
    assert b"Content-Type: application/json\r\nContent-Length: 13\r\n" in asked[0]
    assert (answer.status, answer.body) == (404, b"{}")


@pytest.mark.parametrize(
    ("raw", "message", "answered"),
    [
        (b"", "without an answer", False),
        (b"SSH-2.0-OpenSSH_9\r\n", "does not speak HTTP", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", "in the middle", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "more than", True),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * MAX_BYTES, "more than", True),
    ],
)
async def test_an_invalid_answer_is_a_one_line_error(
    raw: bytes, message: str, *, answered: bool
) -> None:
    async with server(says(raw)) as (url, _):
        with pytest.raises(AskError, match=message) as caught:
            await get(url, "/")
    assert caught.value.answered == answered


async def test_a_hanging_server_has_a_deadline() -> None:
    gone = asyncio.Event()

    async def hang(_writer: asyncio.StreamWriter) -> None:
        await gone.wait()

    async with server(hang) as (url, _):
        with pytest.raises(AskError, match="did not answer within"):
            await get(url, "/", timeout_s=0.05)
        gone.set()


async def test_a_server_that_sends_slowly_without_end_has_the_same_deadline() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with server(drip) as (url, _):
        with pytest.raises(AskError, match="did not answer within"):
            await get(url, "/", timeout_s=0.1)


async def test_a_closed_port_is_reported() -> None:
    async with server(says(b"")) as (url, _):
        pass
    with pytest.raises(AskError, match="refused"):
        await get(url, "/")
