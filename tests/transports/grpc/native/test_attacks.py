"""Known attacks on HTTP/2 servers, each with an honest client that is served meanwhile."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.method import Method, StreamMethod, UnaryMethod
from hub.transports.grpc.native.native_server import NativeServer
from hub.transports.grpc.native.stream_call import StreamCall
from tests.support.certificates import self_signed
from tests.support.http2_peer import REQUEST, Builder, Frame, SocketPeer, message, request_with
from tests.support.native_server import native_server
from tests.support.waiting import wait_until

_INITIAL_WINDOW_SIZE = 4
_BIG = 100_000


def _echo(_call: Call, body: bytes) -> bytes:
    return body


def _big(_call: Call, _body: bytes) -> bytes:
    return bytes(_BIG)


async def _wait(_call: Call, body: bytes) -> bytes:
    await asyncio.Event().wait()
    return body


async def _pour(_call: StreamCall) -> AsyncGenerator[bytes, None]:
    while True:
        yield bytes(_BIG)


def _mine(call: Call, _body: bytes) -> bytes:
    """Another reply for each call, on the account of one token."""
    call.charge_to("token")
    call.set_known()
    return bytes(_BIG)


def _stay(call: Call, body: bytes) -> bytes:
    call.set_known()
    return body


_SHARED = bytes(_BIG)

METHODS: dict[str, Method] = {
    "/t/Mine": UnaryMethod(_mine),
    "/t/Stay": UnaryMethod(_stay),
    "/t/Shared": UnaryMethod(lambda _call, _body: _SHARED),
    "/t/Check": UnaryMethod(_echo, always=True),
    "/t/Echo": UnaryMethod(_echo),
    "/t/Big": UnaryMethod(_big),
    "/t/Wait": UnaryMethod(_wait),
    "/t/Pour": StreamMethod(_pour),
}


@asynccontextmanager
async def _attacked(limits: Limits | None = None) -> AsyncIterator[tuple[NativeServer, SocketPeer]]:
    """A server, and the attacker's connection; an honest client calls all the while."""
    async with (
        native_server(METHODS, limits) as (server, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        echo = channel.unary_unary("/t/Stay")
        assert await echo(b"before") == b"before"
        answered, over = 0, asyncio.Event()

        async def call() -> None:
            nonlocal answered
            while not over.is_set():
                assert await echo(b"%d" % answered, timeout=10) == b"%d" % answered
                answered += 1

        honest = asyncio.create_task(call())
        attacker = await SocketPeer.connect(port)
        try:
            yield server, attacker
            so_far = answered
            await wait_until(lambda: answered >= so_far + 3 or honest.done())
        finally:
            over.set()
            attacker.close()
        await honest


def _rapid_reset(peer: Builder, number: int) -> bytes:
    stream = 2 * number + 1
    return peer.headers(stream, request_with(path="/t/Wait")) + frames.rst_stream(stream, 8)


def _made_you_reset_by_window(peer: Builder, number: int) -> bytes:
    stream = 2 * number + 1
    head = peer.headers(stream, request_with(path="/t/Wait"))
    return head + peer.data(stream, message(b"")) + frames.window_update(stream, 0)


def _made_you_reset_by_data(peer: Builder, number: int) -> bytes:
    stream = 2 * number + 1
    head = peer.headers(stream, request_with(path="/t/Wait"))
    return head + peer.data(stream, message(b"")) + peer.data(stream, b"late")


def _made_you_reset_by_priority(peer: Builder, number: int) -> bytes:
    stream = 2 * number + 1
    itself = frames.frame(frames.PRIORITY, 0, stream, stream.to_bytes(4) + b"\0")
    return peer.headers(stream, request_with(path="/t/Wait")) + itself


def _pings(_peer: Builder, number: int) -> bytes:
    return frames.ping(number.to_bytes(8))


def _settings(_peer: Builder, number: int) -> bytes:
    return frames.settings({_INITIAL_WINDOW_SIZE: 65_535 + number % 2})


def _settings_of_many(_peer: Builder, _number: int) -> bytes:
    return frames.frame(frames.SETTINGS, 0, 0, b"\0\x01\0\0\x10\0" * 2_000)


def _empty_data(peer: Builder, number: int) -> bytes:
    opening = peer.headers(1) if not number else b""
    return opening + peer.data(1, b"", end=False)


def _padding_alone(peer: Builder, number: int) -> bytes:
    opening = peer.headers(1) if not number else b""
    return opening + frames.frame(frames.DATA, frames.PADDED, 1, b"\xff" + bytes(255))


def _window_updates(_peer: Builder, _number: int) -> bytes:
    return frames.window_update(0, 1)


def _priorities(_peer: Builder, number: int) -> bytes:
    return frames.frame(frames.PRIORITY, 0, 2 * number + 1, bytes(5))


def _unknown_frames(_peer: Builder, _number: int) -> bytes:
    return frames.frame(0xFA, 0, 0)


def _data_on_reset_stream(peer: Builder, number: int) -> bytes:
    opening = peer.headers(1, request_with(path="/none")) if not number else b""
    return opening + peer.data(1, b"x", end=False)


@pytest.mark.parametrize(
    "unit",
    [
        *(_rapid_reset, _made_you_reset_by_window, _made_you_reset_by_data),
        *(_made_you_reset_by_priority, _pings, _settings, _settings_of_many, _empty_data),
        *(_padding_alone, _window_updates, _priorities, _unknown_frames, _data_on_reset_stream),
    ],
)
async def test_a_flood_ends_only_its_connection(unit: Callable[[Builder, int], bytes]) -> None:
    async with _attacked() as (server, attacker):

        async def flood() -> None:
            for start in range(0, 20_000, 100):
                chunk = b"".join(unit(attacker, number) for number in range(start, start + 100))
                await attacker.send(chunk)

        flooding = asyncio.create_task(flood())
        last = (await attacker.wait_closed())[-1]
        flooding.cancel()
        assert last.kind == frames.GOAWAY
        assert last.code == ErrorCode.ENHANCE_YOUR_CALM
    assert not server.ledger.streams.total
    assert not server.ledger.received.total


@pytest.mark.parametrize("part", [b"", b"\x00\x01a\x01b" * 100])
async def test_a_flood_of_continuations_ends_its_connection(part: bytes) -> None:
    async with _attacked() as (_server, attacker):
        await attacker.send(frames.frame(frames.HEADERS, 0, 1, attacker.block(REQUEST)))
        await attacker.send(frames.frame(frames.CONTINUATION, 0, 1, part) * 1_000)
        last = (await attacker.wait_closed())[-1]
        assert (last.kind, last.code) == (frames.GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)


async def test_an_hpack_bomb_ends_its_connection() -> None:
    async with _attacked() as (_server, attacker):
        await attacker.send(attacker.headers(1, (*REQUEST, ("bomb", "x" * 3_900)), end=True))
        bomb = b"\xbe" * 16_000
        await attacker.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 3, bomb))
        last = (await attacker.wait_closed())[-1]
        assert (last.kind, last.code) == (frames.GOAWAY, ErrorCode.COMPRESSION_ERROR)


