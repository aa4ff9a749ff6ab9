import asyncio

import pytest

from hub.transports.grpc.native.accounts import Ledger
from hub.transports.grpc.native.call_head import call_head
from hub.transports.grpc.native.events import RequestReceived
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.stream_call import StreamCall
from tests.support.http2_peer import Peer, message
from tests.support.native_server import call_context


def begun(peer: Peer) -> StreamCall:
    (event,) = peer.send(peer.headers(1))
    assert isinstance(event, RequestReceived)
    context = call_context(peer.core, Ledger(Limits()), max_message_bytes=100_000, high_water=1_000)
    return StreamCall(context, event.stream, call_head(event.headers, event.request))


async def test_a_handler_reads_messages_until_the_client_ends() -> None:
    peer = Peer()
    call = begun(peer)
    reading = asyncio.ensure_future(anext(call))
    await asyncio.sleep(0)
    assert not reading.done()
    call.receive(message(b"one"), ended=False)
    call.on_arrival()
    assert await reading == b"one"
    call.receive(b"", ended=True)
    with pytest.raises(StopAsyncIteration):
        await anext(call)


async def test_a_handler_waits_for_a_client_that_does_not_read() -> None:
    peer = Peer(settings={4: 0})
    call = begun(peer)
    sending = asyncio.ensure_future(call.send(bytes(2_000)))
    await asyncio.sleep(0)
    assert not sending.done()
    call.on_drained()
    await sending


async def test_small_messages_do_not_wait() -> None:
    call = begun(Peer(settings={4: 0}))
    await call.send(bytes(100))


async def test_a_call_that_is_over_neither_sends_nor_receives() -> None:
    call = begun(Peer())
    call.abandon()
    with pytest.raises(asyncio.CancelledError):
        await call.send(b"")
    with pytest.raises(StopAsyncIteration):
        await anext(call)
