import asyncio

import grpc
import pytest

from hub.base.clock import Alarm, ManualClock, SystemClock
from hub.contract import rpcs
from hub.contract.errors import InvalidToken
from hub.service.access.caller import Principal
from hub.service.live_streams import LiveStreams
from llmhub.v1.admin_service_pb2 import RevokeTokenRequest
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest, WatchRegistryResponse
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import failure, running_hub

READER = Principal(ROLE_READER, "", "t1")


class Replies:
    """A handler's stream: two replies, then silence; it remembers that it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def run(self):
        try:
            yield 1
            yield 2
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_a_waiting_stream_ends_when_its_token_is_revoked():
    live, replies = LiveStreams(ManualClock()), Replies()
    guarded = live.guard(READER, replies.run())
    assert [await anext(guarded), await anext(guarded)] == [1, 2]
    waiting = asyncio.ensure_future(anext(guarded))
    await asyncio.sleep(0)
    live.close_token("another")
    live.close_token("t1")
    async with asyncio.timeout(10):
        with pytest.raises(InvalidToken):
            await waiting
    assert replies.closed
    assert live._by_token == {}


async def test_a_sending_stream_ends_after_the_current_reply():
    live, replies = LiveStreams(ManualClock()), Replies()
    guarded = live.guard(READER, replies.run())
    assert await anext(guarded) == 1
    live.close_token("t1")
    with pytest.raises(InvalidToken):
        await anext(guarded)
    assert replies.closed


async def test_a_stream_ends_when_its_token_expires():
    clock = SystemClock()
    principal = Principal(ROLE_READER, "", "t1", clock.now_ms() + 30)
    guarded = LiveStreams(clock).guard(principal, Replies().run())
    async with asyncio.timeout(10):
        with pytest.raises(InvalidToken):
            async for _ in guarded:
                pass
    assert clock.now_ms() >= principal.expires_at_ms


async def test_a_streams_end_and_errors_are_passed_on():
    async def one_then(error: Exception | None):
        yield 1
        if error is not None:
            raise error

    live = LiveStreams(ManualClock())
    assert [each async for each in live.guard(READER, one_then(None))] == [1]
    with pytest.raises(TimeoutError, match="its own"):
        assert [each async for each in live.guard(READER, one_then(TimeoutError("its own")))]
    assert live._by_token == {}


async def test_a_waiting_call_can_be_cancelled():
    live, replies = LiveStreams(ManualClock()), Replies()
    guarded = live.guard(READER, replies.run())
    await anext(guarded), await anext(guarded)
    waiting = asyncio.ensure_future(anext(guarded))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (replies.closed, live._by_token) == (True, {})


async def test_a_stream_whose_token_and_time_end_at_once_ends_in_time():
    live, replies = LiveStreams(ManualClock()), Replies()
    guarded = live.guard(READER, replies.run())
    await anext(guarded), await anext(guarded)

    async def next_in_no_time() -> None:
        async with asyncio.timeout(0):
            await anext(guarded)

    asyncio.get_running_loop().call_soon(live.close_token, "t1")
    with pytest.raises(TimeoutError):
        await next_in_no_time()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    assert (replies.closed, live._by_token) == (True, {})


async def test_a_task_goes_on_after_the_end_of_its_stream():
    live = LiveStreams(ManualClock())
    guarded = live.guard(READER, Replies().run())
    await anext(guarded), await anext(guarded)
    asyncio.get_running_loop().call_soon(live.close_token, "t1")
    asyncio.get_running_loop().call_soon(live.close_token, "t1")
    with pytest.raises(InvalidToken):
        await anext(guarded)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)


async def test_an_alarm_goes_by_the_hubs_clock():
    clock, rung = ManualClock(), asyncio.Event()
    alarm = Alarm(clock, clock.now_ms(), rung.set)
    async with asyncio.timeout(10):
        await rung.wait()
    rung.clear()
    alarm = Alarm(clock, clock.now_ms() + 1, rung.set)
    # The loop's time is over, the hub's is not: it waits on.
    alarm._check()
    assert not rung.is_set()
    clock.advance(1)
    alarm._check()
    assert rung.is_set()
    alarm.cancel()


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_watch_ends_with_its_token(tmp_path, how):
    async with running_hub(tmp_path) as hub:
        created = await hub.created_token(ROLE_READER, ttl_s=1 if how == "expired" else None)
        watch = hub.channel.unary_stream(
            rpcs.rpc("WatchRegistry").path,
            request_serializer=WatchRegistryRequest.SerializeToString,
            response_deserializer=WatchRegistryResponse.FromString,
        )(WatchRegistryRequest(), metadata=hub.metadata(created.token))
        async with asyncio.timeout(10):
            assert (await watch.read()).revision
            if how == "revoked":
                await hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
            try:
                while await watch.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                reported = failure(error)
        assert (reported.code, reported.reason) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "INVALID_TOKEN",
        )