async def test_too_much_metadata_fails_only_its_call() -> None:
    async with (
        native_server(METHODS) as (_, port),
        grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_metadata_size", 100_000)]
        ) as channel,
    ):
        echo = channel.unary_unary("/t/Echo")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await echo(b"", metadata=tuple((f"key{n}", "v" * 1_000) for n in range(20)))
        assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await echo(b"after") == b"after"


async def test_unread_replies_are_bounded_in_bytes() -> None:
    limits = Limits(unsent_bytes=10 * _BIG)
    async with _attacked(limits) as (server, attacker):
        await attacker.send(frames.settings({_INITIAL_WINDOW_SIZE: 0}))
        await attacker.send(b"".join(attacker.call(2 * n + 1, path="/t/Big") for n in range(200)))
        await attacker.wait_for(frames.HEADERS, 399)
        assert server.ledger.unsent.total <= 11 * _BIG
        assert server.ledger.streams.total <= 12


async def test_unread_replies_are_bounded_per_address() -> None:
    limits = Limits(unsent_bytes_per_address=5 * _BIG)
    async with native_server(METHODS, limits) as (server, port):
        peers = [await SocketPeer.connect(port, {_INITIAL_WINDOW_SIZE: 0}) for _ in range(10)]
        for peer in peers:
            await peer.send(peer.call(1, path="/t/Big"))
            await peer.wait_for(frames.HEADERS, 1)
        assert server.ledger.unsent.total <= 6 * _BIG
        for peer in peers:
            peer.close()


async def test_replies_left_unread_are_bounded_by_token_over_all_its_connections() -> None:
    limits = Limits(unsent_bytes_per_token=5 * _BIG)
    async with _attacked(limits) as (server, attacker):
        peers = [await attacker.another({_INITIAL_WINDOW_SIZE: 0}) for _ in range(10)]
        for peer in peers:
            await peer.send(peer.call(1, path="/t/Mine"))
            await peer.wait_for(frames.HEADERS, 1)
        assert 4 * _BIG <= server.ledger.unsent.total <= 6 * _BIG
        # What the token may not, another caller still may.
        await attacker.send(attacker.call(1, path="/t/Big"))
        assert await attacker.wait_for(frames.DATA, 1)
        for peer in peers:
            peer.close()


