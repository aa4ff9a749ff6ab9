"""Attacks on a running hub, each with an honest client beside it."""

import pytest

from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import Model
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest, ListModelsRequest
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.fleet import saw
from tests.support.hub import REGISTRY_PATH, by_id, running_hub
from tools.fleetsim import FakeOllama, Fleet


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ({"type": "endpoint_report", "error": "down\x1b[2J"}, "error"),
        ({"type": "endpoint_report", "version": "1\u202e0"}, "version"),
        ({"type": "endpoint_report", "models": [{"name": "llama\u2066"}]}, "models[0].name"),
        ({"type": "resource_report", "gpus": [{"name": "RTX\x1b]0;x\x07"}]}, "gpus[0].name"),
    ],
)
async def test_a_sidecar_that_writes_to_terminals(hub, fleet: Fleet, frame, field):
    """L14"""
    server = await fleet.add(FakeOllama())
    url = f"http://{server.id}"
    frame = {"url": url} | frame if frame["type"] == "endpoint_report" else frame
    async with hub.sidecar("attacker") as attacker, hub.sidecar("honest") as honest:
        answer = await attacker.ask(frame)
        assert (answer["type"], answer["error"]) == ("error", "validation_failed")
        (violation,) = answer["errors"]
        assert violation["field"] == field
        assert violation["detail"] == "must not contain control characters"
        report = {"type": "endpoint_report", "url": url, "error": "läuft nicht: 没有回应"}
        assert (await honest.ask(report))["status"] == "registered"


async def test_a_sidecar_that_reports_servers_of_others(tmp_path, fleet: Fleet):
    """L11"""
    server = await fleet.add(FakeOllama())
    async with running_hub(tmp_path, sidecars={"addresses": "own"}) as hub:
        stolen = await hub.token(ROLE_SIDECAR, "attacker")
        async with hub.sidecar("attacker", token=stolen) as attacker:
            for url in ("http://gpu-1.example", "http://192.0.2.9:11434"):
                answer = await attacker.ask({"type": "ollama_report", "ollama_url": url})
                assert answer["error"] == "target_forbidden"
                assert "sidecars.addresses" in answer["detail"]
            async with hub.sidecar("honest") as honest:
                frame = {"type": "ollama_report", "ollama_url": f"http://{server.id}"}
                assert (await honest.ask(frame))["status"] == "registered"
        assert list(by_id(await hub.snapshot())) == [server.id]


async def test_a_fleet_of_rich_models_stays_readable(hub):
    """L10: clients accept 4 MiB by default; 41 servers with rich models had 160 MB."""
    registry = hub.hub._fleet.registry
    models = [Model(name=f"{number:0400}") for number in range(600)]
    for port in range(2_000, 2_041):
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=port))
        registry.observe(f"127.0.0.1:{port}", saw(models=tuple(models)))
    reader = await hub.token(ROLE_READER)
    seen, pages = [], 0
    request = GetSnapshotRequest(page_size=1_000)
    while True:
        page = await hub.call("GetSnapshot", request, token=reader)
        seen += [each.id for each in page.snapshot.endpoints]
        pages += 1
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert (len(seen), len(set(seen))) == (41, 41)
    assert pages > 3
    listed = await hub.call("ListEndpoints", token=reader)
    assert listed.endpoints
    assert listed.next_page_token
    path, total, token = f"{REGISTRY_PATH}?page_size=1000", 0, ""
    while True:
        answer = await hub.http("GET", path + (f"&page_token={token}" if token else ""))
        assert answer.status == 200
        total += len(answer.json["endpoints"])
        if not (token := answer.json["next_page_token"]):
            break
    assert total == 41


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("page_size=x", 422, "validation_failed"),
        ("page_size=1001", 422, "validation_failed"),
        ("page_token=bm90IG9uZQ==", 400, "invalid_page_token"),
    ],
)
@pytest.mark.parametrize("path", ["", "/snapshot"])
async def test_a_page_that_there_is_not(hub, path, query, status, error):
    answer = await hub.http("GET", f"{REGISTRY_PATH}{path}?{query}")
    assert (answer.status, answer.json["error"]) == (status, error)


async def test_a_name_of_a_model_that_is_too_long_for_a_page_token(hub):
    """A sidecar could keep readers from the second page on with one name."""
    registry = hub.hub._fleet.registry
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=2_000))
    names = sorted(["\U0001f600" * 512, "\U0001f601" * 512, "honest"])
    registry.observe("127.0.0.1:2000", saw(models=tuple(Model(name=name) for name in names)))
    reader = await hub.token(ROLE_READER)
    for method, request in (
        ("ListModels", ListModelsRequest(page_size=1)),
        ("GetSnapshot", GetSnapshotRequest(page_size=1)),
    ):
        seen = []
        while True:
            page = await hub.call(method, request, token=reader)
            found = page.models if method == "ListModels" else page.snapshot.fleet_models
            seen += [each if isinstance(each, str) else each.name for each in found]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert seen == names
