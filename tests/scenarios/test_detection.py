"""Servers that die, hang and come back: the hub knows within seconds, not intervals.

The interval is the usual 30 s, so what is known within the deadlines here was not seen by
a regular probe.
"""

from pathlib import Path

import grpc
import pytest

from llmhub.v1.admin_service_pb2 import CheckEndpointRequest, RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import (
    FAULT_DEAD,
    FAULT_NO_ANSWER,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    Endpoint,
    Status,
)
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import HubClient, RunningHub, by_id, running_hub
from tests.support.ports import lasting_port
from tests.support.sidecar_process import sidecar_process
from tests.support.waiting import wait_until
from tools.fleetsim import Behaviour, FakeOllama, Fleet

pytestmark = pytest.mark.usefixtures("grpc_engine")

SOON_S = 15.0


async def endpoint(hub: HubClient, id_: str) -> Endpoint:
    return by_id(await hub.snapshot())[id_]


async def until(hub: HubClient, id_: str, status: Status) -> Endpoint:
    async def reached() -> bool:
        found = by_id(await hub.snapshot()).get(id_)
        return found is not None and found.status == status

    await wait_until(reached, timeout_s=SOON_S)
    return await endpoint(hub, id_)


@pytest.mark.parametrize("kind", ["killed", "hung"])
async def test_a_failure_is_confirmed_within_seconds(
    tmp_path: Path, fleet: Fleet, kind: str
) -> None:
    async with running_hub(tmp_path, probes={"total_timeout_s": 2}) as hub:
        server = await fleet.add(FakeOllama("m"), port=lasting_port())
        await hub.call(
            "RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=server.port)
        )
        await until(hub, server.id, STATUS_HEALTHY)
        if kind == "killed":
            await fleet.stop(server)
        else:
            server.behaviour = Behaviour.HANGING
        # The first miss, as the next regular probe would have it.
        await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
        found = await until(hub, server.id, STATUS_UNHEALTHY)
        assert found.fault == FAULT_NO_ANSWER
        assert found.consecutive_failures == 2


async def test_a_sidecar_makes_failure_and_recovery_known_at_once(
    tmp_path: Path, fleet: Fleet
) -> None:
    async with running_hub(tmp_path / "data") as hub:
        server = await fleet.add(FakeOllama("m"), port=lasting_port())
        token = await hub.token(ROLE_SIDECAR, "node-1")
        arguments = ("--no-discover", "--endpoint", server.id)
        async with sidecar_process(hub.ws_address, "node-1", token, *arguments) as sidecar:
            await until(hub, server.id, STATUS_HEALTHY)
            await selectable(hub, is_so=True)
            await fleet.stop(server)
            found = await until(hub, server.id, STATUS_UNHEALTHY)
            assert found.fault == FAULT_DEAD
            await selectable(hub, is_so=False)
            await fleet.add(FakeOllama("m"), port=server.port)
            await until(hub, server.id, STATUS_HEALTHY)
            await selectable(hub, is_so=True)
            assert await sidecar.stop() == 0


async def selectable(hub: RunningHub, *, is_so: bool) -> None:
    request = SelectEndpointRequest(model="m")
    if is_so:
        assert len((await hub.call("SelectEndpoint", request)).selections) == 1
    else:
        with pytest.raises(grpc.aio.AioRpcError):
            await hub.call("SelectEndpoint", request)


async def test_a_sidecars_report_triggers_a_probe_but_is_not_trusted(
    tmp_path: Path, fleet: Fleet
) -> None:
    async with running_hub(tmp_path) as hub:
        server = await fleet.add(FakeOllama("m"))
        async with hub.sidecar("node-1") as sidecar:
            report = {"type": "endpoint_report", "url": f"http://{server.id}", "reachable": True}
            assert (await sidecar.ask(report))["type"] == "endpoint_report_ack"
            await until(hub, server.id, STATUS_HEALTHY)
            requests = server.requests
            answer = await sidecar.ask(report | {"reachable": False, "error": "gone"})
            assert answer["type"] == "endpoint_report_ack"
            await server.wait_until(lambda: server.requests > requests)
            assert (await endpoint(hub, server.id)).status == STATUS_HEALTHY
            # The same word again is no news.
            await wait_until(lambda: hub.hub._fleet.probes.active == 0)
            requests = server.requests
            await sidecar.ask(report | {"reachable": False, "error": "gone"})
            await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
            assert server.requests <= requests + 3


async def test_a_hundred_endpoints_are_probed_within_seconds_of_a_restart(
    tmp_path: Path, fleet: Fleet
) -> None:
    servers = await fleet.add_spread([FakeOllama("m") for _ in range(100)], [Behaviour.OK] * 100)
    async with running_hub(tmp_path) as hub:
        for server in servers:
            request = RegisterEndpointRequest(host=server.host, port=server.port)
            await hub.call("RegisterEndpoint", request)
    async with running_hub(tmp_path) as hub:
        await wait_until(lambda: hub.hub.info().healthy_count == 100, timeout_s=SOON_S)
