import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.base.timestamps import to_ms
from hub.contract.errors import (
    EndpointNotFound,
    InvalidPageToken,
    NotImplementedYet,
    ResourcesNotFound,
    ValidationFailed,
)
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.handlers.read_registry import JsonHandlers
from llmhub.v1.endpoint_pb2 import (
    BACKEND_OLLAMA,
    BACKEND_VLLM,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    Model,
)
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetResourcesRequest,
    ListEndpointsRequest,
    ListEndpointsResponse,
    ListModelsRequest,
)
from llmhub.v1.resources_pb2 import ROLE_READER, ModelSummary
from tests.support.core import Core, running_core
from tests.support.fleet import registered, saw

LLAMA, QWEN = "llama3.2:3b", "qwen3:8b"


def on_disk(name: str) -> Model:
    return Model(name=name, state=MODEL_STATE_AVAILABLE)


def in_memory(name: str) -> Model:
    return Model(name=name, state=MODEL_STATE_LOADED)


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        fleet = running.registry
        fleet.put_endpoint(registered("a:1", labels={"zone": "eu", "tier": "1"}))
        fleet.observe("a:1", saw(models=(in_memory(LLAMA),), backend=BACKEND_OLLAMA))
        fleet.put_endpoint(registered("b:1", labels={"zone": "eu"}, backend=BACKEND_VLLM))
        fleet.observe("b:1", saw(models=(on_disk(LLAMA), on_disk(QWEN))))
        fleet.put_endpoint(registered("c:1", labels={"zone": "us"}))
        fleet.observe("c:1", saw(models=(on_disk(QWEN),), backend=BACKEND_OLLAMA))
        for _ in range(2):
            fleet.observe("c:1", saw(error="refused"))
        fleet.put_endpoint(registered("d:1"))
        yield running


async def ids(core: Core, **filters: object) -> list[str]:
    reply = await core.as_reader("ListEndpoints", ListEndpointsRequest(**filters))
    return [endpoint.id for endpoint in reply.endpoints]


async def test_get_endpoint_returns_the_current_state(core: Core) -> None:
    reply = await core.as_reader("GetEndpoint", GetEndpointRequest(id="b:1"))
    assert reply.endpoint == core.endpoint("b:1")


async def test_an_unknown_endpoint_is_not_found(core: Core) -> None:
    with pytest.raises(EndpointNotFound) as refused:
        await core.as_reader("GetEndpoint", GetEndpointRequest(id="z:1"))
    assert refused.value.metadata == {"id": "z:1"}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["a:1", "b:1", "c:1", "d:1"]),
        ({"model": LLAMA}, ["a:1", "b:1"]),
        ({"model": "llama3.2"}, []),
        ({"backend": BACKEND_OLLAMA}, ["a:1", "c:1"]),
        ({"status": STATUS_UNHEALTHY}, ["c:1"]),
        ({"status": STATUS_UNKNOWN}, ["d:1"]),
        ({"labels": {"zone": "eu"}}, ["a:1", "b:1"]),
        ({"labels": {"zone": "eu", "tier": "1"}}, ["a:1"]),
        ({"labels": {"zone": ""}}, []),
        ({"model": QWEN, "status": STATUS_HEALTHY, "labels": {"zone": "eu"}}, ["b:1"]),
    ],
)
async def test_filters_must_all_match(
    core: Core, filters: dict[str, object], expected: list[str]
) -> None:
    assert await ids(core, **filters) == expected


