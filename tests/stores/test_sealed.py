"""The sealed store on every engine; the engine itself is asked what it holds."""

from collections.abc import AsyncIterator, Callable

import pytest

from hub.stores.keyring import Key, KeySource, key_of, read_keys, write_keys
from hub.stores.sealed import CURRENT, SealedStore
from hub.stores.store import Delete, Expect, PreconditionFailed, Put, Store, StoreError
from tests.support.stores import ENGINES, Feed
from tests.support.waiting import wait_until

SECRET = b"sk-very-secret"


@pytest.fixture(params=ENGINES)
async def engine(request, tmp_path) -> AsyncIterator[Callable[[], Store]]:
    async with ENGINES[request.param](tmp_path) as factory:
        yield factory


@pytest.fixture
def ring(tmp_path):
    return tmp_path / "ring"


def sealed(engine, ring) -> SealedStore:
    return SealedStore(engine(), KeySource(ring, environment={}))


async def raw(engine) -> dict[str, bytes]:
    """What a thief of the store has."""
    store = engine()
    contents = await store.open(lambda _: None)
    await store.close()
    return {entry.key: entry.value for entry in contents.entries}


async def put_raw(engine, **values: bytes) -> None:
    store = engine()
    await store.open(lambda _: None)
    await store.commit([Put(f"secrets/{name}", value) for name, value in values.items()])
    await store.close()


async def test_secrets_are_sealed_below_and_plain_above(engine, ring):
    feed, store = Feed(), sealed(engine, ring)
    assert (await store.open(feed)).entries == ()
    assert store.kind == engine().kind
    first = await store.commit([Put("secrets/a", SECRET), Put("endpoints/a", b"plain")])
    await store.commit([Put("secrets/b", b"")], [Expect("secrets/a", first)])
    with pytest.raises(PreconditionFailed):
        await store.commit([Put("secrets/c", SECRET)], [Expect("secrets/a", first + 100)])
    assert {key: e.value for key, e in feed.replayed().items()} == {
        "secrets/a": SECRET,
        "secrets/b": b"",
        "endpoints/a": b"plain",
    }
    await store.close()
    found = await raw(engine)
    assert found["endpoints/a"] == b"plain"
    assert SECRET not in b"".join(found.values())
    again = sealed(engine, ring)
    entries = {entry.key: entry.value for entry in (await again.open(Feed())).entries}
    assert entries == {"secrets/a": SECRET, "secrets/b": b"", "endpoints/a": b"plain"}
    await again.close()


async def test_plain_secrets_of_an_earlier_version_are_sealed_once(engine, ring):
    await put_raw(engine, a=SECRET, b=b"sk-2")
    feed, store = Feed(), sealed(engine, ring)
    entries = {entry.key: entry.value for entry in (await store.open(feed)).entries}
    assert entries == {"secrets/a": SECRET, "secrets/b": b"sk-2"}
    assert await store.reseal()
    assert not await store.reseal()
    # Those above see the values that they know.
    assert {key: e.value for key, e in feed.replayed().items()} == entries
    await store.close()
    found = await raw(engine)
    assert {key_of(found[key]) for key in entries} == {read_keys(ring)[0].id}
    assert found[CURRENT].decode() == read_keys(ring)[0].id


async def test_no_new_ring_takes_the_place_of_a_lost_one(engine, ring):
    store = sealed(engine, ring)
    await store.open(Feed())
    await store.reseal()
    await store.commit([Put("secrets/a", SECRET)])
    lost = read_keys(ring)
    ring.unlink()
    with pytest.raises(StoreError, match=f"the key {lost[0].id}"):
        store.reload()
    assert not ring.exists()
    await store.close()
    again = sealed(engine, ring)
    with pytest.raises(StoreError, match=f"the key {lost[0].id}"):
        await again.open(Feed())
    await again.close()
    assert not ring.exists()
    write_keys(ring, lost)
    restored = sealed(engine, ring)
    entries = {entry.key: entry.value for entry in (await restored.open(Feed())).entries}
    assert entries == {"secrets/a": SECRET}
    await restored.close()


async def test_a_rotation_seals_all_with_the_new_key(engine, ring):
    store = sealed(engine, ring)
    await store.open(Feed())
    await store.reseal()
    await store.commit([Put("secrets/a", SECRET)])
    await store.commit([Put("secrets/gone", SECRET)])
    await store.commit([Delete("secrets/gone")])
    old, new = read_keys(ring)[0], Key.new()
    write_keys(ring, (new, old))
    store.reload()
    assert not await store.reseal(), "nothing was plain"
    await store.close()
    found = await raw(engine)
    assert key_of(found["secrets/a"]) == new.id
    assert found[CURRENT].decode() == new.id
    assert "secrets/gone" not in found
    # Now the old key may go.
    write_keys(ring, (new,))
    again = sealed(engine, ring)
    assert (await again.open(Feed())).entries[0].value == SECRET
    await again.close()


