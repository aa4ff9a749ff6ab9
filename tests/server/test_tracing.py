import sys

import pytest

from hub.base.load_settings import StartError
from hub.server.observability import Observability
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import failure_of, running_hub, settings_for

ENDPOINT = "http://127.0.0.1:9"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_hub_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hub.server.tracing", None)
    with pytest.raises(StartError, match=r"\.\[otel\]"):
        Observability(settings_for(tmp_path, tracing={"otlp_endpoint": ENDPOINT}))


async def test_nothing_of_opentelemetry_is_loaded_unless_asked_for(tmp_path):
    before = {name for name in sys.modules if name.startswith("opentelemetry")}
    async with running_hub(tmp_path):
        assert {name for name in sys.modules if name.startswith("opentelemetry")} == before


async def test_a_call_becomes_a_span_of_the_callers_trace(tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    import hub.server.tracing

    exporter = InMemorySpanExporter()
    monkeypatch.setattr(hub.server.tracing, "OTLPSpanExporter", lambda **_: exporter)
    async with running_hub(tmp_path, tracing={"otlp_endpoint": ENDPOINT}) as running:
        await running.token(ROLE_SIDECAR, "node-1")
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        await running.http("GET", "/api/admin/llm-registry/none", headers=headers)
        await failure_of(running.call("GetEndpoint", token=""))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {
        "llmhub.v1.AdminService/CreateToken",
        "GET /api/admin/llm-registry/{id}",
        "llmhub.v1.RegistryService/GetEndpoint",
    }
    asked = spans["GET /api/admin/llm-registry/{id}"]
    assert f"{asked.context.trace_id:032x}" == TRACE
    assert asked.attributes["http.response.status_code"] == "404"
    refused = spans["llmhub.v1.RegistryService/GetEndpoint"]
    assert refused.attributes["llmhub.reason"] == "INVALID_TOKEN"


async def test_a_collector_that_is_not_there_disturbs_nobody(tmp_path):
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    async with running_hub(tmp_path, tracing={"otlp_endpoint": ENDPOINT}) as running:
        assert (await running.http("GET", "/readyz")).status == 200
