"""Calls over a core without sockets; the loop runs only where a handler waits."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable

import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.accounts import Ledger, Share
from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.call_runner import CallRunner
from hub.transports.grpc.native.call_status import CallFailed
from hub.transports.grpc.native.events import DataReceived, RequestReceived, StreamEnded
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.method import Method, StreamMethod, UnaryMethod
from hub.transports.grpc.native.stream_call import StreamCall
from tests.support.http2_peer import REQUEST, Peer, message, request_with
from tests.support.native_server import call_context
from tests.support.waiting import wait_until


class Rig(Peer):
    """A peer whose calls are run."""

    def __init__(self, methods: dict[str, Method], limits: Limits | None = None) -> None:
        limits = limits or Limits()
        super().__init__(limits)
        self.ledger = Ledger(limits)
        context = call_context(self.core, self.ledger, max_message_bytes=1_000, high_water=1_000)
        self.runner = CallRunner(context, methods, limits, Share(self.ledger, "192.0.2.1"))

    def play(self, data: bytes) -> None:
        for event in self.send(data):
            match event:
                case RequestReceived():
                    self.runner.on_request(event)
                case DataReceived():
                    self.runner.on_data(event)
                case StreamEnded():
                    self.runner.on_stream_ended(event)
        self.runner.end_turn()

    def statuses(self) -> list[str]:
        heads = [self.fields(one) for one in self.received() if one.kind == frames.HEADERS]
        return [each["grpc-status"] for each in heads if "grpc-status" in each]


def echo(_call: Call, body: bytes) -> bytes:
    return body


async def forever(_call: Call, _body: bytes) -> bytes:
    await asyncio.Event().wait()
    return b""


async def stream(_call: StreamCall) -> AsyncGenerator[bytes, None]:
    yield b"x"
    await asyncio.Event().wait()


async def test_a_call_that_does_not_wait_starts_no_task() -> None:
    rig = Rig({"/t/Echo": UnaryMethod(echo)})
    before = asyncio.all_tasks()
    rig.play(rig.call(1, b"hello"))
    assert asyncio.all_tasks() == before
    assert rig.statuses() == ["0"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (lambda rig: rig.call(1, path="/none"), "12"),
        (lambda rig: rig.headers(1, end=True), "3"),
        (lambda rig: rig.headers(1) + rig.data(1, message(b"a") * 2), "12"),
        (lambda rig: rig.headers(1) + rig.data(1, message(b"ab")[:6]), "3"),
        (lambda rig: rig.headers(1) + rig.data(1, b"\0\0\1\0\0", end=False), "8"),
        (lambda rig: rig.headers(1, (*REQUEST, ("grpc-timeout", "x"))), "13"),
    ],
)
async def test_calls_that_cannot_be_answered_fail(sent, status: str) -> None:
    rig = Rig({"/t/Echo": UnaryMethod(echo)})
    rig.play(sent(rig))
    assert rig.statuses() == [status]
    assert not rig.ledger.received.total


async def test_a_handler_is_cancelled_with_its_call() -> None:
    before = asyncio.all_tasks()
    rig = Rig({"/t/Echo": UnaryMethod(forever), "/t/S": StreamMethod(stream)})
    rig.play(rig.call(1) + rig.headers(3, request_with(path="/t/S")))
    await asyncio.sleep(0)
    assert rig.ledger.calls.total == 2
    rig.play(frames.rst_stream(1, 8) + frames.rst_stream(3, 8))
    assert rig.ledger.calls.total == 0
    await wait_until(lambda: asyncio.all_tasks() == before)


async def test_running_calls_are_bounded_except_checks() -> None:
    methods: dict[str, Method] = {
        "/t/Wait": UnaryMethod(forever),
        "/t/Echo": UnaryMethod(echo),
        "/t/Check": UnaryMethod(echo, always=True),
    }
    rig = Rig(methods, Limits(calls_per_address=1))
    rig.play(rig.call(1, path="/t/Wait"))
    rig.play(rig.call(3, path="/t/Echo") + rig.call(5, path="/t/Check"))
    assert rig.statuses() == ["8", "0"]
    # A check that does not come whole takes room like any other call.
    rig.play(rig.headers(7, request_with(path="/t/Check")))
    assert rig.statuses() == ["8"]
    rig.runner.close()


async def test_a_late_handler_waits_for_its_message() -> None:
    seen = []

    async def late(_call: Call, body: Awaitable[bytes]) -> bytes:
        seen.append("called")
        return await body

    rig = Rig({"/t/Echo": UnaryMethod(echo, late)})
    rig.play(rig.headers(1))
    await asyncio.sleep(0)
    assert seen == ["called"]
    rig.play(rig.data(1, message(b"at last")))
    for _ in range(3):
        await asyncio.sleep(0)
    assert rig.statuses() == ["0"]


async def test_a_message_that_never_arrives_ends_its_call() -> None:
    rig = Rig({"/t/Echo": UnaryMethod(echo)}, Limits(half_open_s=10))
    rig.play(rig.headers(1))
    rig.runner.expire(rig.now + 9)
    assert rig.statuses() == []
    rig.runner.expire(rig.now + 11)
    assert rig.statuses() == ["3"]


async def test_a_failing_handler_does_not_affect_other_calls() -> None:
    def fail(_call: Call, body: bytes) -> bytes:
        if body == b"known":
            raise CallFailed(9, "no")
        raise ZeroDivisionError

    rig = Rig({"/t/Echo": UnaryMethod(fail)})
    rig.play(rig.call(1, b"known") + rig.call(3, b"unknown"))
    assert rig.statuses() == ["9", "2"]


async def test_requests_that_are_not_grpc_get_an_http_response() -> None:
    rig = Rig({})
    rig.play(rig.headers(1, (*REQUEST[:4], ("content-type", "text/html"))))
    assert rig.received() == []
    rig.play(rig.data(1, b"body"))
    head, text, _ = rig.received()
    assert rig.fields(head)[":status"] == "415"
    assert b"application/grpc" in text.payload