async def test_a_reload_without_the_current_key_changes_nothing(engine, ring):
    store = sealed(engine, ring)
    await store.open(Feed())
    await store.commit([Put("secrets/a", SECRET)])
    write_keys(ring, (Key.new(),))
    with pytest.raises(StoreError, match="no longer holds the key"):
        store.reload()
    await store.commit([Put("secrets/b", SECRET)])
    await store.close()
    found = await raw(engine)
    assert key_of(found["secrets/a"]) == key_of(found["secrets/b"])


async def test_a_store_without_secrets_needs_the_key_only_if_it_is_shared(engine, ring, tmp_path):
    store = sealed(engine, ring)
    await store.open(Feed())
    await store.reseal()
    await store.close()
    other = sealed(engine, tmp_path / "other")
    if other.kind == "sqlite":
        await other.open(Feed())
        await other.reseal()
        await other.commit([Put("secrets/a", SECRET)])
        await other.close()
        found = await raw(engine)
        assert found[CURRENT].decode() == key_of(found["secrets/a"])
        return
    with pytest.raises(StoreError, match="does not hold it"):
        await other.open(Feed())
    await other.close()


async def test_a_hub_without_the_key_does_not_start(engine, ring, tmp_path):
    store = sealed(engine, ring)
    await store.open(Feed())
    await store.reseal()
    await store.commit([Put("secrets/a", SECRET)])
    await store.close()
    other = sealed(engine, tmp_path / "other")
    with pytest.raises(StoreError, match="does not hold it: copy the key ring of the hub"):
        await other.open(Feed())
    await other.close()


async def test_a_damaged_secret_keeps_a_hub_from_starting(engine, ring):
    store = sealed(engine, ring)
    await store.open(Feed())
    await store.commit([Put("secrets/a", SECRET)])
    await store.close()
    await put_raw(engine, a=(await raw(engine))["secrets/a"][:-1] + b"?")
    again = sealed(engine, ring)
    with pytest.raises(StoreError, match=r"'secrets/a' in the store is damaged") as error:
        await again.open(Feed())
    assert SECRET.decode() not in str(error.value)
    await again.close()


async def test_it_is_closed_until_it_is_opened(engine, ring):
    with pytest.raises(StoreError, match="not open"):
        await sealed(engine, ring).commit([Put("secrets/a", SECRET)])


@pytest.fixture
async def shared(tmp_path) -> AsyncIterator[Callable[[], Store]]:
    """An engine that two hubs may have open at once."""
    async with ENGINES["etcd"](tmp_path) as factory:
        yield factory


async def test_a_secret_of_another_key_is_opened_when_the_key_arrives(shared, ring, tmp_path):
    old, new, later = Key.new(), Key.new(), tmp_path / "later"
    write_keys(ring, (old,))
    write_keys(later, (old,))
    feed = Feed()

    def known() -> dict[str, bytes]:
        return {entry.key: entry.value for change in feed.changes for entry in change.puts}

    first, second = sealed(shared, ring), sealed(shared, later)
    await first.open(Feed())
    await first.reseal()
    await second.open(feed)
    # The first hub has been given the new key, the second one not yet.
    write_keys(ring, (new, old))
    first.reload()
    await first.reseal()
    await first.commit([Put("secrets/a", SECRET), Put("endpoints/a", b"plain")])
    await first.commit([Put("secrets/gone", SECRET)])
    await first.commit([Delete("secrets/gone")])
    await first.commit([Put("endpoints/b", b"")])
    await wait_until(lambda: "endpoints/b" in known())
    assert set(known()) == {"endpoints/a", "endpoints/b"}
    # A hub that knows less neither seals with its older key nor names it.
    second.reload()
    assert not await second.reseal()
    await second.commit([Put("endpoints/c", b"")])
    assert set(known()) == {"endpoints/a", "endpoints/b", "endpoints/c"}
    write_keys(later, (new, old))
    second.reload()
    assert known()["secrets/a"] == SECRET
    assert "secrets/gone" not in known()
    seen = len(feed.changes)
    second.reload()
    assert len(feed.changes) == seen
    await first.close()
    await second.close()
    found = await raw(shared)
    assert found[CURRENT].decode() == key_of(found["secrets/a"]) == new.id
