"""`Stop` and `Worker` of asyncio; the tests of a real hub's watches cover streams."""

import asyncio

from hub.client._async_runtime import Flag, Stop, Worker


async def test_a_wait_ends_when_the_flag_is_set_or_after_its_timeout() -> None:
    flag = Flag()
    assert not await flag.wait(0.001)
    waiting = asyncio.create_task(flag.wait(60))
    await asyncio.sleep(0)
    flag.set()
    assert await waiting
    assert flag.is_set()


async def test_a_stop_cancels_all_its_parts() -> None:
    whole, part, later = Stop(), Stop(), Stop()
    whole.add(part)
    whole.cancel()
    assert part.is_set()
    whole.add(later)
    assert later.is_set(), "a part that is added too late is stopped at once"
    other = Stop()
    other.add(whole)
    assert not other.is_set()


async def test_join_waits_for_a_worker() -> None:
    stop, ended = Stop(), []

    async def work() -> None:
        await stop.wait(60)
        ended.append(True)

    worker = Worker(work, "test")
    stop.cancel()
    await worker.join()
    assert ended == [True]
