from collections.abc import Callable
from itertools import pairwise

import pytest

from hub.registry import segments
from hub.registry.filters import EndpointFilter
from hub.registry.history.ring import Compacted
from hub.registry.observation import Load, Observation
from hub.registry.segments import Interest, changes, state
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    BACKEND_UNSPECIFIED,
    STATUS_HEALTHY,
    STATUS_UNSPECIFIED,
    Endpoint,
    Model,
)
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import WatchRegistryResponse
from llmhub.v1.resources_pb2 import EVENT_TYPE_DELETE, EVENT_TYPE_PUT, HostResources
from tests.support.watching import Copy

NOW = 1_800_000_000_000
ALL = Interest(resources=True, checks=True, aliases=True)


def new_registry(ring_capacity: int = 1000) -> Registry:
    return Registry(first_revision=1000, ring_capacity=ring_capacity)


def endpoint(id_: str, **fields: object) -> Endpoint:
    return Endpoint(id=id_, host="h", port=1, **fields)


def seen(now_ms: int = NOW, models: tuple[Model, ...] = (), **more: object) -> Observation:
    return Observation(
        checked_at_ms=now_ms, next_check_at_ms=now_ms + 30_000, models=models, **more
    )


def read(registry: Registry, interest: Interest, after: int) -> list[WatchRegistryResponse]:
    segment = changes(registry, interest, after)
    responses = [WatchRegistryResponse.FromString(raw) for raw in segment.responses]
    if responses:
        assert responses[-1].revision == segment.revision
    return responses


def whole(registry: Registry, interest: Interest) -> tuple[int, list[WatchRegistryResponse]]:
    revision, responses = state(registry, interest, NOW)
    return revision, [WatchRegistryResponse.FromString(raw) for raw in responses]


def test_the_state_of_an_empty_registry_is_one_response_with_the_revision() -> None:
    revision, responses = whole(new_registry(), ALL)
    assert revision == 1000
    assert responses == [WatchRegistryResponse(revision=1000)]


def test_the_state_has_what_was_requested_as_of_its_revision() -> None:
    registry = new_registry()
    registry.put_endpoint(endpoint("a:1"))
    registry.put_alias(ModelAlias(name="small"))
    registry.report_resources("n", ReportResourcesRequest(cpu_percent=5), NOW)
    revision, responses = state(registry, ALL, NOW)
    # Changes after the call are not part of it, however late it is read.
    registry.remove_endpoint("a:1")
    copy = Copy()
    for raw in responses:
        copy.apply(WatchRegistryResponse.FromString(raw))
    assert (set(copy.endpoints), set(copy.resources), set(copy.aliases)) == (
        {"a:1"},
        {"n"},
        {"small"},
    )
    assert copy.revision == revision == 1003

    _, bare = whole(registry, Interest())
    assert bare == [WatchRegistryResponse(revision=registry.revision)]


def test_only_the_last_part_of_a_long_state_has_the_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segments, "MAX_RESPONSE_BYTES", 200)
    registry = new_registry()
    for i in range(20):
        registry.put_endpoint(endpoint(f"a:{i}", name="n" * 40))
    revision, responses = whole(registry, Interest())
    assert len(responses) > 3
    assert {response.revision for response in responses[:-1]} == {0}
    assert responses[-1].revision == revision
    assert all(response.ByteSize() < 300 for response in responses)
    ids = [event.endpoint.id for response in responses for event in response.events]
    assert sorted(ids) == sorted(f"a:{i}" for i in range(20))


def test_changes_including_deletions_come_once_and_in_order() -> None:
    registry = new_registry()
    registry.put_endpoint(endpoint("a:1"))
    registry.put_endpoint(endpoint("b:1"))
    registry.remove_endpoint("a:1")
    (response,) = read(registry, Interest(), 1000)
    assert [(event.type, event.revision, event.endpoint.id) for event in response.events] == [
        (EVENT_TYPE_PUT, 1001, "a:1"),
        (EVENT_TYPE_PUT, 1002, "b:1"),
        (EVENT_TYPE_DELETE, 1003, "a:1"),
    ]
    assert response.events[2].endpoint == Endpoint(id="a:1")
    assert read(registry, Interest(), 1003) == []
    (resumed,) = read(registry, Interest(), 1002)
    assert [event.revision for event in resumed.events] == [1003]


def test_only_the_latest_resources_of_each_host_come() -> None:
    registry = new_registry()
    for cpu in (1, 2, 3):
        registry.report_resources("n", ReportResourcesRequest(cpu_percent=cpu), NOW)
    registry.report_resources("m", ReportResourcesRequest(cpu_percent=9), NOW)
    (response,) = read(registry, ALL, 1000)
    figures = [(event.resources.agent_id, event.resources.cpu_percent) for event in response.events]
    assert figures == [("n", 3), ("m", 9)]
    registry.expire(NOW + 90_000)
    (gone,) = read(registry, ALL, response.revision)
    assert [(event.type, event.resources) for event in gone.events] == [
        (EVENT_TYPE_DELETE, HostResources(agent_id="n")),
        (EVENT_TYPE_DELETE, HostResources(agent_id="m")),
    ]
    assert read(registry, Interest(), 1000) == []


def test_puts_and_deletions_of_aliases_come() -> None:
    registry = new_registry()
    registry.put_alias(ModelAlias(name="small"))
    registry.put_alias(ModelAlias(name="large"))
    registry.remove_alias("small")
    registry.remove_alias("nothing")
    (response,) = read(registry, ALL, 1000)
    assert [(event.type, event.model_alias.name) for event in response.events] == [
        (EVENT_TYPE_PUT, "large"),
        (EVENT_TYPE_DELETE, "small"),
    ]


