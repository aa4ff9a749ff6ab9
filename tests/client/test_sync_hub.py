"""Hub, the client without an event loop, with a real hub in a separate process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hub.client import CallFailed, Hub, NotSynced, Retry
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
)
from llmhub.v1.resources_pb2 import EVENT_TYPE_DELETE, ROLE_READER
from tests.support.hub import HubProcess, hub_process
from tests.support.hub_process import HubProcess as SharedHub
from tests.support.hub_process import running_hub
from tests.support.ports import lasting_address
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet

MODEL = "llama3.2:3b"


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with hub_process(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedHub]:
    """One hub for all tests that do not stop it."""
    with running_hub(tmp_path_factory.mktemp("hub") / "data") as running:
        yield running


def hub_of(process: HubProcess | SharedHub) -> Hub:
    address = process.grpc if isinstance(process, SharedHub) else process.addresses["grpc"]
    token = (process.data_dir / "admin.token").read_text().strip()
    return Hub(address, token, retry=Retry(attempts=1000, first_s=0.02, longest_s=0.1))


async def test_reads_selections_and_a_copy(shared: SharedHub) -> None:
    async with Fleet() as fleet:
        servers = [await fleet.add(FakeOllama(MODEL)) for _ in range(2)]

        def use() -> None:
            with hub_of(shared) as hub:
                for server in servers:
                    hub.call(
                        "RegisterEndpoint",
                        RegisterEndpointRequest(host=server.host, port=server.port),
                    )
                for server in servers:
                    event = next(
                        event for event in hub.watch(model=MODEL) if event.endpoint.id == server.id
                    )
                    assert event.endpoint.models[0].name == MODEL
                assert [each.id for each in hub.list_endpoints()] == sorted(
                    server.id for server in servers
                )
                assert [each.name for each in hub.list_models()] == [MODEL]
                assert hub.get_endpoint(servers[0].id).id == servers[0].id
                assert len(hub.snapshot().endpoints) == 2
                with hub.lease(MODEL) as one, hub.lease(MODEL) as two:
                    assert one.endpoint.id != two.endpoint.id
                assert hub.select(MODEL).model == MODEL
                with pytest.raises(CallFailed) as raised:
                    hub.select("nope")
                assert raised.value.reason == "MODEL_UNKNOWN"
                with pytest.raises(CallFailed):
                    hub.get_resources("n")
                with hub.fleet_cache() as cache:
                    assert cache.select(MODEL).model == MODEL
                    assert len(cache.endpoints()) == 2

        await asyncio.to_thread(use)


async def test_a_copy_survives_a_kill_of_the_hub_and_catches_up(tmp_path: Path) -> None:
    async with hub_process(tmp_path, "--grpc", lasting_address()) as process:
        await survive_a_kill(process)


async def survive_a_kill(process: HubProcess) -> None:
    hub = hub_of(process)
    register = lambda port: hub.call(  # noqa: E731
        "RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=port)
    )
    await asyncio.to_thread(register, 1)
    cache = await asyncio.to_thread(hub.fleet_cache)
    await asyncio.to_thread(cache.wait_synced)
    seen, gone = threading.Event(), threading.Event()

    def watch() -> None:
        for event in hub.watch():
            if event.endpoint.id == "127.0.0.1:1":
                (gone if event.type == EVENT_TYPE_DELETE else seen).set()

    watching = threading.Thread(target=watch)
    watching.start()
    # A watch reports only the deletion of objects that it has seen.
    await wait_until(seen.is_set)
    await process.kill()
    await wait_until(lambda: not cache.freshness.connected)
    assert [each.id for each in cache.endpoints()] == ["127.0.0.1:1"]
    await process.start()
    await asyncio.to_thread(hub.call, "RemoveEndpoint", RemoveEndpointRequest(id="127.0.0.1:1"))
    await asyncio.to_thread(register, 2)
    await wait_until(lambda: [each.id for each in cache.endpoints()] == ["127.0.0.1:2"])
    await wait_until(gone.is_set)
    await asyncio.to_thread(hub.close)
    await asyncio.to_thread(watching.join, 30)
    assert not watching.is_alive()
    cache.close()


async def test_permanent_failures_are_raised_at_once(shared: SharedHub) -> None:
    def use() -> None:
        with Hub(shared.grpc, "wrong") as hub:
            with pytest.raises(CallFailed) as raised:
                next(hub.watch())
            assert raised.value.reason == "INVALID_TOKEN"
            with pytest.raises(CallFailed), hub.fleet_cache():
                pass
        with Hub("127.0.0.1:1", "t", retry=Retry(first_s=0.001, attempts=3)) as hub:
            with pytest.raises(CallFailed):
                hub.snapshot()
            cache = hub.fleet_cache()
            with pytest.raises(NotSynced):
                cache.wait_synced(0.05)
            cache.close()

    await asyncio.to_thread(use)


async def test_creating_a_token_is_never_retried(shared: SharedHub) -> None:
    def use() -> None:
        with hub_of(shared) as hub:
            made = hub.call("CreateToken", CreateTokenRequest(role=ROLE_READER))
            with Hub(shared.grpc, made.token) as reader:
                assert reader.snapshot().revision > 0

    await asyncio.to_thread(use)
