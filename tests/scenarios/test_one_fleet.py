"""An Ollama server is registered over each transport, and every client sees the same fleet."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from hub.contract import rpcs
from hub.service.access.caller import Caller, Principal
from hub.service.dispatcher import Received
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest, RemoveEndpointRequest
from llmhub.v1.endpoint_pb2 import (
    BACKEND_OLLAMA,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    SOURCE_AUTO,
    SOURCE_MANUAL,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
)
from llmhub.v1.frame_pb2 import (
    HubFrame,
    IdentifyRequest,
    ReportResourcesRequest,
    SidecarFrame,
)
from llmhub.v1.registry_service_pb2 import GetEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_SIDECAR
from tests.support.hub import REGISTRY_PATH, RunningHub, by_id, failure_of, running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import Behaviour, FakeOllama, FakeServer

pytestmark = pytest.mark.usefixtures("grpc_engine")

Announce = Callable[[RunningHub, FakeServer], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def by_service(hub: RunningHub, fake: FakeServer) -> AsyncIterator[None]:
    request = RegisterEndpointRequest(host=fake.host, port=fake.port)
    caller = Caller(Principal(ROLE_ADMIN, "", "test"), "127.0.0.1", "grpc")
    rpc = rpcs.rpc("RegisterEndpoint")
    await hub.dispatcher.dispatch(rpc, caller, lambda: Received(request), 1_800_000_000_000)
    yield


@asynccontextmanager
async def by_grpc(hub: RunningHub, fake: FakeServer) -> AsyncIterator[None]:
    request = RegisterEndpointRequest(host=fake.host, port=fake.port)
    await hub.call("RegisterEndpoint", request)
    yield


@asynccontextmanager
async def by_http(hub: RunningHub, fake: FakeServer) -> AsyncIterator[None]:
    body = {"host": fake.host, "port": fake.port}
    assert (await hub.http("POST", REGISTRY_PATH, body=body)).status == 201
    yield


@asynccontextmanager
async def by_ws(hub: RunningHub, fake: FakeServer) -> AsyncIterator[None]:
    async with hub.sidecar("node-1", ollama_url=f"http://{fake.id}") as socket:
        await socket.send({"type": "resource_report", "cpu_percent": 12.5})
        await socket.ask({"type": "ping"})
        yield


@asynccontextmanager
async def by_stream(hub: RunningHub, fake: FakeServer) -> AsyncIterator[None]:
    token = await hub.token(ROLE_SIDECAR, "node-1")
    rpc = rpcs.rpc("Connect")
    call = hub.channel.stream_stream(rpc.path, SidecarFrame.SerializeToString, HubFrame.FromString)(
        timeout=30
    )
    identify = IdentifyRequest(agent_id="node-1", token=token, ollama_url=f"http://{fake.id}")
    await call.write(SidecarFrame(identify=identify))
    assert (await call.read()).identified.agent_id == "node-1"
    report = ReportResourcesRequest(cpu_percent=12.5)
    await call.write(SidecarFrame(resource_report=report))
    await wait_until(lambda: hub.hub.info().revision and has_resources(hub))
    yield
    call.cancel()


async def has_resources(hub: RunningHub) -> bool:
    return "node-1" in (await hub.snapshot()).resources


TRANSPORTS: dict[str, Announce] = {
    "service": by_service,
    "grpc": by_grpc,
    "http": by_http,
    "ws": by_ws,
    "stream": by_stream,
}
SIDECARS = {"ws", "stream"}


async def shown_by_http(hub: RunningHub) -> dict:
    answer = await hub.http("GET", f"{REGISTRY_PATH}/snapshot")
    assert answer.status == 200
    return answer.json


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_client_sees_the_same_fleet(hub, fleet, transport):
    fake = await fleet.add(FakeOllama("llama3:8b", "qwen3:4b"))
    fake.persona.load("llama3:8b")
    async with TRANSPORTS[transport](hub, fake):

        async def is_healthy() -> bool:
            endpoint = by_id(await hub.snapshot()).get(fake.id)
            return endpoint is not None and endpoint.status == STATUS_HEALTHY

        await wait_until(is_healthy)
        snapshot = await hub.snapshot()
        endpoint = by_id(snapshot)[fake.id]
        assert endpoint.backend == BACKEND_OLLAMA
        assert endpoint.source == (SOURCE_AUTO if transport in SIDECARS else SOURCE_MANUAL)
        assert endpoint.name == ("node-1-local" if transport in SIDECARS else fake.id)
        assert {model.name: model.state for model in endpoint.models} == {
            "llama3:8b": MODEL_STATE_LOADED,
            "qwen3:4b": MODEL_STATE_AVAILABLE,
        }
        assert dict(snapshot.fleet_models) == {"llama3:8b": 1, "qwen3:4b": 1}

        shown = await shown_by_http(hub)
        assert shown["revision"] == snapshot.revision
        assert shown["fleet_models"] == {"llama3:8b": 1, "qwen3:4b": 1}
        (same,) = shown["endpoints"]
        assert (same["id"], same["status"], same["backend"]) == (fake.id, "healthy", "ollama")
        states = {model["name"]: model["state"] for model in same["models"]}
        assert states == {"llama3:8b": "loaded", "qwen3:4b": "available"}

        # The agent_id connects a sidecar's resources with its endpoint.
        if transport in SIDECARS:
            assert endpoint.agent_id == same["agent_id"] == "node-1"
            assert snapshot.resources["node-1"].cpu_percent == 12.5
            assert shown["resources"]["node-1"]["cpu_percent"] == 12.5

        await hub.call("RemoveEndpoint", RemoveEndpointRequest(id=fake.id))
        assert by_id(await hub.snapshot()) == {}
        assert (await shown_by_http(hub))["endpoints"] == []
        assert (await shown_by_http(hub))["fleet_models"] == {}
        gone = await failure_of(hub.call("GetEndpoint", GetEndpointRequest(id=fake.id)))
        assert gone.reason == "ENDPOINT_NOT_FOUND"


async def test_registering_again_over_other_transports_does_not_flap(hub, fleet):
    fake = await fleet.add(FakeOllama("llama3:8b"))
    async with by_http(hub, fake):
        await wait_until(lambda: hub.hub.info().healthy_count == 1)
        first = by_id(await hub.snapshot())[fake.id]
        for announce in (by_grpc, by_ws, by_stream):
            async with announce(hub, fake):
                endpoint = by_id(await hub.snapshot())[fake.id]
                assert endpoint.status == STATUS_HEALTHY
                assert endpoint.models == first.models
                assert endpoint.registered_at == first.registered_at
                # A sidecar does not rename an endpoint that an admin registered.
                assert (endpoint.name, endpoint.source) == (fake.id, SOURCE_MANUAL)
        assert endpoint.agent_id == "node-1"


async def test_a_changed_model_list_and_a_failure_are_detected(tmp_path, fleet):
    fake = await fleet.add(FakeOllama("a"))
    probes = {"interval_s": 0.1, "total_timeout_s": 1}
    async with running_hub(tmp_path, probes=probes) as hub, by_grpc(hub, fake):

        async def models() -> list[str]:
            return list((await hub.snapshot()).fleet_models)

        async def status() -> int:
            return by_id(await hub.snapshot())[fake.id].status

        async def has(*names: str) -> bool:
            return sorted(await models()) == sorted(names)

        await wait_until(lambda: has("a"))
        fake.persona.load("a")
        fake.persona.on_disk["b"] = type(fake.persona.on_disk["a"])("b")
        fake.persona.unload("a")
        await wait_until(lambda: has("a", "b"))
        assert await status() == STATUS_HEALTHY
        fake.behaviour = Behaviour.HALF_OPEN

        async def is_down() -> bool:
            return await status() == STATUS_UNHEALTHY

        await wait_until(is_down)
        endpoint = by_id(await hub.snapshot())[fake.id]
        assert endpoint.consecutive_failures >= 2
        assert endpoint.last_error
        fake.behaviour = Behaviour.OK

        async def is_up() -> bool:
            return await status() == STATUS_HEALTHY

        await wait_until(is_up)


async def test_twenty_hanging_endpoints_delay_no_client(hub, fleet):
    fakes = [await fleet.add(FakeOllama(), Behaviour.HANGING) for _ in range(20)]
    for fake in fakes:
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host=fake.host, port=fake.port))
    # per_host limits the probes in flight: wait until that many hang.
    hanging = hub.settings.probes.per_host
    await wait_until(lambda: sum(fake.open_connections for fake in fakes) >= hanging)
    for _ in range(50):
        assert len((await hub.snapshot()).endpoints) == 20
        assert len((await shown_by_http(hub))["endpoints"]) == 20
    assert (await hub.http("GET", "/readyz", token="")).status == 200
    async with hub.sidecar("node-1") as socket:
        assert (await socket.ask({"type": "ping"}))["type"] == "pong"
    # The first probes were hanging all this time: none has ended yet.
    checked = [each for each in (await hub.snapshot()).endpoints if each.consecutive_failures]
    assert checked == []
    assert sum(fake.open_connections for fake in fakes) >= hanging
