"""An overloaded hub refuses the cheapest work first, over real sockets with injected readings."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
)
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from websockets.exceptions import InvalidStatus

from hub.server import load_sampler
from hub.service.overload import shedding
from hub.service.overload.pressure import Level
from llmhub.v1.admin_service_pb2 import (
    OVERLOAD_LEVEL_CONNECTIONS,
    OVERLOAD_LEVEL_READS,
    RegisterEndpointRequest,
    RevokeTokenRequest,
)
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.registry_service_pb2 import (
    GetResourcesRequest,
    SelectEndpointRequest,
    WatchRegistryRequest,
)
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.browser_calls import Browser
from tests.support.hub import REGISTRY_PATH, RunningHub, failure, failure_of, running_hub
from tests.support.scrape import scrape, value
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")

BUDGET = 1_000_000
SHARES = dict(zip(Level, (0.5, 0.81, 0.86, 0.91, 0.96, 1.5), strict=True))


class Machine:
    """What the hub reads of its memory."""

    def __init__(self) -> None:
        self.bytes = 0


@pytest.fixture
def machine(monkeypatch) -> Machine:
    reading = Machine()
    monkeypatch.setattr(load_sampler, "_PERIOD_S", 0.01)
    monkeypatch.setattr(load_sampler, "resident_bytes", lambda: reading.bytes)
    return reading


@asynccontextmanager
async def overloaded(tmp_path, machine: Machine, level: Level):
    """A hub that will be at that level once `reach` is called, and stays there."""
    settings = {"memory_bytes": BUDGET, "loop_lag_s": 1000.0}
    async with running_hub(tmp_path, overload=settings) as hub:

        async def reach() -> None:
            machine.bytes = round(SHARES[level] * BUDGET)
            await wait_until(lambda: hub.hub._observability.overload.level is level)

        yield hub, reach


async def admins_and_health_still_work(hub: RunningHub) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await hub.http("GET", path, token="")).status == 200
    check = hub.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    assert (await check(HealthCheckRequest(), timeout=10)).status == HealthCheckResponse.SERVING
    assert (await hub.http("GET", f"{REGISTRY_PATH}/snapshot")).status == 200
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=9))
    made = await hub.created_token(ROLE_READER)
    await hub.call("RevokeToken", RevokeTokenRequest(id=made.token_info.id))
    refused = await failure_of(hub.call("GetSnapshot", token=made.token))
    assert refused.code is grpc.StatusCode.UNAUTHENTICATED


async def test_new_anonymous_connections_are_refused_first(tmp_path, machine):
    async with overloaded(tmp_path, machine, Level.CONNECTIONS) as (hub, reach):
        reader = await hub.token(ROLE_READER)
        async with hub.sidecar("early") as early:
            await reach()
            with pytest.raises(InvalidStatus) as refused:
                async with hub.socket():
                    pass
            response = refused.value.response
            assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
            for path in ("/api/schemas", "/metrics", "/nothing"):
                answer = await hub.http("GET", path, token="")
                assert (answer.status, answer.json["error"]) == (503, "overloaded")
                assert answer.headers["Retry-After"] == "5"
            assert (await hub.http("GET", f"{REGISTRY_PATH}/snapshot", token=reader)).status == 200
            assert (await early.ask({"type": "ping"}))["type"] == "pong"
            await Browser(hub).sign_in(hub.admin_token)
            await admins_and_health_still_work(hub)


async def test_reflection_is_refused_with_anonymous_requests(tmp_path, machine, grpc_engine):
    async with overloaded(tmp_path, machine, Level.CONNECTIONS) as (hub, reach):
        describe = ServerReflectionStub(hub.channel).ServerReflectionInfo

        call = describe(iter([ServerReflectionRequest(list_services="")]))
        assert (await anext(aiter(call))).list_services_response.service
        await reach()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            # Without a message: the client hides the status of a call that ends while it writes.
            await describe(timeout=30).read()
        shown = failure(refused.value)
        assert (shown.reason, shown.retry_after_ms) == ("OVERLOADED", 5_000)
        families = await scrape(hub)
        assert value(
            families, "llmhub_refused_total", transport="grpc", bound="overload_connections"
        )
        await admins_and_health_still_work(hub)


async def test_then_large_snapshots_of_readers(tmp_path, machine, monkeypatch):
    monkeypatch.setattr(shedding, "LARGE_FLEET", 1)
    async with overloaded(tmp_path, machine, Level.SNAPSHOTS) as (hub, reach):
        reader = await hub.token(ROLE_READER)
        await reach()
        assert not (await hub.call("GetSnapshot", token=reader)).snapshot.endpoints
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=9))
        failed = await failure_of(hub.call("GetSnapshot", token=reader))
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
        assert failed.retry_after_ms == 5_000
        for path in (REGISTRY_PATH, f"{REGISTRY_PATH}/snapshot", "/api/models"):
            assert (await hub.http("GET", path, token=reader)).status == 503
        assert (await hub.call("ListEndpoints", token=reader)).endpoints
        await admins_and_health_still_work(hub)


async def test_then_every_second_report(tmp_path, machine):
    async with overloaded(tmp_path, machine, Level.REPORTS) as (hub, reach):
        token = await hub.token(ROLE_SIDECAR, "node-1")
        await reach()
        kept = []
        for percent in (1.0, 2.0, 3.0, 4.0):
            await hub.call(
                "ReportResources", ReportResourcesRequest(cpu_percent=percent), token=token
            )
            try:
                known = await hub.call("GetResources", GetResourcesRequest(agent_id="node-1"))
            except grpc.aio.AioRpcError:
                kept.append(None)
            else:
                kept.append(known.resources.cpu_percent)
        assert kept == [None, 2.0, 2.0, 4.0]
        await admins_and_health_still_work(hub)


async def test_then_watches_and_last_all_reads(tmp_path, machine):
    async with overloaded(tmp_path, machine, Level.WATCHES) as (hub, reach):
        reader = await hub.token(ROLE_READER)
        await reach()
        watch = hub.channel.unary_stream(
            "/llmhub.v1.RegistryService/WatchRegistry",
            request_serializer=WatchRegistryRequest.SerializeToString,
        )
        call = watch(WatchRegistryRequest(), metadata=hub.metadata(reader), timeout=10)
        assert (await failure_of(call.read())).reason == "OVERLOADED"
        assert hub.hub._fleet.changes._slowness > 1
        assert not (await hub.call("ListEndpoints", token=reader)).endpoints

        machine.bytes = 2 * BUDGET
        await wait_until(lambda: hub.hub._observability.overload.level is Level.READS)
        for name, request in (
            ("ListEndpoints", None),
            ("SelectEndpoint", SelectEndpointRequest(model="m")),
        ):
            failed = await failure_of(hub.call(name, request, token=reader))
            assert failed.reason == "OVERLOADED"
        await admins_and_health_still_work(hub)


async def test_it_says_so_everywhere_and_recovers_by_itself(tmp_path, machine, monkeypatch):
    monkeypatch.setattr("hub.service.overload.pressure.FALL_MS", 50)
    async with overloaded(tmp_path, machine, Level.READS) as (hub, reach):
        browser = Browser(hub)
        await browser.sign_in(hub.admin_token)
        async with browser.stream() as events:
            await events.until("state", "endpoints")
            await reach()
            *_, shown = await events.until("overload", "why")
            assert "memory" in shown["why"]
            info = (await hub.call("GetServerInfo")).overload
            assert (info.level, info.cause) == (OVERLOAD_LEVEL_READS, "memory")
            assert info.pressure["memory"] == 1.5
            assert info.HasField("since")
            ready = (await hub.http("GET", "/readyz", token="")).json
            assert ready["status"] == "ready"
            assert ready["overload"].startswith("overloaded (memory); reduces connections,")
            families = await scrape(hub)
            assert value(families, "llmhub_overload_level") == 5
            assert value(families, "llmhub_overload_pressure", resource="memory") == 1.5

            machine.bytes = 0
            await wait_until(lambda: not hub.hub._observability.overload.level)
            async with asyncio.timeout(10):
                while shown["why"] is not None:
                    *_, shown = await events.until("overload", "why")
        assert "overload" not in (await hub.http("GET", "/readyz", token="")).json
        reader = await hub.token(ROLE_READER)
        assert not (await hub.call("GetSnapshot", token=reader)).snapshot.endpoints
        async with hub.socket():
            pass


async def test_a_setting_turns_it_off(tmp_path, machine):
    machine.bytes = 100 * BUDGET
    async with running_hub(tmp_path, overload={"memory_bytes": BUDGET, "enabled": False}) as hub:
        for _ in range(5):
            assert (await hub.http("GET", "/readyz", token="")).json == {"status": "ready"}
        assert (await hub.call("GetServerInfo")).overload.level < OVERLOAD_LEVEL_CONNECTIONS
