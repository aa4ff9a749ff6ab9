from hypothesis import given, settings
from hypothesis import strategies as st

from hub.registry import listings
from hub.registry.listings import SnapshotView
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import Endpoint, Model
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.registry_service_pb2 import (
    GetEndpointResponse,
    GetSnapshotResponse,
    ListEndpointsRequest,
    ListEndpointsResponse,
)
from llmhub.v1.resources_pb2 import HostResources, Snapshot
from tests.support.fleet import NOW, OBSERVATIONS, REPORTS, registered, registrations, saw

IDS = st.integers(1, 30).map(lambda n: f"gpu-{n}:11434")
SOME = settings(max_examples=40, deadline=None)


@st.composite
def fleets(draw: st.DrawFn) -> Registry:
    registry = Registry(first_revision=draw(st.integers(1, 2**60)))
    for endpoint in draw(st.lists(registrations(IDS), max_size=6)):
        registry.put_endpoint(endpoint)
        registry.observe(endpoint.id, draw(OBSERVATIONS))
    for agent_id in draw(st.lists(st.sampled_from(["a", "b", "ü"]), max_size=3)):
        registry.report_resources(agent_id, draw(REPORTS), NOW)
    return registry


def plain_snapshot(registry: Registry) -> Snapshot:
    snapshot = Snapshot(
        endpoints=[record.message for record in registry.endpoints()],
        fleet_models=registry.fleet_models(),
        revision=registry.revision,
    )
    for agent_id, record in registry.resources.items():
        snapshot.resources[agent_id].CopyFrom(record.message)
    for account in registry.vram_accounts():
        snapshot.vram[account.message.agent_id].CopyFrom(account.message)
    return snapshot


def test_the_field_numbers_are_those_that_fragments_rely_on() -> None:
    for message in (GetEndpointResponse, ListEndpointsResponse, Snapshot):
        field = message.DESCRIPTOR.fields_by_number[1]
        assert field.message_type is Endpoint.DESCRIPTOR, message
    assert GetSnapshotResponse.DESCRIPTOR.fields_by_number[1].message_type is Snapshot.DESCRIPTOR


@SOME
@given(fleets())
def test_an_endpoint_equals_its_plain_encoding(registry: Registry) -> None:
    for record in registry.endpoints():
        encoded = listings.get_endpoint(record)
        plain = GetEndpointResponse(endpoint=record.message)
        assert GetEndpointResponse.FromString(encoded) == plain
        assert len(encoded) == plain.ByteSize()
        if len(record.message.labels) < 2:  # the order in a map is arbitrary
            assert encoded == plain.SerializeToString()


@SOME
@given(fleets(), st.text(max_size=5))
def test_a_listing_equals_its_plain_encoding(registry: Registry, token: str) -> None:
    records = list(registry.endpoints())
    encoded = listings.PageCache(registry).encoded(
        ListEndpointsRequest(), lambda: listings.page_of_endpoints(records, token)
    )
    plain = ListEndpointsResponse(
        endpoints=[record.message for record in records],
        next_page_token=token,
        revision=registry.revision,
    )
    assert ListEndpointsResponse.FromString(encoded) == plain
    assert len(encoded) == plain.ByteSize()
    if all(len(record.message.labels) < 2 for record in records):
        assert encoded == plain.SerializeToString()


@SOME
@given(fleets())
def test_a_snapshot_equals_its_plain_encoding(registry: Registry) -> None:
    encoded = SnapshotView(registry).encoded(NOW)
    plain = GetSnapshotResponse(snapshot=plain_snapshot(registry))
    parsed = GetSnapshotResponse.FromString(encoded)
    assert parsed == plain
    assert len(encoded) == plain.ByteSize()
    assert parsed.SerializeToString(deterministic=True) == plain.SerializeToString(
        deterministic=True
    )


def test_an_empty_fleet_has_a_snapshot_too() -> None:
    registry = Registry(first_revision=3)
    parsed = GetSnapshotResponse.FromString(SnapshotView(registry).encoded(NOW))
    assert parsed.HasField("snapshot")
    assert parsed.snapshot == Snapshot(revision=3)


