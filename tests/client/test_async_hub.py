"""AsyncHub with a real hub."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest

from hub.client import AsyncHub, CallFailed, NotSynced, Retry
from llmhub.v1.admin_service_pb2 import (
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RevokeTokenRequest,
)
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY
from llmhub.v1.resources_pb2 import EVENT_TYPE_DELETE, EVENT_TYPE_PUT, ROLE_READER
from tests.support.hub import RunningHub, running_hub
from tests.support.ports import lasting_address
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet

MODEL = "llama3.2:3b"


@asynccontextmanager
async def with_fleet(
    tmp_path: Path, servers: int = 2
) -> AsyncIterator[tuple[RunningHub, AsyncHub]]:
    async with Fleet() as fleet, running_hub(tmp_path) as running:
        for _ in range(servers):
            server = await fleet.add(FakeOllama(MODEL))
            request = RegisterEndpointRequest(host=server.host, port=server.port)
            await running.call("RegisterEndpoint", request)
        await wait_until(lambda: running.hub.info().healthy_count == servers)
        async with AsyncHub(running.grpc_address, await running.token(ROLE_READER)) as hub:
            yield running, hub


async def test_reads_and_selections(tmp_path: Path) -> None:
    async with with_fleet(tmp_path) as (_, hub):
        endpoints = [endpoint async for endpoint in hub.list_endpoints(status=STATUS_HEALTHY)]
        assert len(endpoints) == 2
        assert await hub.get_endpoint(endpoints[0].id) == endpoints[0]
        assert [model.name async for model in hub.list_models()] == [MODEL]
        assert len((await hub.snapshot()).endpoints) == 2
        with pytest.raises(CallFailed) as raised:
            await hub.get_resources("n")
        assert raised.value.reason == "RESOURCES_NOT_FOUND"
        assert raised.value.code is grpc.StatusCode.NOT_FOUND
        with pytest.raises(CallFailed) as raised:
            await hub.select("llama3.2")
        assert raised.value.reason == "MODEL_UNKNOWN"
        assert raised.value.message == f"no endpoint has llama3.2; did you mean {MODEL}?"
        assert raised.value.metadata == {"model": "llama3.2", "near_1": MODEL}


async def test_a_lease_ends_with_its_block(tmp_path: Path) -> None:
    async with with_fleet(tmp_path) as (_, hub):
        async with hub.lease(MODEL) as first, hub.lease(MODEL) as second:
            assert {first.endpoint.id, second.endpoint.id} == {
                endpoint.id async for endpoint in hub.list_endpoints()
            }
            answer = await hub.select_all(MODEL, count=2, explain=True)
            assert [candidate.in_flight for candidate in answer.candidates] == [1, 1]
        answer = await hub.select_all(MODEL, explain=True)
        assert [candidate.in_flight for candidate in answer.candidates] == [0, 0]
        async with hub.lease(MODEL) as released:
            await hub.release(released.lease_id)
        with pytest.raises(CallFailed) as raised:
            await hub.release(released.lease_id)
        assert raised.value.reason == "LEASE_NOT_FOUND"


async def test_a_session_reports_how_its_block_ended(tmp_path: Path) -> None:
    async with with_fleet(tmp_path) as (_, hub):
        async with hub.session(MODEL) as session:
            session.first_token()
            session.counted(output_tokens=20)
            used = session.endpoint.id
        with suppress(TimeoutError):
            async with hub.session(MODEL, exclude_ids=[used]) as session:
                failed = session.endpoint.id
                raise TimeoutError
        endpoints = {each.id: each async for each in hub.list_endpoints()}
        (good,), (bad,) = endpoints[used].outcomes, endpoints[failed].outcomes
        assert (good.model, good.failed_ratio, bad.failed_ratio) == (MODEL, 0, 1)
        assert good.HasField("time_to_first_token")
        async with hub.session(MODEL) as released:
            await hub.release(released.selection.lease_id)


async def test_a_watch_reports_the_state_and_later_changes(tmp_path: Path) -> None:
    async with with_fleet(tmp_path, 1) as (running, hub):
        (id_,) = [endpoint.id async for endpoint in hub.list_endpoints()]
        async with asyncio.timeout(10), aclosing(hub.watch(model=MODEL)) as events:
            event = await anext(events)
            assert (event.type, event.endpoint.id) == (EVENT_TYPE_PUT, id_)
            await running.call("RemoveEndpoint", RemoveEndpointRequest(id=id_))
            async for event in events:
                if event.type == EVENT_TYPE_DELETE:
                    break
            assert event.endpoint.id == id_


async def test_a_watch_and_a_copy_survive_a_restart_of_the_hub_and_catch_up(
    tmp_path: Path,
) -> None:
    seen: dict[str, int] = {}

    async def follow(hub: AsyncHub) -> None:
        async with aclosing(hub.watch()) as events:
            async for event in events:
                seen[event.endpoint.id] = event.type

    address = lasting_address()
    async with running_hub(tmp_path, grpc={"address": address}) as running:
        for port in (1, 2):
            request = RegisterEndpointRequest(host="127.0.0.1", port=port)
            await running.call("RegisterEndpoint", request)
        token = await running.token(ROLE_READER)
        hub = AsyncHub(address, token, retry=Retry(first_s=0.02, longest_s=0.1))
        following = asyncio.create_task(follow(hub))
        cache = hub.fleet_cache()
        await cache.wait_synced()
        await wait_until(lambda: len(seen) == 2)
        revision = cache.freshness.revision
    await wait_until(lambda: not cache.freshness.connected)
    assert len(cache.endpoints()) == 2, "the copy can still be read"

    async with running_hub(tmp_path, grpc={"address": address}) as running:
        await running.call("RemoveEndpoint", RemoveEndpointRequest(id="127.0.0.1:1"))
        request = RegisterEndpointRequest(host="127.0.0.1", port=3)
        await running.call("RegisterEndpoint", request)
        await wait_until(lambda: seen.get("127.0.0.1:1") == EVENT_TYPE_DELETE)
        await wait_until(lambda: seen.get("127.0.0.1:3") == EVENT_TYPE_PUT)
        await wait_until(
            lambda: [each.id for each in cache.endpoints()] == ["127.0.0.1:2", "127.0.0.1:3"]
        )
        assert cache.freshness.revision > revision
        await cache.close()
        following.cancel()
        await asyncio.wait([following])
        await hub.close()


async def test_a_permanent_failure_ends_watch_and_copy(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running:
        async with AsyncHub(running.grpc_address, "wrong") as hub:
            with pytest.raises(CallFailed) as raised:
                await anext(hub.watch())
            assert raised.value.reason == "INVALID_TOKEN"
            with pytest.raises(CallFailed):
                async with hub.fleet_cache():
                    pass
        created = await running.created_token(ROLE_READER)
        async with (
            AsyncHub(running.grpc_address, created.token) as hub,
            hub.fleet_cache() as cache,
        ):
            await running.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
            request = RegisterEndpointRequest(host="127.0.0.1", port=1)
            await running.call("RegisterEndpoint", request)
            await wait_until(lambda: cache.failure is not None)
            assert not cache.freshness.connected


async def test_calls_to_an_unreachable_hub_are_retried_until_the_deadline() -> None:
    retry = Retry(first_s=0.001, longest_s=0.002, attempts=4)
    async with AsyncHub("127.0.0.1:1", "t", retry=retry, timeout_s=5) as hub:
        with pytest.raises(CallFailed) as raised:
            await hub.snapshot()
        assert raised.value.code is grpc.StatusCode.UNAVAILABLE
        cache = hub.fleet_cache()
        with pytest.raises(NotSynced):
            await cache.wait_synced(0.05)
        await cache.close()
