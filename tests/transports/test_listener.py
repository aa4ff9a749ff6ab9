"""What a transport's TLS listener does with handshakes that are never finished."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from hub.transports.listener import (
    HandshakeLimits,
    Listener,
    handshake_limits,
    listening_sockets,
)
from tests.support.certificates import self_signed
from tests.support.hub import RunningHub, running_hub
from tests.support.waiting import wait_until


@asynccontextmanager
async def _listening(directory: Path, limits: HandshakeLimits) -> AsyncIterator[tuple]:
    own = self_signed(directory)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own.cert, own.key)
    evicted: list[str] = []
    sockets = await listening_sockets("127.0.0.1", 0, 64)
    listener = Listener(sockets, lambda _: _Greeting(), limits, tls=tls, on_evicted=evicted.append)
    trusting = ssl.create_default_context(cafile=str(own.cert))
    try:
        yield listener, sockets[0].getsockname()[1], trusting, evicted
    finally:
        listener.close()
        listener.close()
        await listener.wait_closed()


class _Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


def _from(address: str, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10, source_address=(address, 0))


async def _greeted(port: int, trusting: ssl.SSLContext) -> bool:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        greeting = await reader.read()
        writer.close()
    return greeting == b"hello"


async def test_unfinished_handshakes_give_way_to_others(tmp_path: Path) -> None:
    limits = HandshakeLimits(in_all=8, per_address=4)
    async with _listening(tmp_path, limits) as (listener, port, trusting, evicted):
        addresses = [f"127.0.0.{number % 4 + 2}" for number in range(32)]
        silent = [_from(address, port) for address in addresses]
        await wait_until(lambda: len(evicted) == 24)
        assert listener.handshakes == 8
        assert await _greeted(port, trusting)
        assert len(evicted) == 25
        for each in silent:
            each.close()


async def test_an_unfinished_handshake_has_a_deadline(tmp_path: Path) -> None:
    async with _listening(tmp_path, HandshakeLimits(seconds=0.1)) as (listener, port, *_):
        with _from("127.0.0.2", port) as silent:
            await wait_until(lambda: listener.handshakes == 1)
            await wait_until(lambda: listener.handshakes == 0)
            assert silent.recv(1) == b""


async def test_a_stop_ends_unfinished_handshakes(tmp_path: Path) -> None:
    async with _listening(tmp_path, HandshakeLimits()) as (listener, port, *_):
        with _from("127.0.0.2", port) as silent:
            await wait_until(lambda: listener.handshakes == 1)
            listener.close()
            await listener.wait_closed()
            assert silent.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                _from("127.0.0.2", port)


async def test_it_accepts_again_after_descriptors_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(_self: socket.socket) -> None:
        raise OSError(24, "Too many open files")

    async with _listening(tmp_path, HandshakeLimits()) as (listener, port, trusting, _):
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "accept", no_descriptor)
            with _from("127.0.0.2", port):
                await wait_until(lambda: listener._resumes)
        assert await _greeted(port, trusting)


async def test_a_name_with_addresses_that_this_machine_lacks() -> None:
    sockets = await listening_sockets("localhost", 0, 8)
    assert len({each.getsockname()[1] for each in sockets}) == 1
    port = sockets[0].getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        await listening_sockets("localhost", port, 8)
    for each in sockets:
        each.close()
    with pytest.raises(OSError, match="assign"):
        await listening_sockets("192.0.2.1", 0, 8)


def test_a_transport_with_few_connections_has_few_handshakes() -> None:
    assert handshake_limits(100_000) == HandshakeLimits()
    assert handshake_limits(400) == HandshakeLimits(in_all=100, per_address=100)
    assert handshake_limits(1) == HandshakeLimits(in_all=1, per_address=1)


@asynccontextmanager
async def _tls_hub(directory: Path) -> AsyncIterator[tuple[RunningHub, ssl.SSLContext]]:
    own = self_signed(directory)
    sections = {
        "tls": {"cert_file": str(own.cert), "key_file": str(own.key)},
        "ws": {"max_connections": 64},
        "http": {"max_connections": 64},
    }
    async with running_hub(directory, **sections) as hub:
        yield hub, ssl.create_default_context(cafile=str(own.cert))


async def test_strangers_that_never_finish_tls_keep_no_client_out(tmp_path: Path) -> None:
    async with _tls_hub(tmp_path) as (hub, trusting):
        counts = hub.hub._observability.traffic.refusals.counts
        held = []
        for address in (hub.ws_address, hub.http_address):
            port = int(address.rpartition(":")[2])
            held += [_from(f"127.0.0.{number % 4 + 2}", port) for number in range(40)]
        for transport in ("ws", "http"):
            await wait_until(lambda at=transport: counts[at, "tls_handshakes"] >= 24)
        async with asyncio.timeout(20):
            async with connect(f"wss://{hub.ws_address}/ws", ssl=trusting, proxy=None) as sidecar:
                await sidecar.ping()
            url = f"https://{hub.http_address}/healthz"
            async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as got:
                assert got.status == 200
        for each in held:
            each.close()


async def test_addresses_that_hold_handshakes_keep_no_sidecar_out(tmp_path: Path) -> None:
    async with running_hub(tmp_path, ws={"max_connections": 64}) as hub:
        port = int(hub.ws_address.rpartition(":")[2])
        held = [_from(f"127.0.0.{number % 4 + 2}", port) for number in range(32)]
        counts = hub.hub._observability.traffic.refusals.counts
        await wait_until(lambda: counts["ws", "handshakes"])
        async with hub.sidecar("node-1") as sidecar:
            assert (await sidecar.ask({"type": "ping"}))["type"] == "pong"
        for each in held:
            each.close()