def test_a_snapshot_is_encoded_once_per_revision() -> None:
    registry = Registry(first_revision=3)
    registry.put_endpoint(registered("gpu-1:11434"))
    view = SnapshotView(registry)
    first = view.encoded(NOW)
    assert view.encoded(NOW) is first
    registry.observe("gpu-1:11434", saw(models=(Model(name="m"),)))
    second = view.encoded(NOW)
    assert second is not first
    assert GetSnapshotResponse.FromString(second).snapshot.fleet_models == {"m": 1}
    assert view.encoded(NOW) is second


def test_an_endpoint_is_encoded_once_for_all_views() -> None:
    registry = Registry(first_revision=3)
    registry.put_endpoint(registered("gpu-1:11434"))
    (record,) = registry.endpoints()
    fragment = listings.get_endpoint(record)
    registry.report_resources("node-1", ReportResourcesRequest(), NOW)
    assert listings.get_endpoint(record) is fragment
    assert fragment in listings.page_of_endpoints([record], "")
    assert fragment in SnapshotView(registry).encoded(NOW)


def test_a_snapshot_holds_resources_up_to_their_deadline() -> None:
    registry = Registry(first_revision=3)
    registry.report_resources("node-1", ReportResourcesRequest(cpu_percent=5), NOW)
    view = SnapshotView(registry)

    def resources(now_ms: int) -> dict[str, HostResources]:
        return dict(GetSnapshotResponse.FromString(view.encoded(now_ms)).snapshot.resources)

    assert set(resources(NOW + 89_999)) == {"node-1"}
    assert resources(NOW + 90_000) == {}


class Pages:
    """Pages of a registry's endpoints, counting how often one was made."""

    def __init__(self, registry: Registry, capacity: int = 16, **bounds: int) -> None:
        self.registry = registry
        self.cache = listings.PageCache(registry, capacity, **bounds)
        self.made = 0

    def ask(self, **request: object) -> ListEndpointsResponse:
        encoded = self.cache.encoded(ListEndpointsRequest(**request), self._make)
        return ListEndpointsResponse.FromString(encoded)

    def _make(self) -> bytes:
        self.made += 1
        return listings.page_of_endpoints(self.registry.endpoints(), "next")


def test_the_memory_for_pages_is_bounded() -> None:
    """L15: a page has up to a thousand endpoints, of up to 256 KiB each."""
    registry = Registry(first_revision=3)
    registry.put_endpoint(registered("gpu-1:11434", labels={"a": "x" * 200}))
    pages = Pages(registry, max_bytes=700)
    for size in (1, 2, 3, 3, 1):
        assert len(pages.ask(page_size=size).endpoints) == 1
    assert pages.made == 4
    tiny = Pages(registry, max_bytes=1)
    assert [len(tiny.ask(page_size=1).endpoints) for _ in range(2)] == [1, 1]
    assert tiny.made == 2


def test_a_page_is_made_once_although_hosts_report() -> None:
    registry = Registry(first_revision=3)
    registry.put_endpoint(registered("gpu-1:11434"))
    pages = Pages(registry)
    first = pages.ask(page_size=5)
    registry.report_resources("node-1", ReportResourcesRequest(), NOW)
    second = pages.ask(page_size=5)
    assert pages.made == 1
    assert second.revision == registry.revision == first.revision + 1
    assert second.endpoints == first.endpoints
    assert second.next_page_token == "next"


def test_a_page_is_rebuilt_after_an_endpoint_changed() -> None:
    registry = Registry(first_revision=3)
    pages = Pages(registry)
    assert not pages.ask().endpoints
    registry.put_endpoint(registered("gpu-1:11434"))
    assert [endpoint.id for endpoint in pages.ask().endpoints] == ["gpu-1:11434"]
    registry.observe("gpu-1:11434", saw(models=(Model(name="m"),)))
    assert pages.ask().endpoints[0].models[0].name == "m"
    registry.remove_endpoint("gpu-1:11434")
    assert not pages.ask().endpoints
    assert pages.made == 4


def test_pages_are_keyed_by_the_whole_request_and_bounded() -> None:
    pages = Pages(Registry(first_revision=3), capacity=2)
    for _ in range(2):
        pages.ask(page_size=1)
        pages.ask(page_size=1, model="m")
    assert pages.made == 2
    pages.ask(page_size=2)
    pages.ask(page_size=1)
    assert pages.made == 4
