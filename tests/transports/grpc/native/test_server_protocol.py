"""What the shell does with a socket; time limits and attacks are in test_attacks.py."""

import asyncio

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.accounts import Ledger
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.message_framing import FramedOnce
from hub.transports.grpc.native.method import UnaryMethod
from hub.transports.grpc.native.open_connections import Connections
from hub.transports.grpc.native.server_protocol import ServerProtocol, Shared
from tests.support.http2_peer import Builder, cut, message


class Transport(asyncio.Transport):
    """A socket that remembers what was written."""

    def __init__(self, peer: str = "192.0.2.1") -> None:
        super().__init__({"peername": (peer, 1)})
        self.writes: list[bytes] = []
        self.waiting = 0
        self.reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def connected(limits: Limits | None = None) -> tuple[ServerProtocol, Transport, Shared, Builder]:
    limits = limits or Limits()
    methods = {"/t/Echo": UnaryMethod(lambda _call, body: body)}
    shared = Shared(methods, limits, Ledger(limits), FramedOnce(), Connections(limits))
    protocol, transport, builder = ServerProtocol(shared), Transport(), Builder()
    protocol.connection_made(transport)
    protocol.data_received(builder.hello())
    transport.writes.clear()
    return protocol, transport, shared, builder


async def test_the_answers_to_what_arrived_are_one_write() -> None:
    protocol, transport, _, builder = connected()
    protocol.data_received(b"".join(builder.call(2 * n + 1, b"x") for n in range(20)))
    (written,) = transport.writes
    assert sum(frame.kind == frames.DATA for frame in cut(written)) == 20


async def test_a_socket_that_is_full_stops_answers_and_reading() -> None:
    protocol, transport, shared, builder = connected()
    protocol.pause_writing()
    assert not transport.reading
    protocol.data_received(builder.call(1, b"x"))
    assert not any(one.kind == frames.DATA for one in cut(b"".join(transport.writes)))
    assert shared.ledger.unsent.total
    protocol.resume_writing()
    await asyncio.sleep(0)
    assert transport.reading
    assert any(one.kind == frames.DATA for one in cut(b"".join(transport.writes)))
    assert not shared.ledger.unsent.total


async def test_a_lost_connection_leaves_nothing_behind() -> None:
    protocol, _, shared, builder = connected()
    protocol.data_received(builder.headers(1))
    assert (shared.ledger.streams.total, len(shared.connections)) == (1, 1)
    protocol.connection_lost(None)
    assert (shared.ledger.streams.total, len(shared.connections)) == (0, 0)
    assert not shared.connections.open


async def test_a_fault_is_the_last_word() -> None:
    protocol, transport, _, builder = connected()
    protocol.data_received(builder.call(1) + frames.frame(frames.PUSH_PROMISE, 0, 1))
    last = list(cut(b"".join(transport.writes)))[-1]
    assert (last.kind, last.code) == (frames.GOAWAY, ErrorCode.PROTOCOL_ERROR)
    transport.writes.clear()
    protocol.data_received(builder.call(3))
    assert not transport.writes
    assert not transport.reading


async def test_calls_above_a_bound_wait_for_the_next_turn() -> None:
    protocol, transport, _, builder = connected(Limits(stranger_bytes_per_turn=300))
    protocol.data_received(b"".join(builder.call(2 * n + 1, b"x") for n in range(15)))
    assert len(transport.writes) == 1
    assert not transport.reading
    # TLS may hand over what it had decrypted before.
    protocol.data_received(builder.call(31, b"x"))
    for _ in range(5):
        await asyncio.sleep(0)
    answered = sum(frame.kind == frames.DATA for frame in cut(b"".join(transport.writes)))
    assert (answered, transport.reading) == (16, True)


async def test_what_follows_a_fault_in_a_later_turn_is_not_handled() -> None:
    protocol, transport, _, builder = connected(Limits(stranger_bytes_per_turn=100))
    fault = frames.frame(frames.PUSH_PROMISE, 0, 1)
    protocol.data_received(builder.call(1) + fault + builder.call(3) * 20)
    for _ in range(5):
        await asyncio.sleep(0)
    last = list(cut(b"".join(transport.writes)))[-1]
    assert (last.kind, last.code) == (frames.GOAWAY, ErrorCode.PROTOCOL_ERROR)
    assert sum(frame.kind == frames.DATA for frame in cut(b"".join(transport.writes))) <= 1


async def test_draining_ends_the_connection_with_its_last_call() -> None:
    protocol, transport, _, builder = connected()
    protocol.data_received(builder.headers(1))
    protocol.drain()
    protocol.data_received(frames.ping(b"llmhub-d", ack=True))
    assert not transport.closed
    protocol.data_received(frames.rst_stream(1, 8))
    assert transport.closed


async def test_a_client_that_goes_away_is_let_go_after_its_last_call() -> None:
    protocol, transport, _, builder = connected()
    protocol.data_received(builder.headers(1) + frames.goaway(0, 0))
    assert not transport.closed
    protocol.data_received(builder.data(1, message(b"x")))
    assert transport.closed
    assert any(frame.kind == frames.DATA for frame in cut(b"".join(transport.writes)))
