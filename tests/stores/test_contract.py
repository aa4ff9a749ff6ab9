"""What every store must do, whatever its engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hub.stores.store import (
    Change,
    Contents,
    Delete,
    Entry,
    Expect,
    PreconditionFailed,
    Put,
    Store,
    StoreError,
)
from tests.support.stores import ENGINES, Feed

NewStore = Callable[[], Store]


@pytest.fixture(params=sorted(ENGINES))
async def new_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[], Store]]:
    """Makes stores on the same data, and closes those that a test left open."""
    made: list[Store] = []
    async with ENGINES[request.param](tmp_path) as factory:

        def make() -> Store:
            made.append(factory())
            return made[-1]

        yield make
        for store in made:
            await store.close()


@pytest.fixture
async def opened(new_store: NewStore) -> tuple[Store, Feed, Contents]:
    store, feed = new_store(), Feed()
    return store, feed, await store.open(feed)


async def reopen(store: Store, new_store: NewStore) -> tuple[Store, Feed, Contents]:
    await store.close()
    again, feed = new_store(), Feed()
    return again, feed, await again.open(feed)


async def test_a_new_store_is_empty(opened: tuple[Store, Feed, Contents]) -> None:
    store, feed, contents = opened
    assert contents.entries == ()
    assert feed.changes == []
    assert store.kind in ENGINES


async def test_revisions_increase_and_the_feed_has_every_change_once(
    opened: tuple[Store, Feed, Contents],
) -> None:
    store, feed, contents = opened
    revisions = [await store.commit([Put(f"k/{i}", b"%d" % i)]) for i in range(10)]
    assert revisions == sorted(set(revisions))
    assert revisions[0] > contents.revision
    assert feed.changes == [
        Change(revision, (Entry(f"k/{i}", b"%d" % i, revision),), ())
        for i, revision in enumerate(revisions)
    ]


async def test_the_listener_is_called_before_commit_returns(
    opened: tuple[Store, Feed, Contents],
) -> None:
    store, feed, _ = opened

    async def write(i: int) -> bool:
        revision = await store.commit([Put(f"k/{i}", b"")])
        return revision in {change.revision for change in feed.changes}

    assert all(await asyncio.gather(*(write(i) for i in range(50))))


async def test_a_reopened_store_has_everything(
    opened: tuple[Store, Feed, Contents], new_store: NewStore
) -> None:
    store, feed, _ = opened
    await store.commit([Put("a", b"1"), Put("b", b"2")])
    await store.commit([Put("c", bytes(range(256)))])
    await store.commit([Put("a", b""), Delete("b")])
    again, _, contents = await reopen(store, new_store)
    assert feed.replayed() == {entry.key: entry for entry in contents.entries}
    assert [entry.key for entry in contents.entries] == ["a", "c"]
    assert contents.revision >= feed.changes[-1].revision
    assert await again.commit([Put("d", b"")]) > contents.revision


async def test_keys_and_values_may_contain_any_characters_and_bytes(
    opened: tuple[Store, Feed, Contents], new_store: NewStore
) -> None:
    store, _, _ = opened
    keys = ["endpoints/[::1]:11434", "grün/日本", "a'b\"c;--", " ", "%_", "x" * 1000]
    big = bytes(range(256)) * 256
    await store.commit([Put(key, big) for key in keys])
    _, _, contents = await reopen(store, new_store)
    assert {entry.key: entry.value for entry in contents.entries} == dict.fromkeys(keys, big)


async def test_a_batch_is_one_change(opened: tuple[Store, Feed, Contents]) -> None:
    store, feed, _ = opened
    await store.commit([Put("old", b"")])
    revision = await store.commit([Put("a", b"1"), Delete("old"), Put("b", b"2")])
    change = feed.changes[-1]
    assert change.revision == revision
    assert set(change.puts) == {Entry("a", b"1", revision), Entry("b", b"2", revision)}
    assert change.deletes == ("old",)


async def test_deleting_a_missing_key_changes_nothing(
    opened: tuple[Store, Feed, Contents], new_store: NewStore
) -> None:
    store, feed, _ = opened
    await store.commit([Put("a", b"1")])
    await store.commit([Delete("nothing"), Delete("nowhere")])
    assert all(not change.deletes for change in feed.changes)
    _, _, contents = await reopen(store, new_store)
    assert [entry.key for entry in contents.entries] == ["a"]


async def test_expecting_an_absent_key(opened: tuple[Store, Feed, Contents]) -> None:
    store, feed, _ = opened
    await store.commit([Put("a", b"1")], [Expect("a", 0)])
    with pytest.raises(PreconditionFailed) as failure:
        await store.commit([Put("a", b"2")], [Expect("a", 0)])
    assert failure.value.key == "a"
    assert feed.replayed()["a"].value == b"1"
    await store.commit([Delete("a")])
    await store.commit([Put("a", b"3")], [Expect("a", 0)])


async def test_expecting_an_exact_revision(opened: tuple[Store, Feed, Contents]) -> None:
    store, feed, _ = opened
    first = await store.commit([Put("a", b"1")])
    second = await store.commit([Put("a", b"2")], [Expect("a", first)])
    for stale in (first, second + 1, 0):
        with pytest.raises(PreconditionFailed):
            await store.commit([Put("a", b"x")], [Expect("a", stale)])
    await store.commit([Delete("a")], [Expect("a", second)])
    with pytest.raises(PreconditionFailed):
        await store.commit([Put("a", b"x")], [Expect("a", second)])
    assert feed.replayed() == {}


async def test_a_batch_with_a_failed_precondition_writes_nothing(
    opened: tuple[Store, Feed, Contents], new_store: NewStore
) -> None:
    store, feed, _ = opened
    revision = await store.commit([Put("a", b"1"), Put("b", b"1")])
    with pytest.raises(PreconditionFailed):
        await store.commit(
            [Put("c", b"2"), Delete("b")], [Expect("a", revision), Expect("b", revision + 7)]
        )
    assert len(feed.changes) == 1
    _, _, contents = await reopen(store, new_store)
    assert [entry.key for entry in contents.entries] == ["a", "b"]


async def test_one_of_many_racing_writers_wins(opened: tuple[Store, Feed, Contents]) -> None:
    store, feed, _ = opened
    outcomes = await asyncio.gather(
        *(store.commit([Put("a", b"%d" % i)], [Expect("a", 0)]) for i in range(64)),
        return_exceptions=True,
    )
    won = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, int)]
    assert len(won) == 1
    assert sum(isinstance(outcome, PreconditionFailed) for outcome in outcomes) == 63
    assert feed.replayed()["a"].value == b"%d" % won[0]


async def test_a_thousand_concurrent_commits(
    opened: tuple[Store, Feed, Contents], new_store: NewStore
) -> None:
    store, feed, _ = opened
    revisions = await asyncio.gather(
        *(store.commit([Put(f"k/{i % 400}", b"%d" % i)]) for i in range(1000))
    )
    assert len(set(revisions)) == 1000
    assert [change.revision for change in feed.changes] == sorted(revisions)
    _, _, contents = await reopen(store, new_store)
    assert feed.replayed() == {entry.key: entry for entry in contents.entries}
    assert len(contents.entries) == 400


async def test_a_cancelled_commit_is_all_or_nothing_and_still_reaches_the_feed(
    opened: tuple[Store, Feed, Contents], new_store: NewStore
) -> None:
    store, feed, _ = opened
    tasks = [
        asyncio.ensure_future(store.commit([Put(f"a/{i}", b""), Put(f"b/{i}", b"")]))
        for i in range(20)
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, int) for outcome in outcomes] == [False, True] * 10
    _, _, contents = await reopen(store, new_store)
    keys = {entry.key for entry in contents.entries}
    assert {key[2:] for key in keys if key[0] == "a"} == {key[2:] for key in keys if key[0] == "b"}
    assert feed.replayed() == {entry.key: entry for entry in contents.entries}


@pytest.mark.parametrize(
    "operations", [[], [Put("a", b""), Put("a", b"")], [Put("a", b""), Delete("a")], [Put("", b"")]]
)
async def test_a_batch_names_each_key_once(
    opened: tuple[Store, Feed, Contents], operations: list[Put | Delete]
) -> None:
    store, feed, _ = opened
    with pytest.raises(ValueError, match="a batch"):
        await store.commit(operations)
    assert feed.changes == []


async def test_incarnations_always_increase(
    opened: tuple[Store, Feed, Contents], new_store: NewStore
) -> None:
    store, feed, _ = opened
    first = await store.next_incarnation(1)
    second = await store.next_incarnation(1)
    again, _, contents = await reopen(store, new_store)
    third = await again.next_incarnation(1)
    fourth = await again.next_incarnation(1_000_000)
    fifth = await again.next_incarnation(5)
    assert 1 <= first < second < third < fourth < fifth
    assert fourth >= 1_000_000
    assert feed.changes == []
    assert contents.entries == ()


async def test_close_commits_pending_batches(
    opened: tuple[Store, Feed, Contents], new_store: NewStore
) -> None:
    store, feed, _ = opened
    tasks = [asyncio.ensure_future(store.commit([Put(f"k/{i}", b"")])) for i in range(100)]
    await asyncio.sleep(0)
    _, _, contents = await reopen(store, new_store)
    assert len(await asyncio.gather(*tasks)) == 100
    assert len(feed.changes) == 100
    assert len(contents.entries) == 100


async def test_close_is_idempotent(opened: tuple[Store, Feed, Contents]) -> None:
    store, _, _ = opened
    await asyncio.gather(store.close(), store.close())
    await store.close()


async def test_close_without_open(new_store: NewStore) -> None:
    await new_store().close()


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.commit([Put("a", b"")]),
        lambda store: store.next_incarnation(1),
        lambda store: store.open(Feed()),
    ],
)
async def test_a_closed_store_refuses_calls(
    opened: tuple[Store, Feed, Contents], use: Callable[[Store], Awaitable[object]]
) -> None:
    store, _, _ = opened
    await store.close()
    with pytest.raises(StoreError):
        await use(store)


async def test_a_failing_listener_does_not_stop_the_feed(new_store: NewStore) -> None:
    seen: list[Change] = []
    reported: list[object] = []

    def listener(change: Change) -> None:
        seen.append(change)
        if len(seen) == 1:
            raise RuntimeError("a consumer's bug")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    store = new_store()
    await store.open(listener)
    await asyncio.gather(*(store.commit([Put(f"k/{i}", b"")]) for i in range(3)))
    assert len(seen) == 3
    assert len(reported) == 1
