"""The native server with the clients of grpcio, over real sockets."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.call_status import CallFailed
from hub.transports.grpc.native.method import Method, StreamMethod, UnaryMethod
from hub.transports.grpc.native.stream_call import StreamCall
from tests.support.certificates import Certificate, self_signed
from tests.support.native_server import native_server


def _echo(_call: Call, message: bytes) -> bytes:
    return message


async def _echo_later(_call: Call, message: bytes) -> bytes:
    await asyncio.sleep(0)
    return message


def _fail(_call: Call, message: bytes) -> bytes:
    raise CallFailed(9, message.decode(), (("detail-bin", b"\x00\xff"),))


def _break(_call: Call, _message: bytes) -> bytes:
    raise ZeroDivisionError


async def _echo_all(call: StreamCall) -> AsyncGenerator[bytes, None]:
    async for message in call:
        yield message


async def _upper(call: Call, message: bytes) -> bytes:
    call.compress = True
    return message.upper()


METHODS: dict[str, Method] = {
    "/t/Echo": UnaryMethod(_echo),
    "/t/EchoLater": UnaryMethod(_echo_later),
    "/t/Fail": UnaryMethod(_fail),
    "/t/Break": UnaryMethod(_break),
    "/t/EchoAll": StreamMethod(_echo_all),
    "/t/Upper": UnaryMethod(_upper),
}


@pytest.mark.parametrize("path", ["/t/Echo", "/t/EchoLater"])
@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 70_000, 4_000_000])
async def test_messages_of_every_size_are_echoed(path: str, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with (
        native_server(METHODS) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert await channel.unary_unary(path)(message) == message


async def test_concurrent_calls_each_get_their_own_reply() -> None:
    async with (
        native_server(METHODS) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        echo, later = channel.unary_unary("/t/Echo"), channel.unary_unary("/t/EchoLater")
        wanted = [b"%d" % number for number in range(500)]
        assert await asyncio.gather(*map(echo, wanted), *map(later, wanted)) == wanted * 2


async def test_a_sync_client_is_served() -> None:
    def call(port: int) -> list[bytes]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            unary = channel.unary_unary("/t/Echo")(b"one", timeout=10)
            return [unary, *channel.stream_stream("/t/EchoAll")(iter((b"two", b"three")))]

    async with native_server(METHODS) as (_, port):
        got = await asyncio.to_thread(call, port)
    assert got == [b"one", b"two", b"three"]


async def test_an_error_has_its_status_message_and_trailers() -> None:
    async with (
        native_server(METHODS) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/t/Fail")("ünlucky 100 %\n".encode())
        assert failed.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert failed.value.details() == "ünlucky 100 %\n"
        assert ("detail-bin", b"\x00\xff") in tuple(failed.value.trailing_metadata())


@pytest.mark.parametrize(
    ("path", "code"),
    [("/t/Break", grpc.StatusCode.UNKNOWN), ("/t/None", grpc.StatusCode.UNIMPLEMENTED)],
)
async def test_calls_that_cannot_be_answered_have_a_status(
    path: str, code: grpc.StatusCode
) -> None:
    async with (
        native_server(METHODS) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(path)(b"")
        assert failed.value.code() == code


async def test_a_deadline_ends_the_handler() -> None:
    ended = asyncio.Event()

    async def wait(_call: Call, _message: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with (
        native_server({"/t/Wait": UnaryMethod(wait)}) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/t/Wait")(b"", timeout=0.05)
        assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_cancelled_call_ends_its_handler() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(call: StreamCall) -> AsyncGenerator[bytes, None]:
        began.set()
        try:
            yield b""
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with (
        native_server({"/t/Wait": StreamMethod(wait)}) as (server, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.unary_stream("/t/Wait")(b"")
        await began.wait()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 10)
        assert await channel.unary_unary("/t/Wait2")(b"").code() == grpc.StatusCode.UNIMPLEMENTED
        assert not server.ledger.streams.total


async def test_a_client_that_does_not_read_makes_the_handler_wait() -> None:
    sent = 0

    async def pour(_call: StreamCall) -> AsyncGenerator[bytes, None]:
        nonlocal sent
        for _ in range(400):
            sent += 1
            yield bytes(100_000)

    async with (
        native_server({"/t/Pour": StreamMethod(pour)}) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.unary_stream("/t/Pour")(b"")
        assert len(await call.read()) == 100_000
        await asyncio.sleep(0.2)
        # Its client takes a few windows by itself.
        assert sent < 300
        received = 1
        while await call.read() is not grpc.aio.EOF:
            received += 1
        assert received == sent == 400


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_compressed_messages_are_read_and_written(compression: grpc.Compression) -> None:
    async with (
        native_server(METHODS) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", compression=compression) as channel,
    ):
        assert await channel.unary_unary("/t/Upper")(b"abc" * 10_000) == b"ABC" * 10_000


def _server_tls(own: Certificate, client: Certificate | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    context.set_alpn_protocols(["h2"])
    if client is not None:
        context.load_verify_locations(client.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_tls_with_client_certificates_works(tmp_path: Path) -> None:
    own, client = self_signed(tmp_path, "own"), self_signed(tmp_path, "client")
    tls = _server_tls(own, client)
    trusted = own.cert.read_bytes()
    with_certificate = grpc.ssl_channel_credentials(
        trusted, client.key.read_bytes(), client.cert.read_bytes()
    )
    async with native_server(METHODS, tls=tls) as (_, port):
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", with_certificate) as channel:
            assert await channel.unary_unary("/t/Echo")(b"x" * 100_000) == b"x" * 100_000
        without = grpc.ssl_channel_credentials(trusted)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", without) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/t/Echo")(b"", timeout=10)
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_tls_without_h2_is_refused(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    context = ssl.create_default_context(cafile=str(own.cert))
    context.set_alpn_protocols(["http/1.1"])
    async with native_server(METHODS, tls=_server_tls(own, None)) as (_, port):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        except ConnectionError:
            return
        with suppress(ConnectionError):
            assert not await reader.read(1)
        writer.close()


async def test_stopping_lets_calls_end_and_refuses_new_connections() -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def wait(_call: Call, _message: bytes) -> bytes:
        began.set()
        await go.wait()
        return b"done"

    async with (
        native_server({"/t/Wait": UnaryMethod(wait)}) as (server, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.unary_unary("/t/Wait")(b"")
        await began.wait()
        stopping = asyncio.create_task(server.stop(30))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
        go.set()
        assert await call == b"done"
        await stopping


async def test_stopping_ends_calls_after_the_grace() -> None:
    began = asyncio.Event()

    async def wait(_call: Call, _message: bytes) -> bytes:
        began.set()
        await asyncio.Event().wait()
        return b""

    async with (
        native_server({"/t/Wait": UnaryMethod(wait)}) as (server, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.unary_unary("/t/Wait")(b"")
        await began.wait()
        await asyncio.wait_for(server.stop(0.1), 10)
        assert await call.code() == grpc.StatusCode.UNAVAILABLE
