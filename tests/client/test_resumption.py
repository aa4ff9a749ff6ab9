from hub.client.resumption import Resumption
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest, WatchRegistryResponse
from llmhub.v1.resources_pb2 import (
    EVENT_TYPE_DELETE,
    EVENT_TYPE_PUT,
    HostResources,
    RegistryEvent,
)


def put(id_: str, revision: int = 5) -> RegistryEvent:
    return RegistryEvent(type=EVENT_TYPE_PUT, revision=revision, endpoint=Endpoint(id=id_))


def response(revision: int, *events: RegistryEvent) -> WatchRegistryResponse:
    return WatchRegistryResponse(events=events, revision=revision)


def after(watch: Resumption) -> int | None:
    request = watch.connect()
    return request.after_revision if request.HasField("after_revision") else None


def test_it_asks_for_the_state_first_and_then_for_what_came_after() -> None:
    watch = Resumption(WatchRegistryRequest(model="m"))
    assert watch.connect() == WatchRegistryRequest(model="m")
    assert watch.receive(response(0, put("a"))) == [put("a")]
    assert after(watch) is None, "half a state is no state"
    watch.receive(response(7, put("a"), put("b")))
    assert after(watch) == 7
    watch.receive(response(9))
    assert after(watch) == 9


def test_what_is_not_in_a_state_read_anew_was_deleted() -> None:
    watch = Resumption(WatchRegistryRequest())
    watch.connect()
    others = [
        RegistryEvent(
            type=EVENT_TYPE_PUT, revision=5, resources=HostResources(agent_id="n", cpu_percent=3)
        ),
        RegistryEvent(type=EVENT_TYPE_PUT, revision=5, model_alias=ModelAlias(name="x")),
    ]
    watch.receive(response(7, put("a"), put("b"), *others))
    watch.forget()
    assert after(watch) is None
    assert watch.receive(response(0, put("b"))) == [put("b")]
    events = watch.receive(response(20, put("c", 20)))
    assert events == [
        put("c", 20),
        RegistryEvent(type=EVENT_TYPE_DELETE, revision=20, endpoint=Endpoint(id="a")),
        RegistryEvent(type=EVENT_TYPE_DELETE, revision=20, model_alias=ModelAlias(name="x")),
        RegistryEvent(type=EVENT_TYPE_DELETE, revision=20, resources=HostResources(agent_id="n")),
    ]
    assert watch.receive(response(21, put("d", 21))) == [put("d", 21)]


def test_what_half_a_state_told_is_deleted_too_where_it_is_gone() -> None:
    watch = Resumption(WatchRegistryRequest())
    watch.connect()
    watch.receive(response(0, put("a")))
    watch.connect()
    events = watch.receive(response(7, put("b")))
    assert [(event.type, event.endpoint.id) for event in events] == [
        (EVENT_TYPE_PUT, "b"),
        (EVENT_TYPE_DELETE, "a"),
    ]


def test_what_was_deleted_is_not_deleted_again() -> None:
    watch = Resumption(WatchRegistryRequest())
    watch.connect()
    watch.receive(response(7, put("a")))
    watch.receive(
        response(8, RegistryEvent(type=EVENT_TYPE_DELETE, revision=8, endpoint=Endpoint(id="a")))
    )
    watch.forget()
    watch.connect()
    assert watch.receive(response(30)) == []


def test_an_event_of_a_newer_hub_is_passed_on() -> None:
    watch = Resumption(WatchRegistryRequest())
    watch.connect()
    watch.receive(response(7))
    unknown = RegistryEvent(type=EVENT_TYPE_PUT, revision=8)
    assert watch.receive(response(8, unknown)) == [unknown]


def test_a_watch_can_begin_after_a_revision() -> None:
    watch = Resumption(WatchRegistryRequest(after_revision=5))
    assert after(watch) == 5
    assert watch.receive(response(7, put("a"))) == [put("a")]
    assert after(watch) == 7
    watch.forget()
    assert after(watch) is None
