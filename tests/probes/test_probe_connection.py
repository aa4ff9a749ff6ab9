"""Connections to raw servers; test_probe_client.py tests faults of whole servers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from hub.probes.bounded_response import BoundedResponse
from hub.probes.faults import Unreachable
from hub.probes.probe_connection import Broken, ProbeConnection, reached
from tests.support.waiting import wait_until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
MAX_BODY_BYTES = 1_000_000
PERMITS = 1


class Lost:
    """Counts the lost connections."""

    def __init__(self) -> None:
        self.connections: list[ProbeConnection] = []
        self.happened = asyncio.Event()

    def __call__(self, connection: ProbeConnection) -> None:
        self.connections.append(connection)
        self.happened.set()


@contextlib.asynccontextmanager
async def connected(serve: Serve, lost: Lost | None = None) -> AsyncIterator[ProbeConnection]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    on_lost = lost or Lost()
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: ProbeConnection(on_lost), host, port
    )
    try:
        yield connection
    finally:
        connection.abort()
        await on_lost.happened.wait()
        server.close()


def a_response() -> BoundedResponse:
    return BoundedResponse("/", MAX_BODY_BYTES, lambda: None)


async def exchange(
    connection: ProbeConnection, permits: asyncio.Semaphore | None = None
) -> BoundedResponse:
    response = a_response()
    async with asyncio.timeout(10):
        await connection.exchange(REQUEST, response, permits or asyncio.Semaphore(PERMITS))
    return response


def answering(data: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()

    return serve


async def test_one_connection_carries_one_exchange_after_another():
    async with connected(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as one:
        for _ in range(3):
            assert (await exchange(one)).body == b"ok"
            assert one.is_open
        assert one.address == "127.0.0.1"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx",
    ],
    ids=["closes", "1.0", "surplus", "upgrade"],
)
async def test_a_connection_that_cannot_be_used_again_is_closed(data: bytes):
    lost = Lost()
    async with connected(answering(data), lost) as one:
        assert (await exchange(one)).is_complete
        assert not one.is_open
        async with asyncio.timeout(10):
            await lost.happened.wait()
    assert lost.connections == [one]


async def test_a_server_that_closes_before_the_head_breaks_the_exchange():
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with connected(close) as one:
        with pytest.raises(Broken):
            await exchange(one)
        assert not one.is_open
        with pytest.raises(Broken):
            await exchange(one)


async def test_a_body_without_a_length_ends_with_the_connection():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await writer.drain()

    async with connected(serve) as one:
        assert (await exchange(one)).body == b"all of it"
        assert not one.is_open


async def test_a_truncated_body_is_a_fault():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()

    async with connected(serve) as one:
        with pytest.raises(Unreachable, match="broke off in the middle of its answer to /"):
            await exchange(one)


async def test_a_large_body_is_not_read_without_a_permit():
    body = b"x" * 900_000
    sent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        sent.set()
        await writer.drain()
        await reader.read()

    permits = asyncio.Semaphore(1)
    await permits.acquire()
    async with connected(serve) as one:
        response = a_response()
        asked = asyncio.create_task(one.exchange(REQUEST, response, permits))
        async with asyncio.timeout(10):
            await sent.wait()
            await wait_until(lambda: response.body_bytes > 0)
        for _ in range(100):
            await asyncio.sleep(0)
        # One read of the loop, not the whole body.
        assert response.body_bytes < len(body)
        permits.release()
        async with asyncio.timeout(10):
            await asked
        assert response.body == body
        assert not permits.locked()


async def test_a_connection_that_ends_while_its_body_waits_for_a_permit_is_a_fault_at_once():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n"
    permits = asyncio.Semaphore(1)
    await permits.acquire()
    lost = Lost()
    async with connected(answering(head + bytes(100_000)), lost) as one:
        response = a_response()
        asked = asyncio.create_task(one.exchange(REQUEST, response, permits))
        await wait_until(lambda: response.body_bytes > 64 * 1024)
        # With TLS, the end arrives although the body is not being read.
        one.abort()
        await lost.happened.wait()
        permits.release()
        async with asyncio.timeout(10):
            with pytest.raises(Unreachable, match="in the middle"):
                await asked
    assert not permits.locked()


async def test_a_caller_that_gives_up_closes_the_connection():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    lost = Lost()
    async with connected(silent, lost) as one:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await one.exchange(REQUEST, a_response(), asyncio.Semaphore(1))
        assert not one.is_open
        async with asyncio.timeout(10):
            await lost.happened.wait()


class Wire(asyncio.Transport):
    """A transport that knows its two ends."""

    def __init__(self, peer: str, own: str) -> None:
        super().__init__({"peername": (peer, 1, 0, 0), "sockname": (own, 2, 0, 0)})


@pytest.mark.parametrize(
    ("peer", "own", "address"),
    [
        ("10.0.0.9", "10.0.0.1", "10.0.0.9"),
        ("::ffff:10.0.0.9", "::ffff:10.0.0.1", "10.0.0.9"),
        ("2001:db8::9", "2001:db8::1", "2001:db8::9"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("::1", "::1", "127.0.0.1"),
        ("10.0.0.1", "10.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.1", "127.0.0.2"),
        ("127.0.0.2", "127.0.0.2", "127.0.0.2"),
    ],
)
def test_an_address_of_this_machine_is_its_loopback(peer: str, own: str, address: str) -> None:
    assert reached(Wire(peer, own)) == address


def test_a_closed_connection_has_no_address() -> None:
    assert reached(None) == ""
    assert reached(asyncio.Transport({})) == ""
