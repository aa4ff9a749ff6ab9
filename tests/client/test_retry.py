from random import Random

import grpc
import pytest

from hub.client.call_errors import CallFailed
from hub.client.retry import Backoff, Resumption, Retry, ends_a_watch
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest, WatchRegistryResponse
from llmhub.v1.resources_pb2 import (
    EVENT_TYPE_DELETE,
    EVENT_TYPE_PUT,
    HostResources,
    RegistryEvent,
)

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def failed(code: grpc.StatusCode = UNAVAILABLE, retry_after_s: float | None = None) -> CallFailed:
    return CallFailed(code, "no", retry_after_s=retry_after_s)


def test_pauses_grow_to_a_bound_and_restart() -> None:
    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    backoff = Backoff(Retry(first_s=0.1, longest_s=1.0), Longest())
    assert [backoff.pause_s() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    backoff.reset()
    assert backoff.pause_s() == pytest.approx(0.1)
    for _ in range(10_000):
        backoff.pause_s()


def test_pauses_are_spread_from_zero() -> None:
    pauses = [Backoff(Retry(first_s=1), Random(seed)).pause_s() for seed in range(50)]
    assert min(pauses) < 0.1
    assert max(pauses) > 0.9


def test_only_unavailable_is_retried_and_not_forever() -> None:
    backoff = Backoff(Retry(attempts=3), Random(1))
    assert backoff.before_retry_s("GetEndpoint", failed(grpc.StatusCode.NOT_FOUND), 9) is None
    assert backoff.before_retry_s("CreateToken", failed(), 9) is None
    assert backoff.before_retry_s("GetEndpoint", failed(), 9) is not None
    assert backoff.before_retry_s("GetEndpoint", failed(), 9) is not None
    assert backoff.before_retry_s("GetEndpoint", failed(), 9) is None


def test_the_hubs_retry_delay_is_kept_if_the_deadline_allows() -> None:
    backoff = Backoff(Retry(first_s=0.001), Random(1))
    assert backoff.before_retry_s("GetEndpoint", failed(retry_after_s=2.0), 3.0) == 2.0
    assert backoff.before_retry_s("GetEndpoint", failed(retry_after_s=20.0), 3.0) is None


def test_failures_that_end_a_watch() -> None:
    assert ends_a_watch(failed(grpc.StatusCode.UNAUTHENTICATED))
    assert not ends_a_watch(failed())
    assert not ends_a_watch(failed(grpc.StatusCode.OUT_OF_RANGE))


def put(id_: str, revision: int = 5) -> RegistryEvent:
    return RegistryEvent(type=EVENT_TYPE_PUT, revision=revision, endpoint=Endpoint(id=id_))


def response(revision: int, *events: RegistryEvent) -> WatchRegistryResponse:
    return WatchRegistryResponse(events=events, revision=revision)


def after(watch: Resumption) -> int | None:
    request = watch.connect()
    return request.after_revision if request.HasField("after_revision") else None


def test_a_watch_requests_the_state_first_and_then_later_changes() -> None:
    watch = Resumption(WatchRegistryRequest(model="m"))
    assert watch.connect() == WatchRegistryRequest(model="m")
    assert watch.receive(response(0, put("a"))) == [put("a")]
    assert after(watch) is None, "half a state does not count"
    watch.receive(response(7, put("a"), put("b")))
    assert after(watch) == 7
    watch.receive(response(9))
    assert after(watch) == 9


def test_an_endpoint_missing_from_a_new_state_is_deleted() -> None:
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


def test_an_endpoint_known_from_a_partial_state_is_deleted_too() -> None:
    watch = Resumption(WatchRegistryRequest())
    watch.connect()
    watch.receive(response(0, put("a")))
    watch.connect()
    events = watch.receive(response(7, put("b")))
    assert [(event.type, event.endpoint.id) for event in events] == [
        (EVENT_TYPE_PUT, "b"),
        (EVENT_TYPE_DELETE, "a"),
    ]


def test_a_deleted_endpoint_is_not_deleted_again() -> None:
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