async def test_readers_of_one_body_share_it() -> None:
    limits = Limits(unsent_bytes_in_all=2 * _BIG)
    async with _attacked(limits) as (server, attacker):
        peers = [await attacker.another({_INITIAL_WINDOW_SIZE: 0}) for _ in range(10)]
        for peer in peers:
            await peer.send(peer.call(1, path="/t/Shared"))
            assert not (await peer.wait_for(frames.HEADERS, 1)).flags & frames.END_STREAM
        assert server.ledger.unsent.total < 2 * _BIG
        for peer in peers:
            await peer.send(frames.window_update(1, 2 * _BIG) + frames.window_update(0, 2 * _BIG))
            await peer.wait_for(frames.HEADERS, 1)
        assert server.ledger.unsent.total == 0
        for peer in peers:
            peer.close()


async def test_streams_that_are_not_read_are_bounded_too() -> None:
    limits = Limits(unsent_bytes=10 * _BIG)
    async with _attacked(limits) as (server, attacker):
        await attacker.send(frames.settings({_INITIAL_WINDOW_SIZE: 0}))
        for number in range(100):
            await attacker.send(attacker.call(2 * number + 1, path="/t/Pour"))
        await attacker.wait_for(frames.HEADERS, 199)
        await wait_until(lambda: server.ledger.calls.total <= 12)
        assert server.ledger.unsent.total <= 11 * _BIG


@pytest.mark.parametrize(
    ("limits", "read_some"),
    [(Limits(unsent_age_s=0.5), False), (Limits(unsent_total_s=0.5), True)],
)
async def test_a_reply_that_is_not_read_is_dropped_after_a_while(
    limits: Limits,
    read_some: bool,
) -> None:
    async with _attacked(limits) as (server, attacker):
        await attacker.send(frames.settings({_INITIAL_WINDOW_SIZE: 0}))
        await attacker.send(attacker.call(1, path="/t/Big"))
        if read_some:
            await attacker.send(frames.window_update(1, 10))
        reset = await attacker.wait_for(frames.RST_STREAM, 1)
        assert reset.code == ErrorCode.ENHANCE_YOUR_CALM
        assert not server.ledger.unsent.total


async def test_an_unread_socket_is_closed_after_a_while() -> None:
    limits = Limits(unsent_age_s=0.5)
    window = {_INITIAL_WINDOW_SIZE: 2**31 - 1}
    async with native_server(METHODS, limits) as (server, port):
        peer = await SocketPeer.connect(port, window)
        await peer.send(frames.window_update(0, 2**31 - 1 - 65_535))
        await peer.send(peer.headers(1, request_with(path="/t/Pour"), end=True))
        await wait_until(lambda: len(server.connections) == 1)
        await wait_until(lambda: len(server.connections) == 0)
        peer.close()


async def test_windows_of_one_byte_do_not_cause_a_frame_per_byte() -> None:
    async with _attacked() as (_server, attacker):
        await attacker.send(frames.settings({_INITIAL_WINDOW_SIZE: 0}))
        await attacker.send(attacker.call(1, path="/t/Big"))
        for _ in range(200):
            await attacker.send(frames.window_update(1, 1) * 50)
        last = (await attacker.wait_closed())[-1]
        assert (last.kind, last.code) == (frames.GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)


async def test_endless_bodies_are_bounded_in_bytes() -> None:
    limits = Limits(received_bytes=300_000)
    async with _attacked(limits) as (server, attacker):
        begun = message(bytes(200_000))[:100_000]
        for number in range(20):
            stream = 2 * number + 1
            await attacker.send(attacker.headers(stream))
            for start in range(0, len(begun), 16_384):
                await attacker.send(attacker.data(stream, begun[start : start + 16_384], end=False))
        await attacker.send(frames.ping(b"the last"))
        await attacker.wait_for(frames.PING)
        assert server.ledger.received.total <= 300_000


async def test_a_missing_message_ends_its_call() -> None:
    async with _attacked(Limits(half_open_s=0.3)) as (_server, attacker):
        await attacker.send(attacker.headers(1) + attacker.data(1, b"\0\0", end=False))
        ended = await attacker.wait_for(frames.HEADERS, 1)
        assert ended.flags & frames.END_STREAM