async def pages(core: Core, request: ListEndpointsRequest) -> AsyncIterator[ListEndpointsResponse]:
    while True:
        page = await core.as_reader("ListEndpoints", request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("model", ["", LLAMA])
async def test_pages_together_are_the_whole_listing(core: Core, size: int, model: str) -> None:
    seen: list[str] = []
    async for page in pages(core, ListEndpointsRequest(page_size=size, model=model)):
        assert 0 < len(page.endpoints) <= size
        assert page.revision == core.registry.revision
        seen += [endpoint.id for endpoint in page.endpoints]
    assert seen == await ids(core, model=model)


async def test_pages_skip_and_repeat_nothing_while_entries_change(core: Core) -> None:
    walk = pages(core, ListEndpointsRequest(page_size=2))
    first = await anext(walk)
    assert [endpoint.id for endpoint in first.endpoints] == ["a:1", "b:1"]
    core.registry.put_endpoint(registered("a:2"))  # before where the next page begins
    core.registry.put_endpoint(registered("c:0"))  # after it
    core.registry.remove_endpoint("b:1")  # the very one it begins after
    core.registry.remove_endpoint("d:1")
    rest = [endpoint.id async for page in walk for endpoint in page.endpoints]
    assert rest == ["c:0", "c:1"]


async def test_a_foreign_or_unknown_page_token_is_refused(core: Core) -> None:
    page = await core.as_reader("ListEndpoints", ListEndpointsRequest(page_size=1))
    for wrong in (
        ListEndpointsRequest(page_token=page.next_page_token, model=LLAMA),
        ListEndpointsRequest(page_token="garbage"),
    ):
        with pytest.raises(InvalidPageToken):
            await core.as_reader("ListEndpoints", wrong)
    with pytest.raises(InvalidPageToken):
        await core.as_reader("ListModels", ListModelsRequest(page_token=page.next_page_token))


async def test_a_model_is_found_by_its_name_without_the_tag_latest(core: Core) -> None:
    core.registry.put_endpoint(registered("d:1"))
    core.registry.observe("d:1", saw(models=(in_memory("real-chat:latest"),)))
    assert await ids(core, model="real-chat") == ["d:1"]
    assert await ids(core, model="real-chat:latest") == ["d:1"]
    assert await ids(core, model="real-chat:7b") == []


@pytest.mark.parametrize(("size", "shown"), [(0, 100), (1000, 130)])
async def test_page_size_bounds_a_page(core: Core, size: int, shown: int) -> None:
    for n in range(126):
        core.registry.put_endpoint(registered(f"gpu-{n}:1"))
    assert len(await ids(core, page_size=size)) == shown


async def test_a_page_size_out_of_bounds_is_refused(core: Core) -> None:
    for size in (-1, 1001):
        with pytest.raises(ValidationFailed):
            await ids(core, page_size=size)


async def test_models_are_listed_with_their_endpoints_and_states(core: Core) -> None:
    reply = await core.as_reader("ListModels")
    assert list(reply.models) == [
        ModelSummary(
            name=LLAMA,
            endpoint_count=2,
            loaded_count=1,
            healthy_count=2,
            endpoint_ids=["a:1", "b:1"],
        ),
        ModelSummary(
            name=QWEN,
            endpoint_count=2,
            loaded_count=0,
            healthy_count=1,
            endpoint_ids=["b:1", "c:1"],
        ),
    ]
    assert reply.next_page_token == ""
    assert reply.revision == core.registry.revision


async def test_models_are_listed_in_pages(core: Core) -> None:
    first = await core.as_reader("ListModels", ListModelsRequest(page_size=1))
    assert [model.name for model in first.models] == [LLAMA]
    request = ListModelsRequest(page_size=1, page_token=first.next_page_token)
    second = await core.as_reader("ListModels", request)
    assert [model.name for model in second.models] == [QWEN]
    assert second.next_page_token == ""


async def test_resources_are_returned_until_their_deadline(core: Core) -> None:
    core.registry.report_resources(
        "node-1", ReportResourcesRequest(cpu_percent=5), core.clock.now_ms()
    )
    wanted = GetResourcesRequest(agent_id="node-1")
    core.clock.advance(89_999)
    resources = (await core.as_reader("GetResources", wanted)).resources
    assert resources.cpu_percent == 5
    assert to_ms(resources.reported_at) == core.clock.now_ms() - 89_999
    core.clock.advance(1)
    with pytest.raises(ResourcesNotFound):
        await core.as_reader("GetResources", wanted)


async def test_the_snapshot_is_the_whole_fleet_at_one_revision(core: Core) -> None:
    core.registry.report_resources("node-1", ReportResourcesRequest(), core.clock.now_ms())
    snapshot = (await core.as_reader("GetSnapshot")).snapshot
    assert list(snapshot.endpoints) == [record.message for record in core.registry.endpoints()]
    assert dict(snapshot.fleet_models) == {LLAMA: 2, QWEN: 2}
    assert set(snapshot.resources) == {"node-1"}
    assert snapshot.revision == core.registry.revision


async def test_an_rpc_without_a_handler_is_unimplemented(core: Core) -> None:
    # The core of these tests has no event feed, so no handler serves watches.
    with pytest.raises(NotImplementedYet, match="WatchRegistry"):
        await core.as_reader("WatchRegistry")


NOW_MS = 1_800_000_000_000
CALLER = Caller(Principal(ROLE_READER, "", "t"), "10.0.0.9", "http")


@pytest.fixture
def registry() -> Registry:
    return Registry(first_revision=1000)


@pytest.fixture
def views(registry) -> JsonHandlers:
    return JsonHandlers(registry)


def register(registry, *ids):
    for id_ in ids:
        host, _, port = id_.rpartition(":")
        registry.put_endpoint(Endpoint(id=id_, host=host, port=int(port), name=id_, etag="e"))


def see(registry, id_, *models):
    seen = Observation(
        checked_at_ms=NOW_MS,
        next_check_at_ms=NOW_MS + 30_000,
        backend=BACKEND_OLLAMA,
        models=tuple(Model(name=name, state=MODEL_STATE_LOADED) for name in models),
    )
    registry.observe(id_, seen)


def test_an_empty_fleet_is_listed_as_empty(views):
    assert json.loads(views.list_endpoints_json(None, CALLER, NOW_MS)) == {"endpoints": []}
    assert json.loads(views.get_snapshot_json(None, CALLER, NOW_MS)) == {
        "endpoints": [],
        "resources": {},
        "fleet_models": {},
        "vram": {},
        "revision": 1000,
    }


def test_an_endpoint_shows_every_field(registry, views):
    register(registry, "gpu-1.lan:11434")
    shown = json.loads(views.get_endpoint_json("gpu-1.lan:11434", CALLER, NOW_MS))
    assert set(shown) == set(Endpoint.DESCRIPTOR.fields_by_name)
    assert shown["status"] == "unknown"
    assert shown["models"] == []
    assert shown["labels"] == {}
    assert shown["agent_id"] == ""
    assert shown["last_error"] == ""
    assert shown["consecutive_failures"] == 0
    assert shown["last_checked_at"] is None
    assert shown["backend"] is None


def test_observed_facts_are_shown(registry, views):
    register(registry, "h:1")
    see(registry, "h:1", "a:latest")
    shown = json.loads(views.get_endpoint_json("h:1", CALLER, NOW_MS))
    assert (shown["status"], shown["backend"]) == ("healthy", "ollama")
    assert shown["last_checked_at"] == NOW_MS
    (model,) = shown["models"]
    assert set(model) == set(Model.DESCRIPTOR.fields_by_name)
    assert (model["name"], model["state"], model["vram_bytes"]) == ("a:latest", "loaded", None)


def test_a_missing_endpoint_is_not_found(views):
    with pytest.raises(EndpointNotFound) as caught:
        views.get_endpoint_json("h:1", CALLER, NOW_MS)
    assert caught.value.metadata == {"id": "h:1"}


def test_lists_are_sorted_by_id_and_follow_every_change(registry, views):
    def listed():
        return [
            each["id"]
            for each in json.loads(views.list_endpoints_json(None, CALLER, NOW_MS))["endpoints"]
        ]

    register(registry, "b:1", "a:2", "a:1")
    assert listed() == ["a:1", "a:2", "b:1"]
    registry.remove_endpoint("a:2")
    assert listed() == ["a:1", "b:1"]
    see(registry, "b:1", "m")
    assert (
        json.loads(views.list_endpoints_json(None, CALLER, NOW_MS))["endpoints"][1]["status"]
        == "healthy"
    )


def test_the_snapshot_has_endpoints_resources_and_models(registry, views):
    register(registry, "a:1", "b:1")
    see(registry, "a:1", "m1", "m2")
    see(registry, "b:1", "m2")
    registry.report_resources('no"de', ReportResourcesRequest(cpu_percent=1.5), NOW_MS)
    snapshot = json.loads(views.get_snapshot_json(None, CALLER, NOW_MS))
    assert snapshot["fleet_models"] == {"m1": 1, "m2": 2}
    assert snapshot["revision"] == registry.revision
    resources = snapshot["resources"]['no"de']
    assert (resources["agent_id"], resources["cpu_percent"]) == ('no"de', 1.5)
    assert resources["vram_total_bytes"] is None
    assert resources["gpus"] == []
    assert resources["reported_at"] == NOW_MS


def test_resources_are_dropped_at_their_deadline(registry, views):
    registry.report_resources("node-1", ReportResourcesRequest(), NOW_MS)
    assert json.loads(views.get_snapshot_json(None, CALLER, NOW_MS + 89_999))["resources"]
    assert json.loads(views.get_snapshot_json(None, CALLER, NOW_MS + 90_000))["resources"] == {}


def test_readers_share_a_snapshot_until_something_changes(registry, views):
    register(registry, "a:1")
    first = views.get_snapshot_json(None, CALLER, NOW_MS)
    assert views.get_snapshot_json(None, CALLER, NOW_MS + 1) is first
    registry.report_resources("node-1", ReportResourcesRequest(), NOW_MS)
    assert json.loads(views.get_snapshot_json(None, CALLER, NOW_MS))["resources"]
