"""The wake-up: who is woken by what, and what is read once for all."""

import asyncio

import pytest

from hub.contract.errors import RevisionCompacted, ShuttingDown
from hub.registry.segments import Interest
from hub.registry.state import Registry
from hub.service import change_feed
from hub.service.change_feed import ChangeFeed, Lag
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from tests.support.waiting import wait_until

NOW = 1_800_000_000_000
PLAIN, FREQUENT = Interest(), Interest(resources=True)
LONG_S = 600.0
# Far less than the wait itself, far more than a busy machine needs for a turn.
PROMPT_S = 30.0


@pytest.fixture
def registry() -> Registry:
    return Registry(first_revision=1000)


def report(registry: Registry) -> None:
    registry.report_resources("n", ReportResourcesRequest(cpu_percent=1), NOW)


async def start(feed: ChangeFeed, interest: Interest, after: int, timeout_s: float = LONG_S):
    waiting = len(feed)
    task = asyncio.create_task(feed.wait(interest, after, timeout_s))
    await wait_until(lambda: len(feed) > waiting)
    return task


async def test_an_event_wakes_every_watcher(registry: Registry) -> None:
    feed = ChangeFeed(registry)
    tasks = [await start(feed, interest, 1000) for interest in (PLAIN, FREQUENT)]
    registry.put_endpoint(Endpoint(id="a:1"))
    async with asyncio.timeout(PROMPT_S):
        await asyncio.gather(*tasks)
    assert len(feed) == 0
    feed.close()


async def test_reports_wake_only_interested_watchers(registry: Registry) -> None:
    feed = ChangeFeed(registry)
    plain = await start(feed, PLAIN, 1000)
    frequent = await start(feed, FREQUENT, 1000)
    report(registry)
    async with asyncio.timeout(PROMPT_S):
        await frequent
    assert not plain.done()
    feed.close()
    await plain


async def test_a_change_before_the_wait_ends_it_at_once(registry: Registry) -> None:
    feed = ChangeFeed(registry)
    registry.put_endpoint(Endpoint(id="a:1"))
    async with asyncio.timeout(PROMPT_S):
        await feed.wait(PLAIN, 1000, LONG_S)
        report(registry)
        await feed.wait(FREQUENT, 1001, LONG_S)
    feed.close()


async def test_a_storm_of_changes_is_one_wake_up(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakes = []
    wake = ChangeFeed._wake
    monkeypatch.setattr(
        ChangeFeed, "_wake", lambda self, concerns: (wakes.append(1), wake(self, concerns))
    )
    feed = ChangeFeed(registry)
    task = await start(feed, FREQUENT, 1000)
    before = len(wakes)
    for i in range(1000):
        registry.put_endpoint(Endpoint(id=f"a:{i}"))
        report(registry)
    async with asyncio.timeout(PROMPT_S):
        await task
    assert len(wakes) - before <= 2
    feed.close()


async def test_a_wait_ends_at_its_timeout(registry: Registry) -> None:
    feed = ChangeFeed(registry)
    async with asyncio.timeout(PROMPT_S):
        await feed.wait(PLAIN, 1000, 0.01)
    assert len(feed) == 0
    feed.close()


async def test_a_cancelled_waiter_leaves_nothing_behind(registry: Registry) -> None:
    feed = ChangeFeed(registry)
    task = await start(feed, PLAIN, 1000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(feed) == 0
    feed.close()


async def test_the_lag_is_that_of_the_slowest_watcher(registry: Registry) -> None:
    feed = ChangeFeed(registry)
    assert feed.lag() == Lag(0, 0.0)
    with feed.watching(PLAIN, 1000) as slow, feed.watching(PLAIN, 1000) as quick:
        registry.put_endpoint(Endpoint(id="a:1"))
        for _ in range(100):
            report(registry)
        registry.put_endpoint(Endpoint(id="a:2"))
        quick.revision = registry.revision
        quick.behind_since = None
        slow.behind_since -= 60
        # What no watcher need be sent is no event that it is behind.
        assert feed.lag().events == 2
        assert 60 <= feed.lag().seconds < 60 + PROMPT_S
        slow.revision = 1001
        assert feed.lag().events == 1
    assert feed.lag() == Lag(0, 0.0)
    feed.close()


async def test_a_waiting_watcher_is_not_behind_and_a_woken_one_is(registry: Registry) -> None:
    feed = ChangeFeed(registry)
    with feed.watching(PLAIN, 1000) as watcher:
        assert watcher.behind_since is not None
        waiting = asyncio.create_task(watcher.wait(LONG_S))
        await wait_until(lambda: len(feed) == 1)
        assert feed.lag() == Lag(0, 0.0)
        registry.put_endpoint(Endpoint(id="a:1"))
        async with asyncio.timeout(PROMPT_S):
            await waiting
        assert feed.lag().events == 1
        assert watcher.behind_since is not None
    feed.close()


async def test_equal_watchers_share_a_read(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    changes = change_feed.changes
    monkeypatch.setattr(change_feed, "changes", lambda *given: calls.append(1) or changes(*given))
    feed = ChangeFeed(registry)
    registry.put_endpoint(Endpoint(id="a:1"))
    first = feed.read(PLAIN, 1000)
    assert all(feed.read(Interest(), 1000) is first for _ in range(100))
    assert len(calls) == 1
    registry.put_endpoint(Endpoint(id="a:2"))
    assert feed.read(PLAIN, 1000) != first
    for after in range(1000, 1002):
        for interest in (PLAIN, FREQUENT):
            feed.read(interest, after)
    assert len(feed._segments) <= 16


async def test_a_closed_feed_ends_current_and_later_watches(registry: Registry) -> None:
    feed = ChangeFeed(registry)
    task = await start(feed, PLAIN, 1000)
    feed.close()
    async with asyncio.timeout(PROMPT_S):
        await task
        await feed.wait(PLAIN, 1000, LONG_S)
    with pytest.raises(ShuttingDown):
        feed.read(PLAIN, 1000)


async def test_a_revision_older_than_the_ring_is_compacted() -> None:
    small = Registry(first_revision=1000, ring_capacity=1)
    feed = ChangeFeed(small)
    for _ in range(2):
        small.put_endpoint(Endpoint(id="a:1"))
    with feed.watching(PLAIN, 1000) as watcher:
        with pytest.raises(RevisionCompacted) as error:
            watcher.read()
        assert error.value.metadata == {
            "after_revision": "1000",
            "first_revision": "1000",
            "floor": "1001",
            "revision": "1002",
        }
        watcher.revision = 1001
        assert watcher.read().revision == 1002
    feed.close()
