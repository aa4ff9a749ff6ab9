"""A hub that is killed and started again selects at once, and says what it has not checked."""

import os
import signal
import time
from contextlib import suppress

import pytest

from hub.base.data_dir import FACTS_FILE
from hub.client import AsyncHub
from hub.stores.facts_file import FactsFileError, read
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
)
from llmhub.v1.registry_service_pb2 import ListEndpointsRequest, SelectEndpointRequest
from tests.support.hub import HubProcess, by_id, failure_of, running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import Behaviour, FakeOllama

pytestmark = pytest.mark.usefixtures("grpc_engine")

BOTH = SelectEndpointRequest(model="a", count=2)


@pytest.fixture
async def servers(fleet):
    return [await fleet.add(FakeOllama("a")) for _ in range(2)]


def kept(data_dir) -> set[str]:
    """The keys of the facts that are in the file."""
    with suppress(FactsFileError):
        return set(read(data_dir / FACTS_FILE))
    return set()


async def register(hub, servers) -> None:
    for server in servers:
        await hub.call(
            "RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=server.port)
        )


async def learn(process: HubProcess, servers) -> None:
    """Registers the servers, waits until they are known and kept, and kills the hub."""
    async with process.client() as hub:
        await register(hub, servers)
        wanted = {f"health/{server.id}" for server in servers}
        await wait_until(lambda: wanted <= kept(process.data_dir))
    await process.kill()


async def test_a_hub_that_was_killed_selects_at_once(process, servers):
    await learn(process, servers)
    killed = time.time()
    for server in servers:
        # What the hub answers from now on does not come from a probe.
        server.behaviour = Behaviour.HANGING
    await process.start()
    async with process.client() as hub:
        asked = time.monotonic()
        answer = await hub.call("SelectEndpoint", BOTH)
        answered_s = time.monotonic() - asked
        listed = (await hub.call("ListEndpoints", ListEndpointsRequest())).endpoints
        assert {each.endpoint.id for each in answer.selections} == {each.id for each in servers}
        # Generous: the machine may be busy.
        assert answered_s < 2
        for endpoint in listed:
            assert endpoint.status == STATUS_HEALTHY
            assert endpoint.provenance.status.restored
            assert endpoint.provenance.models.restored
            assert endpoint.last_checked_at.seconds <= killed
        # The age that a caller may limit is the true one.
        fresh = SelectEndpointRequest(model="a")
        fresh.max_fact_age.FromNanoseconds(1_000_000)
        refused = await failure_of(hub.call("SelectEndpoint", fresh))
        assert refused.reason == "NO_CAPACITY"
        async with (
            AsyncHub(hub.grpc_address, token=hub.admin_token) as client,
            client.fleet_cache() as cache,
        ):
            assert cache.select("a").endpoint.id in {each.id for each in servers}
        shown = await hub.http("GET", f"/api/admin/llm-registry/{servers[0].id}")
        assert shown.json["provenance"]["status"]["restored"] is True


async def test_probes_confirm_or_contradict_restored_facts(process, servers):
    await learn(process, servers)
    alive, dead = servers
    dead.behaviour = Behaviour.HALF_OPEN
    await process.start()
    async with process.client() as hub:
        confirmed = await hub.call("CheckEndpoint", CheckEndpointRequest(id=alive.id))
        assert confirmed.endpoint.status == STATUS_HEALTHY
        assert not confirmed.endpoint.provenance.status.restored
        assert not confirmed.endpoint.provenance.models.restored
        for _ in range(2):
            contradicted = await hub.call("CheckEndpoint", CheckEndpointRequest(id=dead.id))
        assert contradicted.endpoint.status == STATUS_UNHEALTHY
        assert not contradicted.endpoint.provenance.status.restored
        answer = await hub.call("SelectEndpoint", BOTH)
        assert [each.endpoint.id for each in answer.selections] == [alive.id]


async def test_a_restart_before_any_probe_keeps_the_facts_age(process, servers):
    await learn(process, servers)
    for server in servers:
        server.behaviour = Behaviour.HANGING
    seen = []
    for _ in range(2):
        await process.start()
        async with process.client() as hub:
            endpoint = by_id(await hub.snapshot())[servers[0].id]
            assert endpoint.provenance.status.restored
            seen.append(endpoint.last_checked_at.ToMilliseconds())
        await process.kill()
    assert abs(seen[1] - seen[0]) < 1000


async def test_facts_of_removed_disabled_or_changed_endpoints_are_not_restored(tmp_path, fleet):
    servers = [await fleet.add(FakeOllama("a")) for _ in range(4)]
    removed, disabled, changed, again = servers
    async with running_hub(tmp_path) as hub:
        await register(hub, servers)
        await wait_until(lambda: hub.hub.info().healthy_count == 4)
    facts = (tmp_path / FACTS_FILE).read_bytes()
    async with running_hub(tmp_path, probes={"interval_s": 3600}) as hub:
        await hub.call("RemoveEndpoint", RemoveEndpointRequest(id=removed.id))
        off = Endpoint(id=disabled.id, admin_state=ADMIN_STATE_DISABLED)
        await hub.call("UpdateEndpoint", UpdateEndpointRequest(endpoint=off))
        for server in servers:
            server.behaviour = Behaviour.HANGING
        request = RegisterEndpointRequest(host="127.0.0.1", port=changed.port, base_path="/other")
        await hub.call("RegisterEndpoint", request)
        await hub.call("RemoveEndpoint", RemoveEndpointRequest(id=again.id))
        await register(hub, [again])
    # As if the hub had been killed before it could write anything of this down.
    (tmp_path / FACTS_FILE).write_bytes(facts)
    async with running_hub(tmp_path, probes={"interval_s": 3600}) as hub:
        after = by_id(await hub.snapshot())
        assert set(after) == {disabled.id, changed.id, again.id}
        for endpoint in after.values():
            assert (endpoint.status, list(endpoint.models)) == (STATUS_UNKNOWN, [])


async def test_models_are_not_looked_up_again(process, fleet):
    fake = FakeOllama("a")
    server = await fleet.add(fake)
    async with process.client() as hub:
        await register(hub, [server])
        await wait_until(lambda: f"learned/model_facts/{server.id}" in kept(process.data_dir))
    await process.kill()
    await process.start()
    async with process.client() as hub:
        checked = await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
        assert list(checked.endpoint.models[0].capabilities) == ["completion", "tools"]
    assert fake.shown == {"a": 1}


def garble(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def replace_by_directory(path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "event"),
    [
        (garble, "facts_lost"),
        (lambda path: path.write_bytes(path.read_bytes()[:30]), "facts_lost"),
        (lambda path: path.write_bytes(os.urandom(1000)), "facts_lost"),
        (replace_by_directory, "facts_not_kept"),
    ],
    ids=["garbled", "cut off", "noise", "a directory"],
)
async def test_a_damaged_file_causes_a_cold_start_and_one_log_line(tmp_path, fleet, damage, event):
    server = await fleet.add(FakeOllama("a"))
    process = HubProcess(tmp_path / "data")
    await process.start()
    await learn(process, [server])
    server.behaviour = Behaviour.HANGING
    damage(process.data_dir / FACTS_FILE)
    process = HubProcess(tmp_path / "data")
    await process.start()
    async with process.client() as hub:
        endpoint = by_id(await hub.snapshot())[server.id]
        assert endpoint.status == STATUS_UNKNOWN
    process.send(signal.SIGINT)
    _, errors = await process.exited()
    lines = [line for line in errors.splitlines() if "facts_" in line]
    assert len(lines) == 1
    assert event in lines[0]
    assert FACTS_FILE in lines[0]