@pytest.mark.parametrize("sent", [b"", frames.PREFACE[:10], frames.PREFACE])
async def test_a_missing_handshake_ends_its_connection(sent: bytes) -> None:
    async with native_server(METHODS, Limits(handshake_s=0.3)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                await reader.read()
        writer.close()


@pytest.mark.parametrize(
    "partial",
    [
        frames.head(8, frames.PING, 0, 0) + b"half",
        frames.frame(frames.HEADERS, 0, 1, b"\x82"),
    ],
)
async def test_an_unfinished_frame_ends_its_connection(partial: bytes) -> None:
    async with _attacked(Limits(half_open_s=0.3)) as (_server, attacker):
        await attacker.send(partial)
        last = (await attacker.wait_closed())[-1]
        assert (last.kind, last.code) == (frames.GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)


async def test_pings_detect_a_dead_client() -> None:
    limits = Limits(keepalive_s=0.2, keepalive_timeout_s=0.2)
    async with _attacked(limits) as (_server, attacker):
        assert frames.PING in {frame.kind for frame in await attacker.wait_closed()}


@pytest.mark.parametrize(
    ("limits", "path"),
    [(Limits(idle_s=0.2), "/t/Stay"), (Limits(stranger_idle_s=0.2), "/t/Echo")],
)
async def test_an_idle_connection_is_closed_cleanly(limits: Limits, path: str) -> None:
    async with _attacked(replace(limits, drain_ping_s=0.1)) as (_server, attacker):
        await attacker.send(attacker.call(1, path=path))
        received = await attacker.wait_closed()
        codes = [frame.code for frame in received if frame.kind == frames.GOAWAY]
        assert codes == [ErrorCode.NO_ERROR, ErrorCode.NO_ERROR]


async def test_strangers_keep_no_caller_with_a_token_out() -> None:
    limits = Limits(strangers_per_address=10)
    async with _attacked(limits) as (server, attacker):
        assert await _stays(attacker)
        strangers = [await attacker.another() for _ in range(40)]
        await wait_until(lambda: len(server.connections) <= 12)
        # Each may come, and show a token before it is the oldest.
        later = await attacker.another()
        assert await _stays(later)
        assert await _stays(attacker, 3)
        for each in (*strangers, later):
            each.close()


async def _stays(peer: SocketPeer, stream: int = 1) -> Frame:
    await peer.send(peer.call(stream, path="/t/Stay"))
    return await peer.wait_for(frames.DATA, stream)


async def test_handshakes_of_tls_that_do_not_come_keep_nobody_out(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own.cert, own.key)
    tls.set_alpn_protocols(["h2"])
    credentials = grpc.ssl_channel_credentials(own.cert.read_bytes())
    limits = Limits(handshakes_per_address=5, handshake_s=60)
    async with native_server(METHODS, limits, tls=tls) as (_, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            assert await channel.unary_unary("/t/Echo")(b"x", timeout=20) == b"x"
        for reader, _ in silent[:24]:
            async with asyncio.timeout(20):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize("limits", [Limits(connections=3), Limits(connections_per_address=3)])
async def test_checks_are_answered_where_the_bound_of_connections_is_reached(
    limits: Limits,
) -> None:
    limits = replace(limits, reserved_connections=2, reserved_s=0.5)
    async with _attacked(limits) as (server, attacker):
        others = [await attacker.another() for _ in range(2)]
        assert await _stays(others[0])
        checker = await attacker.another()
        await checker.send(checker.call(1, b"?", path="/t/Check") + checker.call(3))
        assert (await checker.wait_for(frames.DATA, 1)).payload == message(b"?")
        refused = await checker.wait_for(frames.HEADERS, 3)
        assert refused.flags & frames.END_STREAM
        # Nor can the reserve be held.
        await checker.wait_closed()
        checker.close()
        idle = [await attacker.another() for _ in range(10)]
        checker = await attacker.another()
        await checker.send(checker.call(1, b"!", path="/t/Check"))
        assert (await checker.wait_for(frames.DATA, 1)).payload == message(b"!")
        assert len(server.connections) <= 6
        for each in (*others, *idle, checker):
            each.close()


async def test_streams_above_the_limit_are_refused() -> None:
    async with _attacked(Limits(streams=10)) as (server, attacker):
        await attacker.send(b"".join(attacker.call(2 * n + 1, path="/t/Wait") for n in range(11)))
        refused = await attacker.wait_for(frames.RST_STREAM)
        assert (refused.stream_id, refused.code) == (21, ErrorCode.REFUSED_STREAM)
        assert 10 <= server.ledger.streams.total <= 11


async def test_streams_of_one_address_are_bounded() -> None:
    limits = Limits(streams_per_address=10)
    async with native_server(METHODS, limits) as (server, port):
        peers = [await SocketPeer.connect(port) for _ in range(5)]
        for peer in peers:
            for number in range(4):
                await peer.send(peer.call(2 * number + 1, path="/t/Wait"))
            await peer.send(frames.ping(b"the last"))
            await peer.wait_for(frames.PING)
        assert server.ledger.streams.total == 10
        for peer in peers:
            peer.close()


async def test_a_burst_of_calls_lets_others_have_their_turn() -> None:
    """Bytes past a bound wait for the next turn of the loop, and all are answered."""
    async with _attacked(Limits(stranger_bytes_per_turn=80)) as (_server, attacker):
        await attacker.send(b"".join(attacker.call(2 * n + 1) for n in range(400)))
        await attacker.wait_for(frames.HEADERS, 799)
