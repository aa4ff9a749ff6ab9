"""What survives a restart."""

import asyncio

import grpc
import pytest

from hub.base.clock import ManualClock
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RevokeTokenRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    STATUS_HEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
)
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.hub import by_id, failure_of, running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama

pytestmark = pytest.mark.usefixtures("grpc_engine")


async def test_durable_facts_stay_and_observed_facts_are_restored(tmp_path, fleet):
    fake = await fleet.add(FakeOllama("a"), api_key="k3y")
    request = RegisterEndpointRequest(
        host=fake.host, port=fake.port, name="one", labels={"zone": "x"}, api_key="k3y"
    )
    async with running_hub(tmp_path) as hub:
        await hub.call("RegisterEndpoint", request)
        await wait_until(lambda: hub.hub.info().healthy_count == 1)
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.8"))
        await hub.call("RemoveEndpoint", RemoveEndpointRequest(id="127.0.0.8:11434"))
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.9"))
        off = Endpoint(id="127.0.0.9:11434", admin_state=ADMIN_STATE_DISABLED)
        await hub.call("UpdateEndpoint", UpdateEndpointRequest(endpoint=off))
        reader = await hub.token(ROLE_READER)
        revoked = await hub.created_token(ROLE_SIDECAR, "node-1")
        await hub.call("RevokeToken", RevokeTokenRequest(id=revoked.token_info.id))
        async with hub.sidecar("node-2") as socket:
            await socket.send({"type": "resource_report", "cpu_percent": 1})
            await socket.ask({"type": "ping"})
        before = await hub.snapshot()
        admin = hub.admin_token
    asked = fake.requests
    async with running_hub(tmp_path) as hub:
        assert hub.admin_token == admin
        assert hub.hub.new_admin_token is None
        after = (await hub.call("GetSnapshot", token=reader)).snapshot
        assert set(by_id(after)) == {fake.id, "127.0.0.9:11434"}
        endpoint, old = by_id(after)[fake.id], by_id(before)[fake.id]
        assert (endpoint.name, dict(endpoint.labels)) == ("one", {"zone": "x"})
        assert (endpoint.registered_at, endpoint.etag) == (old.registered_at, old.etag)
        assert by_id(after)["127.0.0.9:11434"].admin_state == ADMIN_STATE_DISABLED
        assert endpoint.status == STATUS_HEALTHY
        assert [each.name for each in endpoint.models] == ["a"]
        if fake.requests == asked:
            # Not probed again yet: the first probes of the fleet spread over the interval.
            assert endpoint.provenance.status.restored
            assert endpoint.last_checked_at.seconds <= old.last_checked_at.seconds
        disabled = by_id(after)["127.0.0.9:11434"]
        assert (disabled.status, list(disabled.models)) == (STATUS_UNKNOWN, [])
        assert after.resources["node-2"].cpu_percent == 1
        assert after.revision > before.revision
        assert (await failure_of(hub.call("GetSnapshot", token=revoked.token))).reason == (
            "INVALID_TOKEN"
        )
        # The endpoint's API key survived too.
        checked = await hub.call("CheckEndpoint", CheckEndpointRequest(id=fake.id))
        assert checked.endpoint.status == STATUS_HEALTHY
        assert [each.name for each in checked.endpoint.models] == ["a"]


async def test_the_whole_fleet_is_probed_within_one_interval(tmp_path, fleet):
    fakes = [await fleet.add(FakeOllama("m")) for _ in range(10)]
    async with running_hub(tmp_path) as hub:
        for fake in fakes:
            request = RegisterEndpointRequest(host=fake.host, port=fake.port)
            await hub.call("RegisterEndpoint", request)
    async with running_hub(tmp_path, probes={"interval_s": 0.3}) as hub:
        await wait_until(lambda: hub.hub.info().healthy_count == len(fakes))


async def test_kill_9_loses_nothing_that_was_acknowledged(process):
    acknowledged: set[str] = set()
    enough = asyncio.Event()

    async def register(hub, caller: int) -> None:
        for number in range(1000):
            host = f"127.{caller + 1}.{number // 250}.{number % 250 + 1}"
            request = RegisterEndpointRequest(host=host, port=9)
            try:
                answer = await hub.call("RegisterEndpoint", request)
            except grpc.aio.AioRpcError:
                return
            acknowledged.add(answer.endpoint.id)
            if len(acknowledged) >= 300:
                enough.set()

    async with process.client() as hub:
        callers = [asyncio.create_task(register(hub, caller)) for caller in range(16)]
        await asyncio.wait_for(enough.wait(), 30)
        # Kill the hub with 16 calls in flight.
        await process.kill()
        await asyncio.gather(*callers)
    assert len(acknowledged) >= 300
    await process.start()
    async with process.client() as hub:
        found = by_id(await hub.snapshot())
        assert acknowledged <= set(found)


async def test_tokens_and_revocations_survive_kill_9(process):
    async with process.client() as hub:
        kept = await hub.created_token(ROLE_SIDECAR, "node-1")
        revoked = await hub.created_token(ROLE_SIDECAR, "node-2")
        await hub.call("RevokeToken", RevokeTokenRequest(id=revoked.token_info.id))
    await process.kill()
    await process.start()
    async with process.client() as hub:
        async with hub.sidecar("node-1", token=kept.token) as socket:
            assert (await socket.ask({"type": "ping"}))["type"] == "pong"
        async with hub.socket() as socket:
            frame = {"type": "identify", "agent_id": "node-2", "token": revoked.token}
            assert (await socket.ask(frame))["error"] == "invalid_token"


@pytest.mark.parametrize("seconds", [1, 0, -3600], ids=["on", "still", "back"])
async def test_revisions_increase_over_a_restart(tmp_path, seconds):
    """Also if the clock stood still or was set back in the meantime."""
    clock = ManualClock()
    last = 0
    for number in range(3):
        async with running_hub(tmp_path, clock) as hub:
            assert hub.hub.info().first_revision > last
            for n in range(3):
                request = RegisterEndpointRequest(host=f"127.0.{number}.{n + 1}")
                await hub.call("RegisterEndpoint", request)
            last = hub.hub.info().revision
            # Revisions are JSON numbers, whose integers are exact up to this value.
            assert last < 2**53
        clock.advance(seconds * 1000)
