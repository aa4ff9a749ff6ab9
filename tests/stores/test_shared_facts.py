"""The contract of `SharedFacts`, for every engine."""

import asyncio

import pytest

from hub.base.moment import SystemTime
from hub.stores.local_facts import LocalFacts
from hub.stores.shared_facts import FactsUnavailable, SharedFacts


@pytest.fixture(params=["local"])
async def start(request, tmp_path):
    """Starts another engine on the same data, as a restarted hub does."""
    started: list[SharedFacts] = []

    async def start_engine():
        for each in started:
            await each.close()
        engine = LocalFacts(tmp_path / "facts.bin", SystemTime())
        started.append(engine)
        return engine, {fact.key: fact for fact in await engine.open()}

    yield start_engine
    for each in started:
        await each.close()


async def test_an_engine_begins_empty(start):
    _, found = await start()
    assert found == {}


async def test_the_latest_value_of_each_key_is_restored(start):
    engine, _ = await start()
    await engine.publish({"health/a": b"1", "health/b": b"1", "checks/7": b""})
    await engine.publish({"health/a": b"2", "health/b": None, "health/none": None})
    _, found = await start()
    assert {key: fact.value for key, fact in found.items()} == {"health/a": b"2", "checks/7": b""}


async def test_ages_grow_from_start_to_start(start):
    engine, _ = await start()
    await engine.publish({"a": b"1"})
    ages = []
    for _ in range(3):
        _, found = await start()
        ages.append(found["a"].age_ms)
    assert ages == sorted(ages)
    assert ages[0] >= 0
    assert ages[-1] < 60_000


async def test_publishing_from_several_tasks_loses_nothing(start):
    engine, _ = await start()
    await asyncio.gather(*(engine.publish({f"k/{n}": b"%d" % n}) for n in range(50)))
    _, found = await start()
    assert {fact.value for fact in found.values()} == {b"%d" % n for n in range(50)}


async def test_a_closed_engine_accepts_nothing(start):
    engine, _ = await start()
    await engine.close()
    await engine.close()
    with pytest.raises(FactsUnavailable):
        await engine.publish({"a": b"1"})
