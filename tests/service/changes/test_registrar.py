"""Durable changes against a real store: what they keep, what they cost, how they meet."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hub.base.address import endpoint_id
from hub.base.timestamps import to_ms
from hub.contract.errors import (
    EndpointNotFound,
    EtagMismatch,
    HubError,
    LimitReached,
    StoreUnavailable,
)
from hub.registry.state import Registry
from hub.service.changes.commits import Commits
from hub.service.changes.owners import Owners
from hub.service.changes.registrar import Registrar, Registration, merge
from hub.service.records import SECRETS, decode_endpoint, endpoint_key, etag_of, secret_key
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Put
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    BACKEND_OLLAMA,
    BACKEND_VLLM,
    OBSERVER_MANUAL,
    SOURCE_AUTO,
    SOURCE_CONFIG,
    SOURCE_MANUAL,
    STATUS_HEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    Model,
    Source,
)
from tests.support.core import Core, running_core
from tests.support.fleet import NOW, saw

ID = "gpu-1:11434"


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def wanted(source: Source = SOURCE_MANUAL, **fields: object) -> Registration:
    return Registration(**({"host": "gpu-1", "port": 11434, "source": source} | fields))


def by_sidecar(agent_id: str = "node-1", **fields: object) -> Registration:
    return wanted(SOURCE_AUTO, agent_id=agent_id, name=f"{agent_id}-local", **fields)


def renamed(name: str) -> Callable[[Endpoint], Endpoint]:
    def decide(current: Endpoint) -> Endpoint:
        after = Endpoint()
        after.CopyFrom(current)
        after.name = name
        return after

    return decide


async def stored(directory: Path) -> dict[str, bytes]:
    """What a second incarnation finds."""
    store = SqliteStore(directory / "hub.db")
    contents = await store.open(lambda _: None)
    await store.close()
    return {entry.key: entry.value for entry in contents.entries}


async def test_a_new_endpoint_has_the_defaults_and_is_on_disk(core: Core, tmp_path: Path) -> None:
    endpoint = await core.registrar.register(ID, wanted(), NOW)
    assert (endpoint.id, endpoint.host, endpoint.port) == (ID, "gpu-1", 11434)
    assert (endpoint.scheme, endpoint.name, endpoint.source) == ("http", ID, SOURCE_MANUAL)
    assert (endpoint.status, endpoint.admin_state) == (STATUS_UNKNOWN, ADMIN_STATE_ENABLED)
    assert to_ms(endpoint.registered_at) == NOW
    assert endpoint.etag
    assert endpoint == core.endpoint(ID)
    await core.store.close()
    assert endpoint_key(ID) in await stored(tmp_path)


async def test_re_registration_keeps_models_status_and_registration_time(core: Core) -> None:
    await core.registrar.register(ID, wanted(name="old", labels={"zone": "a"}), NOW)
    core.registry.observe(ID, saw(models=(Model(name="m"),), version="1"))
    again = await core.registrar.register(ID, wanted(name="new"), NOW + 60_000)
    assert again.name == "new"
    assert to_ms(again.registered_at) == NOW
    assert again.status == STATUS_HEALTHY
    assert [model.name for model in again.models] == ["m"]
    assert dict(again.labels) == {"zone": "a"}, "absent labels stay"


async def test_given_fields_replace_registered_ones(core: Core) -> None:
    first = await core.registrar.register(
        ID, wanted(SOURCE_CONFIG, labels={"zone": "a", "tier": "1"}), NOW
    )
    again = await core.registrar.register(
        ID,
        wanted(labels={"zone": "b"}, agent_id="node-2", backend=BACKEND_VLLM, scheme="https"),
        NOW,
    )
    assert dict(again.labels) == {"zone": "b"}
    assert (again.agent_id, again.backend, again.scheme) == ("node-2", BACKEND_VLLM, "https")
    assert again.source == SOURCE_MANUAL
    assert again.etag != first.etag


async def test_an_unchanged_registration_writes_nothing(core: Core) -> None:
    first = await core.registrar.register(ID, by_sidecar(), NOW)
    core.registry.observe(ID, saw(models=(Model(name="m"),), backend=BACKEND_OLLAMA))
    before = core.store.batches
    again = await asyncio.gather(
        *(core.registrar.register(ID, by_sidecar(), NOW + n) for n in range(20))
    )
    assert core.store.batches == before
    assert {endpoint.etag for endpoint in again} == {first.etag}
    assert again[0].models[0].name == "m"


async def test_an_update_that_changes_nothing_writes_nothing(core: Core) -> None:
    first = await core.registrar.register(ID, wanted(name="same"), NOW)
    before = core.store.batches
    assert (await core.registrar.update(ID, renamed("same"), first.etag)).etag == first.etag
    assert core.store.batches == before


async def test_an_api_key_is_stored_apart_from_the_endpoint(core: Core, tmp_path: Path) -> None:
    await core.registrar.register(ID, wanted(api_key="sk-secret"), NOW)
    await core.registrar.register(ID, wanted(name="without a key"), NOW)
    assert "sk-secret" not in str(core.endpoint(ID))
    assert "sk-secret" not in repr(wanted(api_key="sk-secret"))
    await core.store.close()
    on_disk = await stored(tmp_path)
    assert on_disk[secret_key(ID)] == b"sk-secret"
    assert b"sk-secret" not in on_disk[endpoint_key(ID)]


async def test_an_empty_api_key_removes_the_stored_one(core: Core, tmp_path: Path) -> None:
    await core.registrar.register(ID, wanted(api_key="sk-secret"), NOW)
    await core.registrar.register(ID, wanted(api_key=""), NOW)
    await core.store.close()
    assert not [key for key in await stored(tmp_path) if key.startswith(SECRETS)]


async def test_removing_an_endpoint_removes_its_secret(core: Core, tmp_path: Path) -> None:
    await core.registrar.register(ID, wanted(api_key="sk-secret"), NOW)
    await core.registrar.remove(ID, "")
    assert core.registrar.current(ID) is None
    await core.store.close()
    assert await stored(tmp_path) == {}


@pytest.mark.parametrize("source", [SOURCE_MANUAL, SOURCE_CONFIG])
def test_a_sidecar_never_overrules_an_admin(source: Source) -> None:
    current = merge(ID, None, wanted(source, scheme="https", name="mine", agent_id="node-1"), NOW)
    assert merge(ID, current, by_sidecar("node-2", backend=BACKEND_OLLAMA), NOW + 1) == current


def test_a_sidecar_fills_in_a_missing_agent() -> None:
    current = merge(ID, None, wanted(name="mine"), NOW)
    merged = merge(ID, current, by_sidecar("node-2"), NOW + 1)
    assert merged.agent_id == "node-2"
    merged.agent_id = ""
    assert merged == current


def test_an_admin_takes_over_what_a_sidecar_registered() -> None:
    current = merge(ID, None, by_sidecar(), NOW)
    merged = merge(ID, current, wanted(name="mine"), NOW + 1)
    assert (merged.source, merged.name, merged.agent_id) == (SOURCE_MANUAL, "mine", "node-1")


def test_a_reconnecting_sidecar_keeps_the_name_that_an_admin_gave() -> None:
    current = merge(ID, None, by_sidecar(), NOW)
    current.name = "the big one"
    current.labels["zone"] = "a"
    current.admin_state = ADMIN_STATE_DRAINING
    assert merge(ID, current, by_sidecar(), NOW + 1) == current


def test_a_new_owner_changes_the_default_name() -> None:
    current = merge(ID, None, by_sidecar("node-1"), NOW)
    merged = merge(ID, current, by_sidecar("node-2"), NOW + 1)
    assert (merged.agent_id, merged.name) == ("node-2", "node-2-local")


async def test_a_foreign_etag_is_refused(core: Core) -> None:
    first = await core.registrar.register(ID, wanted(), NOW)
    second = await core.registrar.update(ID, renamed("new"), first.etag)
    before = core.store.batches
    for etag in (first.etag, "zz", "0", etag_of(2**40)):
        with pytest.raises(EtagMismatch) as refused:
            await core.registrar.update(ID, renamed("newer"), etag)
        assert refused.value.metadata["etag"] == second.etag
        with pytest.raises(EtagMismatch):
            await core.registrar.remove(ID, etag)
    assert core.store.batches == before
    await core.registrar.remove(ID, second.etag)


async def test_an_observation_changes_no_etag(core: Core) -> None:
    first = await core.registrar.register(ID, wanted(), NOW)
    core.registry.observe(ID, saw(models=(Model(name="m"),)))
    assert (await core.registrar.update(ID, renamed("new"), first.etag)).name == "new"


async def test_a_missing_endpoint_cannot_be_changed(core: Core) -> None:
    with pytest.raises(EndpointNotFound):
        await core.registrar.update(ID, renamed("x"), "")
    with pytest.raises(EndpointNotFound):
        await core.registrar.remove(ID, "anything")


async def test_a_full_registry_accepts_only_known_endpoints(tmp_path: Path) -> None:
    async with running_core(tmp_path, max_endpoints=3) as core:

        async def register(n: int) -> bool:
            try:
                await core.registrar.register(f"gpu-{n}:1", wanted(host=f"gpu-{n}", port=1), NOW)
            except LimitReached:
                return False
            return True

        taken = await asyncio.gather(*(register(n) for n in range(20)))
        assert taken.count(True) == 3
        assert len(core.registry) == 3
        some = core.ids()[0]
        await core.registrar.register(some, wanted(host="x", port=1, name="renamed"), NOW)
        assert core.endpoint(some).name == "renamed"
        await core.registrar.remove(some, "")
        assert await register(99)
        assert not await register(100)


async def test_a_failed_creation_frees_its_place(tmp_path: Path) -> None:
    async with running_core(tmp_path, max_endpoints=1) as core:
        await core.store.close()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await core.registrar.register(ID, wanted(), NOW)


async def test_concurrent_updates_of_one_endpoint_are_all_applied(
    core: Core,
) -> None:
    await core.registrar.register(ID, wanted(labels={"n": "0"}), NOW)

    def increment(current: Endpoint) -> Endpoint:
        after = Endpoint()
        after.CopyFrom(current)
        after.labels["n"] = str(int(current.labels["n"]) + 1)
        return after

    await asyncio.gather(*(core.registrar.update(ID, increment, "") for _ in range(50)))
    assert core.endpoint(ID).labels["n"] == "50"


async def test_one_of_fifty_updates_with_one_etag_wins(core: Core) -> None:
    etag = (await core.registrar.register(ID, wanted(), NOW)).etag
    outcomes = await asyncio.gather(
        *(core.registrar.update(ID, renamed(f"n{n}"), etag) for n in range(50)),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Endpoint)]
    assert len(won) == 1
    assert sum(isinstance(outcome, EtagMismatch) for outcome in outcomes) == 49
    assert core.endpoint(ID).name == won[0].name


async def test_concurrent_changes_of_one_endpoint_are_serialised(
    core: Core, tmp_path: Path
) -> None:
    async def attempt(n: int) -> str:
        try:
            match n % 3:
                case 0:
                    return (await core.registrar.register(ID, wanted(name=f"r{n}"), NOW)).name
                case 1:
                    return (await core.registrar.update(ID, renamed(f"u{n}"), "")).name
                case _:
                    await core.registrar.remove(ID, "")
                    return "removed"
        except HubError as error:
            return error.wire_code

    outcomes = await asyncio.gather(*(attempt(n) for n in range(50)))
    assert set(outcomes) <= {
        "removed",
        "endpoint_not_found",
        *(f"r{n}" for n in range(50)),
        *(f"u{n}" for n in range(50)),
    }
    current = core.registrar.current(ID)
    live = [] if current is None else [current.name]
    assert set(live) <= set(outcomes)
    await core.store.close()
    entries = await stored(tmp_path)
    assert list(entries) == ([endpoint_key(ID)] if live else [])


async def test_another_writer_of_the_store_is_not_overwritten(core: Core) -> None:
    """A second hub on one store: the precondition fails, and the change is decided again."""
    owners = Owners(core.registry, lambda _: False)
    other = Registrar(Commits(core.store), core.registry, owners=owners, max_endpoints=10)
    await core.registrar.register(ID, wanted(labels={"n": "0"}), NOW)

    def increment(current: Endpoint) -> Endpoint:
        after = Endpoint()
        after.CopyFrom(current)
        after.labels["n"] = str(int(current.labels["n"]) + 1)
        return after

    await asyncio.gather(
        *(hub.update(ID, increment, "") for _ in range(5) for hub in (core.registrar, other))
    )
    assert core.endpoint(ID).labels["n"] == "10"


async def test_a_cancelled_change_does_not_block_the_next(core: Core) -> None:
    await core.registrar.register(ID, wanted(), NOW)
    impatient = asyncio.create_task(core.registrar.update(ID, renamed("a"), ""))
    patient = asyncio.create_task(core.registrar.update(ID, renamed("b"), ""))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).name == "b"
    assert core.endpoint(ID).name == "b"


async def test_a_store_that_fails_is_unavailable(core: Core) -> None:
    await core.registrar.register(ID, wanted(), NOW)
    await core.store.close()
    with pytest.raises(StoreUnavailable):
        await core.registrar.update(ID, renamed("x"), "")
    with pytest.raises(StoreUnavailable):
        await core.registrar.remove(ID, "")
    assert core.endpoint(ID).name == ID


async def test_a_registration_is_acknowledged_with_its_own_revision(core: Core) -> None:
    endpoint = await core.registrar.register(ID, wanted(), NOW)
    revision = await core.store.commit([Put("unrouted/x", b"")])
    assert int(endpoint.etag, 16) == revision - 1


async def test_stored_records_read_back(core: Core, tmp_path: Path) -> None:
    endpoint = await core.registrar.register(
        ID, wanted(labels={"zone": "a"}, agent_id="node-1", backend=BACKEND_VLLM), NOW
    )
    await core.store.close()
    store = SqliteStore(tmp_path / "hub.db")
    (entry,) = (await store.open(lambda _: None)).entries
    await store.close()
    read = decode_endpoint(entry)
    read.status = STATUS_UNKNOWN
    read.provenance.backend.observer = OBSERVER_MANUAL
    assert read == endpoint


def test_a_reconnecting_sidecar_fills_only_missing_fields() -> None:
    current = merge(ID, None, by_sidecar(backend=BACKEND_OLLAMA), NOW)
    assert current.backend == BACKEND_OLLAMA
    current.backend = BACKEND_VLLM
    current.labels["zone"] = "a"
    current.name = "mine"
    again = by_sidecar(backend=BACKEND_OLLAMA, labels={"zone": "b"})
    assert merge(ID, current, again, NOW + 1) == current
    other = by_sidecar("node-2", backend=BACKEND_OLLAMA)
    merged = merge(ID, current, other, NOW + 1)
    assert (merged.agent_id, merged.name, merged.backend) == ("node-2", "mine", BACKEND_VLLM)


def test_a_sidecar_does_not_overrule_what_the_hub_detected() -> None:
    current = merge(ID, None, by_sidecar(), NOW)
    filled = merge(ID, current, by_sidecar(backend=BACKEND_OLLAMA), NOW + 1)
    assert (filled.backend, filled.backend_detected) == (BACKEND_OLLAMA, False)
    current.backend, current.backend_detected = BACKEND_VLLM, True
    assert merge(ID, current, by_sidecar(backend=BACKEND_OLLAMA), NOW + 1) == current


async def test_two_hubs_do_not_create_two_spellings_of_one_endpoint(core: Core) -> None:
    """The second hub has not heard of the record that the first one has just written."""
    unaware = Registrar(
        Commits(core.store),
        Registry(first_revision=1),
        owners=Owners(core.registry, lambda _: False),
        max_endpoints=10,
    )
    local = replace(wanted(), host="127.0.0.1", port=9)
    await core.registrar.register("127.0.0.1:9", local, NOW)
    with pytest.raises(EtagMismatch):
        await unaware.register("localhost:9", replace(local, host="localhost"), NOW)
    assert core.ids() == ["127.0.0.1:9"]


async def test_registrations_under_all_spellings_at_once_make_one_endpoint(core: Core) -> None:
    hosts = ("localhost", "127.0.0.1", "::1", "::ffff:127.0.0.1")
    made = await asyncio.gather(
        *(
            core.registrar.register(endpoint_id(host, 9), replace(wanted(), host=host, port=9), NOW)
            for host in hosts
        )
    )
    assert {each.id for each in made} == {"localhost:9"}
    assert core.ids() == ["localhost:9"]
