import asyncio
from collections.abc import Iterator, Mapping

import pytest
from structlog.testing import capture_logs

from hub.base import request_id
from hub.contract.errors import EndpointNotFound
from hub.contract.rpcs import rpc
from hub.service.metrics.calls import Calls
from hub.service.metrics.counts import Traffic


@pytest.fixture(autouse=True)
def no_id_left() -> Iterator[None]:
    """Tests that are no tasks share one context."""
    yield
    request_id._current.set(0)


GET, WATCH = rpc("GetEndpoint"), rpc("WatchRegistry")


class Recorder:
    """A `Tracer` and its only `Span`."""

    def __init__(self) -> None:
        self.started: list[tuple[str, Mapping[str, str]]] = []
        self.ended: list[tuple[dict[str, str], bool]] = []

    def start(self, name, carrier):
        self.started.append((name, carrier))
        return self

    def end(self, attributes, *, failed):
        self.ended.append((dict(attributes), failed))


def labels(histograms) -> list[tuple[str, ...]]:
    return [labels for labels, histogram in histograms.items() if histogram.buckets()[-1][1] == 1]


def test_a_call_is_counted_under_its_code():
    traffic = Traffic()
    with Calls(traffic).rpc(GET, {}):
        pass
    with Calls(traffic).rpc(GET, {}) as call:
        error = EndpointNotFound("no such")
        assert call.fail(error) is error
    assert labels(traffic.rpcs) == [("GetEndpoint", "OK"), ("GetEndpoint", "NOT_FOUND")]
    assert traffic.errors == {("grpc", "ENDPOINT_NOT_FOUND"): 1}


def test_unexpected_error_is_logged_under_the_request_id_of_the_reply():
    with capture_logs() as events, Calls(Traffic()).rpc(GET, {}) as call:
        reported = call.fail(ZeroDivisionError("secret"))
    assert reported.reason_name == "INTERNAL"
    assert reported.metadata == {"request_id": call.request_id}
    assert call.request_id in reported.message
    assert "secret" not in reported.message
    [event] = events
    assert (event["request_id"], event["call"]) == (call.request_id, GET.path)
    assert isinstance(event["exc_info"], ZeroDivisionError)


@pytest.mark.parametrize("ending", [asyncio.CancelledError, GeneratorExit])
def test_a_disconnected_caller_is_not_an_error_of_the_hub(ending):
    traffic = Traffic()
    with pytest.raises(ending), Calls(traffic).rpc(GET, {}):
        raise ending
    assert labels(traffic.rpcs) == [("GetEndpoint", "CANCELLED")]
    assert traffic.errors == {}


def test_streams_are_counted_while_they_run_and_have_no_latency():
    traffic = Traffic()
    with Calls(traffic).rpc(WATCH, {}):
        assert traffic.open_streams == {"WatchRegistry": 1}
    assert traffic.open_streams == {"WatchRegistry": 0}
    assert traffic.streams == {("WatchRegistry", "OK"): 1}
    assert traffic.rpcs.items() == []


def test_http_labels_come_from_a_bounded_set():
    traffic = Traffic()
    with Calls(traffic).http("BREW", "/x/{id}", {}) as call:
        call.answer(405, "application/json")
    with Calls(traffic).http("GET", "/x/{id}", {}):
        pass
    assert labels(traffic.requests) == [("other", "/x/{id}", "405"), ("GET", "/x/{id}", "gone")]


def test_an_event_stream_has_no_latency():
    traffic = Traffic()
    with Calls(traffic).http("GET", "/events", {}) as call:
        call.answer(200, "text/event-stream")
    assert (traffic.event_streams, traffic.requests.items()) == ({"/events": 1}, [])


def test_a_span_has_the_outcome_of_the_call():
    tracer = Recorder()
    calls = Calls(Traffic(), tracer)
    with calls.rpc(GET, {"traceparent": "t"}) as call:
        call.fail(EndpointNotFound("no such"))
    assert tracer.started == [("llmhub.v1.RegistryService/GetEndpoint", {"traceparent": "t"})]
    attributes, failed = tracer.ended[0]
    assert attributes == {
        "rpc.system.name": "grpc",
        "rpc.response.status_code": "NOT_FOUND",
        "llmhub.request_id": call.request_id,
        "llmhub.reason": "ENDPOINT_NOT_FOUND",
    }
    assert not failed
    with capture_logs(), calls.http("GET", "/x", {}) as call:
        call.fail(ZeroDivisionError())
    assert tracer.ended[1][1]
