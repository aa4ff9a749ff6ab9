import asyncio
import shutil
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from hub.base.clock import SystemClock
from hub.contract import rpcs
from hub.registry.state import Registry
from hub.server import hub_server
from tests.support.etcd import EtcdServer
from tests.support.hub import running_hub, settings_for
from tests.support.stores import answering
from tests.support.waiting import wait_until

SERVING = HealthCheckResponse.SERVING


async def test_a_dead_expiry_task_is_reported_as_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unforeseen(_self: Registry, _now_ms: int) -> None:
        raise ValueError("unforeseen")

    monkeypatch.setattr(Registry, "expire", unforeseen)
    failed = asyncio.Event()
    hub = hub_server.HubServer(settings_for(tmp_path), SystemClock(), failed.set)
    try:
        await hub.start()
        await asyncio.wait_for(failed.wait(), 10)
    finally:
        await hub.stop()


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")
async def test_a_hub_that_lost_etcd_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_server, "_OUT_OF_TOUCH_S", 0.0)
    server = EtcdServer()
    try:
        await answering(server.target)
        async with running_hub(tmp_path, store={"etcd": server.target}) as hub:

            async def readiness(status: int) -> bool:
                answer = await hub.http("GET", "/readyz", token="")
                return answer.status == status and (
                    status == 200 or "etcd" in answer.json["reason"]
                )

            health = health_pb2_grpc.HealthStub(hub.channel)
            names = ("", *(service.full_name for service in rpcs.SERVICES))

            async def not_serving() -> set[str]:
                asked = {name: health_pb2.HealthCheckRequest(service=name) for name in names}
                reported = {name: await health.Check(asked[name], timeout=60) for name in names}
                return {name for name in names if reported[name].status != SERVING}

            async def is_serving() -> bool:
                return not await not_serving()

            await wait_until(lambda: readiness(200))
            assert await is_serving()
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=300)
            assert (await watch.read()).status == SERVING
            await asyncio.to_thread(server.kill)
            await wait_until(lambda: readiness(503))
            # What a load balancer asks for is as /readyz; reads are still answered.
            assert await not_serving() == {"", "llmhub.v1.AdminService"}
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await hub.snapshot()
            await asyncio.to_thread(server.start)
            await wait_until(lambda: readiness(200))
            await wait_until(is_serving)
            assert (await watch.read()).status == SERVING
            watch.cancel()
    finally:
        server.remove()