def test_the_bookkeeping_of_checks_comes_on_request() -> None:
    registry = new_registry()
    registry.put_endpoint(endpoint("a:1"))
    registry.observe("a:1", seen())
    after = registry.revision
    registry.observe("a:1", seen(NOW + 1, latency_ms=7.0, load=Load(waiting=3)))
    registry.observe("a:1", seen(NOW + 2, latency_ms=8.0, load=Load(waiting=4)))
    assert read(registry, Interest(), after) == []
    (response,) = read(registry, Interest(checks=True), after)
    (event,) = response.events
    assert event.revision == registry.revision
    assert event.endpoint.latency.ToMicroseconds() == 8000
    assert event.endpoint.load.waiting == 4

    # A later event includes the bookkeeping.
    registry.observe("a:1", seen(NOW + 3, models=(Model(name="m"),)))
    (response,) = read(registry, Interest(checks=True), after)
    assert len(response.events) == 1
    registry.remove_endpoint("a:1")
    (response,) = read(registry, Interest(checks=True), after)
    assert [event.type for event in response.events] == [EVENT_TYPE_PUT, EVENT_TYPE_DELETE]


def test_an_endpoint_that_stops_matching_is_deleted_and_one_that_starts_is_put() -> None:
    registry = new_registry()
    wanted = EndpointFilter.of("m", BACKEND_UNSPECIFIED, STATUS_UNSPECIFIED, {})
    registry.put_endpoint(endpoint("a:1"))
    registry.put_endpoint(endpoint("b:1"))
    registry.observe("a:1", seen(models=(Model(name="m"),)))
    registry.observe("a:1", seen(models=(Model(name="m"), Model(name="o"))))
    registry.observe("a:1", seen(models=(Model(name="o"),)))
    registry.remove_endpoint("a:1")
    (response,) = read(registry, Interest(wanted), 1000)
    assert [(event.type, event.revision) for event in response.events] == [
        (EVENT_TYPE_PUT, 1003),
        (EVENT_TYPE_PUT, 1004),
        (EVENT_TYPE_DELETE, 1005),
    ]


def test_a_status_filter_follows_changes_of_status() -> None:
    registry = new_registry()
    wanted = EndpointFilter.of("", BACKEND_UNSPECIFIED, STATUS_HEALTHY, {})
    registry.put_endpoint(endpoint("a:1"))
    assert whole(registry, Interest(wanted))[1] == [WatchRegistryResponse(revision=1001)]
    registry.observe("a:1", seen())
    (response,) = read(registry, Interest(wanted), 1001)
    assert [event.type for event in response.events] == [EVENT_TYPE_PUT]
    registry.remove_endpoint("a:1")
    (response,) = read(registry, Interest(wanted), 1002)
    assert [event.type for event in response.events] == [EVENT_TYPE_DELETE]


@pytest.mark.parametrize("after", [1, 999, 1004, 10**15])
def test_a_revision_that_is_not_in_the_history_is_refused(after: int) -> None:
    registry = new_registry()
    for i in range(3):
        registry.put_endpoint(endpoint(f"a:{i}"))
    with pytest.raises(Compacted):
        changes(registry, Interest(), after)


def test_a_cursor_behind_the_ring_is_refused_but_one_at_its_floor_is_not() -> None:
    registry = new_registry(ring_capacity=3)
    for i in range(5):
        registry.put_endpoint(endpoint(f"a:{i}"))
    with pytest.raises(Compacted):
        changes(registry, Interest(), 1001)
    (response,) = read(registry, Interest(), 1002)
    assert [event.revision for event in response.events] == [1003, 1004, 1005]


def test_a_long_history_is_read_in_parts_without_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_EVENTS", 7)
    registry = new_registry()
    for i in range(20):
        registry.put_endpoint(endpoint(f"a:{i}"))
        registry.report_resources(f"n{i}", ReportResourcesRequest(cpu_percent=i), NOW)
    copy = Copy()
    copy.revision, parts, more = 1000, 0, True
    while more:
        segment = changes(registry, ALL, copy.revision)
        for raw in segment.responses:
            copy.apply(WatchRegistryResponse.FromString(raw))
        more, parts = segment.more, parts + 1
    assert parts > 3
    assert len(copy.events) == 40
    assert copy.revision == registry.revision


def test_an_event_is_encoded_once_for_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = segments._put_endpoint

    def counting(endpoint: Endpoint, revision: int) -> bytes:
        calls.append(endpoint.id)
        return encode(endpoint, revision)

    monkeypatch.setattr(segments, "_put_endpoint", counting)
    registry = new_registry()
    registry.put_endpoint(endpoint("a:1"))
    narrow = Interest(EndpointFilter.of("", BACKEND_UNSPECIFIED, STATUS_UNSPECIFIED, {}))
    for interest in (Interest(), ALL, narrow):
        changes(registry, interest, 1000)
        list(state(registry, interest, NOW)[1])
    assert calls == ["a:1"]


def test_responses_are_cut_by_size_and_each_is_resumable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segments, "MAX_RESPONSE_BYTES", 100)
    registry = new_registry()
    for i in range(9):
        registry.put_endpoint(endpoint(f"a:{i}", name="n" * 30))
    responses = read(registry, Interest(), 1000)
    assert len(responses) > 2
    for earlier, later in pairwise(responses):
        assert earlier.revision == earlier.events[-1].revision
        assert later.events[0].revision == earlier.revision + 1


def test_equal_interests_are_the_same_key() -> None:
    make: Callable[[], Interest] = lambda: Interest(  # noqa: E731
        EndpointFilter.of("m", BACKEND_UNSPECIFIED, STATUS_UNSPECIFIED, {"a": "b"}), resources=True
    )
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make().frequent
    assert not Interest(aliases=True).frequent
