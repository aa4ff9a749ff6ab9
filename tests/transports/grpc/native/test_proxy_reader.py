import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest

from hub.transports.grpc.native import proxy_protocol
from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.method import UnaryMethod
from tests.support.certificates import self_signed
from tests.support.native_server import native_server

TRUSTED = (ipaddress.ip_network("127.0.0.1/32"),)
METHODS = {"/t/Peer": UnaryMethod(lambda call, _message: _peer(call))}
V4 = (
    proxy_protocol.SIGNATURE + b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 7, 127, 0, 0, 1, 0, 1, 0, 2))
)


def _peer(call: Call) -> bytes:
    return call.peer.encode()


@asynccontextmanager
async def _proxy(port: int, header: bytes, step: int = 1 << 16) -> AsyncIterator[int]:
    """A proxy on layer 4 in front of the server; yields its port."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        for start in range(0, len(header), step):
            to_writer.write(header[start : start + step])
            await asyncio.sleep(0.02 if step == 1 else 0)
        async with asyncio.TaskGroup() as group:
            group.create_task(pipe(reader, to_writer))
            group.create_task(pipe(to_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(("header", "peer"), [(V4, b"192.0.2.7"), (b"", b"127.0.0.1")])
async def test_a_trusted_proxy_names_the_client(header: bytes, peer: bytes) -> None:
    async with (
        native_server(METHODS, trusted_proxies=TRUSTED) as (_, port),
        _proxy(port, header) as proxied,
        grpc.aio.insecure_channel(f"127.0.0.1:{proxied}") as channel,
    ):
        assert await channel.unary_unary("/t/Peer")(b"", timeout=20) == peer


async def test_a_header_may_come_byte_by_byte() -> None:
    async with (
        native_server(METHODS, trusted_proxies=TRUSTED) as (_, port),
        _proxy(port, V4, step=1) as proxied,
        grpc.aio.insecure_channel(f"127.0.0.1:{proxied}") as channel,
    ):
        assert await channel.unary_unary("/t/Peer")(b"", timeout=20) == b"192.0.2.7"


async def test_the_header_comes_before_tls(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own.cert, own.key)
    tls.set_alpn_protocols(["h2"])
    credentials = grpc.ssl_channel_credentials(own.cert.read_bytes())
    async with (
        native_server(METHODS, tls=tls, trusted_proxies=TRUSTED) as (_, port),
        _proxy(port, V4) as proxied,
        grpc.aio.secure_channel(f"127.0.0.1:{proxied}", credentials) as channel,
    ):
        assert await channel.unary_unary("/t/Peer")(b"", timeout=20) == b"192.0.2.7"


async def test_a_header_from_an_untrusted_peer_is_not_read() -> None:
    elsewhere = (ipaddress.ip_network("192.0.2.0/24"),)
    async with native_server(METHODS, trusted_proxies=elsewhere) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(V4)
        async with asyncio.timeout(20):
            answer = await reader.read()
        assert b"no client preface" in answer
        writer.close()


@pytest.mark.parametrize(
    "sent", [V4[:20], proxy_protocol.SIGNATURE + b"\x31\x11\x00\x0c", proxy_protocol.SIGNATURE[:5]]
)
async def test_a_malformed_or_incomplete_header_ends_the_connection(sent: bytes) -> None:
    limits = Limits(handshake_s=0.3)
    async with native_server(METHODS, limits, trusted_proxies=TRUSTED) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_arrives_as_the_server_stops_is_closed(turns: int) -> None:
    loop = asyncio.get_running_loop()
    async with native_server(METHODS) as (server, port):
        clients = [socket.socket() for _ in range(8)]
        for client in clients:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.stop(0.1)
        for client in clients:
            async with asyncio.timeout(10):
                with suppress(ConnectionError):
                    while await loop.sock_recv(client, 65_536):
                        pass
            client.close()
