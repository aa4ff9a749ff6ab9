import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import pytest
from aetcd import rpc

from hub.stores.etcd import EtcdStore
from hub.stores.store import Contents, Delete, Expect, PreconditionFailed, Put, StoreError
from tests.support.etcd import EtcdServer
from tests.support.ports import lasting_address
from tests.support.stores import Feed, answering
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")


class AwaitedFeed(Feed):
    """A feed that lets a test wait for a key."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def __call__(self, change: object) -> None:
        super().__call__(change)  # type: ignore[arg-type]
        self._news.set()

    async def until(self, key: str) -> None:
        async with asyncio.timeout(30):
            while key not in {entry.key for change in self.changes for entry in change.puts}:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def server() -> Iterator[EtcdServer]:
    server = EtcdServer()
    yield server
    server.remove()


@pytest.fixture
async def pair(server: EtcdServer) -> AsyncIterator[tuple[EtcdStore, EtcdStore]]:
    """Two hubs on one cluster."""
    await answering(server.target)
    stores = EtcdStore(server.target, timeout_s=30), EtcdStore(server.target, timeout_s=30)
    yield stores
    for store in stores:
        await store.close()


async def opened(store: EtcdStore) -> tuple[AwaitedFeed, Contents]:
    feed = AwaitedFeed()
    return feed, await store.open(feed)


async def test_two_hubs_see_the_same_changes(pair: tuple[EtcdStore, EtcdStore]) -> None:
    one, two = pair
    (feed_one, _), (feed_two, _) = await opened(one), await opened(two)
    await asyncio.gather(
        *(one.commit([Put(f"one/{i}", b"1")]) for i in range(50)),
        *(two.commit([Put(f"two/{i}", b"2")]) for i in range(50)),
    )
    await one.commit([Delete("two/3"), Put("end", b"")])
    await feed_two.until("end")
    assert feed_one.changes == feed_two.changes
    assert len(feed_one.changes) == 101


async def test_a_revision_of_one_hub_is_a_precondition_of_the_other(
    pair: tuple[EtcdStore, EtcdStore],
) -> None:
    one, two = pair
    await opened(one)
    await opened(two)
    revision = await one.commit([Put("a", b"1")])
    await two.commit([Put("a", b"2")], [Expect("a", revision)])
    with pytest.raises(PreconditionFailed):
        await one.commit([Put("a", b"3")], [Expect("a", revision)])


async def test_incarnations_of_two_hubs_differ(pair: tuple[EtcdStore, EtcdStore]) -> None:
    one, two = pair
    await opened(one)
    await opened(two)
    numbers = await asyncio.gather(*(store.next_incarnation(1) for store in pair * 10))
    assert len(set(numbers)) == 20


async def test_keys_of_other_programs_are_left_alone(server: EtcdServer) -> None:
    await answering(server.target)
    stores = [EtcdStore(server.target, prefix=prefix) for prefix in ("a/", "a/b/", "a0")]
    feeds = [await opened(store) for store in stores]
    for i, store in enumerate(stores):
        await store.commit([Put("k", b"%d" % i)])
    for i, (store, (feed, _)) in enumerate(zip(stores, feeds, strict=True)):
        assert [entry.value for change in feed.changes for entry in change.puts] == [b"%d" % i]
        await store.close()


async def test_reading_more_keys_than_fit_into_a_page(pair: tuple[EtcdStore, EtcdStore]) -> None:
    one, two = pair
    await opened(one)
    await asyncio.gather(
        *(one.commit([Put(f"k/{i}/{j}", b"") for j in range(100)]) for i in range(25))
    )
    _, contents = await opened(two)
    assert len(contents.entries) == 2500
    assert len({entry.key for entry in contents.entries}) == 2500


async def test_the_watch_survives_a_killed_etcd_without_a_gap(
    server: EtcdServer, pair: tuple[EtcdStore, EtcdStore]
) -> None:
    one, two = pair
    await opened(one)
    feed, _ = await opened(two)
    await one.commit([Put("before", b"")])
    await feed.until("before")
    await asyncio.to_thread(server.kill)
    with pytest.raises(StoreError, match="etcd at"):
        await one.commit([Put("lost", b"")])
    await asyncio.to_thread(server.start)
    await answering(server.target)
    # This is written before either watch has to be back.
    async with grpc.aio.insecure_channel(server.target) as channel:
        await rpc.KVStub(channel).Put(rpc.PutRequest(key=b"llmhub/data/between"))
    await feed.until("between")
    await one.commit([Put("after", b"")])
    await feed.until("after")
    keys = [entry.key for change in feed.changes for entry in change.puts if entry.key != "lost"]
    assert keys == ["before", "between", "after"]


async def test_after_a_compaction_the_difference_is_delivered(
    server: EtcdServer, pair: tuple[EtcdStore, EtcdStore]
) -> None:
    one, _ = pair
    feed, _ = await opened(one)
    await one.commit([Put("kept", b""), Put("removed", b""), Put("changed", b"1")])
    # The watch must miss the next changes, as if its stream had been down for a long time.
    assert one._watcher is not None
    one._watcher.cancel()
    await asyncio.wait([one._watcher])
    async with grpc.aio.insecure_channel(server.target) as channel:
        kv = rpc.KVStub(channel)
        await kv.DeleteRange(rpc.DeleteRangeRequest(key=b"llmhub/data/removed"))
        await kv.Put(rpc.PutRequest(key=b"llmhub/data/changed", value=b"2"))
        last = await kv.Put(rpc.PutRequest(key=b"llmhub/data/new"))
        await kv.Compact(rpc.CompactionRequest(revision=last.header.revision, physical=True))
    one._watcher = asyncio.create_task(one._watch(feed))
    await feed.until("new")
    assert len(feed.changes) == 2
    difference = feed.changes[1]
    assert {entry.key for entry in difference.puts} == {"changed", "new"}
    assert difference.deletes == ("removed",)
    assert await one.commit([Put("on", b"")]) == feed.changes[2].revision


async def test_a_damaged_incarnation_is_named_in_the_error(server: EtcdServer) -> None:
    await answering(server.target)
    store = EtcdStore(server.target)
    await store.open(Feed())
    async with grpc.aio.insecure_channel(server.target) as channel:
        await rpc.KVStub(channel).Put(rpc.PutRequest(key=b"llmhub/incarnation", value=b"x"))
    with pytest.raises(StoreError, match="llmhub/incarnation"):
        await store.next_incarnation(1)
    await store.close()


async def test_an_unreachable_server_is_an_error() -> None:
    store = EtcdStore(lasting_address(), timeout_s=5)
    with pytest.raises(StoreError, match="check that it is running"):
        await store.open(Feed())
    with pytest.raises(StoreError, match="not open"):
        await store.commit([Put("a", b"")])
    await store.close()


async def test_a_batch_that_is_too_large_is_refused_with_advice(
    pair: tuple[EtcdStore, EtcdStore],
) -> None:
    one, _ = pair
    await opened(one)
    with pytest.raises(StoreError, match="limits"):
        await one.commit([Put(f"k/{i}", b"") for i in range(500)])
    with pytest.raises(StoreError, match="too large"):
        await one.commit([Put("k", bytes(3_000_000))])
    await one.commit([Put("k", b"")])


async def test_an_overloaded_store_refuses_commits(server: EtcdServer) -> None:
    await answering(server.target)
    store = EtcdStore(server.target, max_waiting=5)
    await store.open(Feed())
    tasks = [asyncio.ensure_future(store.commit([Put(f"k/{i}", b"")])) for i in range(6)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, int) for outcome in outcomes] == [True] * 5 + [False]
    assert "overloaded" in str(outcomes[5])
    await store.close()


@pytest.mark.parametrize("win", [Put("a", b"2"), Delete("a")], ids=["written", "deleted"])
async def test_the_losing_writer_has_received_the_winning_write(
    pair: tuple[EtcdStore, EtcdStore], win: Put | Delete
) -> None:
    one, two = pair
    feed, _ = await opened(one)
    await opened(two)
    revision = await one.commit([Put("a", b"1")])
    assert one._watcher is not None
    one._watcher.cancel()
    await asyncio.wait([one._watcher])
    await two.commit([win])
    losing = asyncio.create_task(one.commit([Put("a", b"3")], [Expect("a", revision)]))
    await wait_until(lambda: one._arrivals or losing.done())
    assert len(feed.changes) == 1
    one._watcher = asyncio.create_task(one._watch(feed))
    with pytest.raises(PreconditionFailed):
        await losing
    assert len(feed.changes) == 2
    assert feed.replayed().keys() == ({"a"} if isinstance(win, Put) else set())


async def test_a_store_reports_how_long_it_has_been_disconnected(
    server: EtcdServer, pair: tuple[EtcdStore, EtcdStore]
) -> None:
    one, _ = pair
    await opened(one)
    await one.commit([Put("a", b"")])
    assert one.out_of_touch_s == 0
    await asyncio.to_thread(server.kill)
    await wait_until(lambda: one.out_of_touch_s > 0, timeout_s=30)
    await asyncio.to_thread(server.start)
    await wait_until(lambda: one.out_of_touch_s == 0, timeout_s=30)


async def test_a_failed_watch_is_reported(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unforeseen(*_: object) -> bool:
        raise ValueError("unforeseen")

    await answering(server.target)
    monkeypatch.setattr(EtcdStore, "_watch_stream", unforeseen)
    died = asyncio.Event()
    store = EtcdStore(server.target, on_failure=died.set)
    await store.open(Feed())
    await asyncio.wait_for(died.wait(), 10)
    await store.close()
