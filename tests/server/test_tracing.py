import pytest

from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import failure_of, running_hub

ENDPOINT = "http://127.0.0.1:9"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


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


async def test_calls_work_with_an_unreachable_collector(tmp_path):
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    async with running_hub(tmp_path, tracing={"otlp_endpoint": ENDPOINT}) as running:
        assert (await running.http("GET", "/readyz")).status == 200
