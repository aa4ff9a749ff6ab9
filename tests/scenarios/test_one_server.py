"""One server is one endpoint, however its address is spelled and whoever reports it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.service.records import durable_fields, encode_endpoint, endpoint_key
from hub.stores.store import Put
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import (
    OBSERVER_SIDECAR,
    SOURCE_AUTO,
    SOURCE_MANUAL,
    STATUS_HEALTHY,
    Endpoint,
)
from llmhub.v1.frame_pb2 import IdentifyRequest, ReportOllamaRequest
from llmhub.v1.registry_service_pb2 import GetEndpointRequest, SelectEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import REGISTRY_PATH, RunningHub, by_id, failure_of, running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, FakeServer, Fleet

pytestmark = pytest.mark.usefixtures("grpc_engine")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with running_hub(tmp_path) as running:
        yield running


@pytest.fixture
async def ollama(fleet: Fleet) -> FakeServer:
    return await fleet.add(FakeOllama("m"))


async def endpoints(hub: RunningHub) -> dict[str, Endpoint]:
    return by_id(await hub.snapshot())


async def checked(hub: RunningHub, id_: str) -> Endpoint:
    return (await hub.call("CheckEndpoint", CheckEndpointRequest(id=id_))).endpoint


async def test_the_quickstart_registers_one_endpoint(hub: RunningHub, ollama: FakeServer) -> None:
    id_ = f"127.0.0.1:{ollama.port}"
    registered = RegisterEndpointRequest(host="127.0.0.1", port=ollama.port)
    await hub.call("RegisterEndpoint", registered)
    url = f"http://localhost:{ollama.port}"
    async with hub.sidecar("node-1", ollama_url=url) as sidecar:
        ack = await sidecar.ask({"type": "ollama_report", "ollama_url": url})
        assert ack == {"type": "ollama_report_ack", "status": "registered", "endpoint_id": id_}
        report = {"type": "endpoint_report", "url": f"http://[::1]:{ollama.port}"}
        ack = await sidecar.ask(report | {"reachable": True})
        assert ack["endpoint_id"] == id_
        await checked(hub, id_)
        found = await endpoints(hub)
        assert list(found) == [id_]
        assert (found[id_].source, found[id_].agent_id) == (SOURCE_MANUAL, "node-1")
        assert found[id_].sidecar_view.reachable
        assert found[id_].status == STATUS_HEALTHY
        assert dict((await hub.snapshot()).fleet_models) == {"m": 1}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST.", "[0:0::1]"])
async def test_every_spelling_reads_changes_and_removes_the_endpoint(
    hub: RunningHub, ollama: FakeServer, host: str
) -> None:
    own = f"localhost:{ollama.port}"
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="localhost", port=ollama.port))
    spelled = f"{host}:{ollama.port}"
    found = (await hub.call("GetEndpoint", GetEndpointRequest(id=spelled))).endpoint
    assert found.id == own
    assert (await checked(hub, spelled)).id == own
    excluding = SelectEndpointRequest(model="m", exclude_ids=[spelled])
    assert (await failure_of(hub.call("SelectEndpoint", excluding))).reason == "NO_CAPACITY"
    update = UpdateEndpointRequest(endpoint=Endpoint(id=spelled, name="mine"))
    assert (await hub.call("UpdateEndpoint", update)).endpoint.name == "mine"
    again = RegisterEndpointRequest(host=host, port=ollama.port, labels={"a": "b"})
    assert (await hub.call("RegisterEndpoint", again)).endpoint.id == own
    assert (await hub.http("GET", f"{REGISTRY_PATH}/{spelled}")).json["id"] == own
    removed = await hub.call("RemoveEndpoint", RemoveEndpointRequest(id=spelled))
    assert removed.id == own
    assert await endpoints(hub) == {}


async def test_two_records_of_an_earlier_hub_are_kept_and_count_once(
    hub: RunningHub, ollama: FakeServer
) -> None:
    """An earlier version of the hub stored each spelling as an endpoint of its own."""
    ids = [f"127.0.0.1:{ollama.port}", f"localhost:{ollama.port}"]
    for number, id_ in enumerate(ids):
        kept = Endpoint(
            id=id_, host=id_.partition(":")[0], port=ollama.port, scheme="http", name=id_
        )
        kept.registered_at.FromSeconds(1_000 + number)
        await hub.hub._storage.store.commit(
            [Put(endpoint_key(id_), encode_endpoint(durable_fields(kept)))]
        )
    for id_ in ids:
        assert (await checked(hub, id_)).id == id_
    found = await endpoints(hub)
    assert [found[id_].same_server_as for id_ in ids] == ["", ids[0]]
    assert dict((await hub.snapshot()).fleet_models) == {"m": 1}
    request = SelectEndpointRequest(model="m", count=5, explain=True)
    request.lease_ttl.FromSeconds(60)
    answer = await hub.call("SelectEndpoint", request)
    assert len(answer.selections) == 1
    assert {each.in_flight for each in answer.candidates} == {0}
    again = await hub.call("SelectEndpoint", request)
    assert {each.in_flight for each in again.candidates} == {1}
    assert (await hub.call("RemoveEndpoint", RemoveEndpointRequest(id=ids[0]))).id == ids[0]
    assert (await endpoints(hub))[ids[1]].same_server_as == ""
    report = ReportOllamaRequest(ollama_url=ids[0])
    token = await hub.token(ROLE_SIDECAR, "node-1")
    assert (await hub.call("ReportOllama", report, token=token)).endpoint_id == ids[1]


async def test_a_refused_claim_is_reported_and_granted_when_the_owner_leaves(
    hub: RunningHub, ollama: FakeServer
) -> None:
    url = f"http://127.0.0.1:{ollama.port}"
    tokens = {agent: await hub.token(ROLE_SIDECAR, agent) for agent in ("old", "new")}
    async with hub.socket() as claimant:
        async with hub.sidecar("old", token=tokens["old"], ollama_url=url):
            identify = {"type": "identify", "agent_id": "new", "token": tokens["new"]}
            answer = await claimant.ask(identify | {"ollama_url": url})
            refused = answer.pop("endpoint_refused")
            assert answer == {"type": "identified", "agent_id": "new"}
            assert refused.pop("detail")
            assert refused == {
                "endpoint_id": ollama.id,
                "reason": "endpoint_owned",
                "owner": "old",
            }
            error = await claimant.ask({"type": "ollama_report", "ollama_url": url})
            assert (error["type"], error["error"]) == ("error", "endpoint_owned")
            assert (await endpoints(hub))[ollama.id].agent_id == "old"

        async def is_taken_over() -> bool:
            return (await endpoints(hub))[ollama.id].agent_id == "new"

        await wait_until(is_taken_over, timeout_s=20)
        found = (await endpoints(hub))[ollama.id]
        assert found.source == SOURCE_AUTO
    request = IdentifyRequest(agent_id="old", token=tokens["old"], ollama_url=url)
    reply = await hub.call("Identify", request, token=tokens["old"])
    assert reply.endpoint_refused.owner == "new"


async def test_a_report_on_the_endpoint_of_another_agent_is_not_acknowledged(
    hub: RunningHub, ollama: FakeServer
) -> None:
    registered = RegisterEndpointRequest(host="127.0.0.1", port=ollama.port, agent_id="node-1")
    await hub.call("RegisterEndpoint", registered)
    async with hub.sidecar("node-2") as sidecar:
        for frame in (
            {"type": "ollama_report", "ollama_url": f"localhost:{ollama.port}"},
            {"type": "endpoint_report", "url": f"localhost:{ollama.port}", "reachable": True},
        ):
            assert (await sidecar.ask(frame))["error"] == "endpoint_owned"
    assert (await endpoints(hub))[ollama.id].agent_id == "node-1"


async def test_a_backend_that_a_sidecar_reported_is_attributed_to_it(hub: RunningHub) -> None:
    async with hub.sidecar("node-1", ollama_url="http://127.0.0.1:9"):
        found = (await endpoints(hub))["127.0.0.1:9"]
        assert found.provenance.backend.observer == OBSERVER_SIDECAR
