import orjson
import pytest

from hub.base.bounds import PAGE_BYTES
from hub.contract.errors import InvalidPageToken
from hub.registry.state import Registry
from hub.service.handlers.read_registry import JsonHandlers, RegistryHandlers
from hub.service.handlers.snapshot_pages import SnapshotPages
from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED, Model
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest, GetSnapshotResponse
from llmhub.v1.resources_pb2 import Snapshot
from tests.support.fleet import NOW, registered, saw
from tests.support.selecting import CALLER


def fleet(endpoints: int = 7, models: int = 3, name_length: int = 1) -> Registry:
    registry = Registry(first_revision=1_000)
    for number in range(endpoints):
        id_ = f"gpu-{number}:11434"
        registry.put_endpoint(registered(id_, agent_id=f"node-{number}"))
        known = tuple(
            Model(name=f"{number % 3}-{each}" + "x" * name_length, state=MODEL_STATE_LOADED)
            for each in range(models)
        )
        registry.observe(id_, saw(models=known))
    for number in range(3, 9):
        report = ReportResourcesRequest(cpu_percent=number, vram_used_bytes=number)
        registry.report_resources(f"node-{number}", report, NOW)
    return registry


def pages_of(registry: Registry, size: int) -> list[GetSnapshotResponse]:
    pages, request = [], GetSnapshotRequest(page_size=size)
    while True:
        encoded = SnapshotPages(registry).encoded(request, NOW)
        pages.append(GetSnapshotResponse.FromString(encoded))
        if not (token := pages[-1].next_page_token):
            return pages
        request.page_token = token


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_the_pages_together_are_the_snapshot(size: int) -> None:
    registry = fleet()
    whole = GetSnapshotResponse.FromString(
        RegistryHandlers(registry).get_snapshot(GetSnapshotRequest(), CALLER, NOW)
    ).snapshot
    assert (len(whole.endpoints), len(whole.resources), len(whole.fleet_models)) == (7, 6, 9)
    pages = pages_of(registry, size)
    merged = Snapshot()
    for page in pages:
        held = page.snapshot
        assert len(held.endpoints) + len(held.vram) + len(held.fleet_models) <= size
        assert held.revision == whole.revision
        merged.MergeFrom(held)
    assert merged == whole


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_pages_in_json_are_the_same(size: int) -> None:
    registry = fleet()
    handlers = JsonHandlers(registry)
    whole = orjson.loads(handlers.get_snapshot_json(None, CALLER, NOW))
    merged = {"endpoints": [], "resources": {}, "fleet_models": {}, "vram": {}}
    request = GetSnapshotRequest(page_size=size)
    while True:
        page = orjson.loads(handlers.get_snapshot_json(request, CALLER, NOW))
        merged["endpoints"] += page["endpoints"]
        for name in ("resources", "fleet_models", "vram"):
            merged[name] |= page[name]
        if not page["next_page_token"]:
            break
        request.page_token = page["next_page_token"]
    assert merged | {"revision": registry.revision} == whole


def test_a_page_has_no_more_bytes_than_its_bound() -> None:
    registry = fleet(endpoints=30, models=450, name_length=400)
    pages = pages_of(registry, 1000)
    assert len(pages) > 2
    assert max(page.ByteSize() for page in pages) < PAGE_BYTES + 1_000
    assert sum(len(page.snapshot.endpoints) for page in pages) == 30


def test_entries_that_come_and_go_between_pages_harm_no_other() -> None:
    registry = fleet()
    first = pages_of(registry, 3)[0]
    registry.remove_endpoint("gpu-2:11434")
    registry.put_endpoint(registered("gpu-0a:11434"))
    request = GetSnapshotRequest(page_size=100, page_token=first.next_page_token)
    rest = GetSnapshotResponse.FromString(SnapshotPages(registry).encoded(request, NOW))
    assert [each.id for each in rest.snapshot.endpoints] == [
        f"gpu-{number}:11434" for number in (3, 4, 5, 6)
    ]
    assert rest.snapshot.revision > first.snapshot.revision


def test_a_token_of_another_listing_is_refused() -> None:
    with pytest.raises(InvalidPageToken):
        SnapshotPages(fleet()).encoded(GetSnapshotRequest(page_token="bm90IG9uZQ=="), NOW)
