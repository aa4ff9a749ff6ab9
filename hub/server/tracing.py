"""OpenTelemetry traces, for hubs that have the extra `otel` and a collector.

Nothing imports this module unless `tracing.otlp_endpoint` is set.
"""

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# A collector that hangs must neither fill the memory nor delay the hub's stop.
_MAX_WAITING = 2048
_EXPORT_TIMEOUT_S = 2


class OtelTracer:
    """A `hub.service.metrics.calls.Tracer` that exports to an OpenTelemetry collector.

    A thread of the SDK sends spans in batches, and drops those that a collector does not
    accept in time. A span joins the caller's trace if the caller sends `traceparent`
    (https://www.w3.org/TR/trace-context/).
    """

    def __init__(self, exporter: SpanExporter, version: str) -> None:
        resource = Resource.create({"service.name": "llm-hub", "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_MAX_WAITING,
                export_timeout_millis=_EXPORT_TIMEOUT_S * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("hub")
        self._propagator = TraceContextTextMapPropagator()

    def start(self, name: str, carrier: Mapping[str, str]) -> "_OtelSpan":
        """See `hub.service.metrics.calls.Tracer`."""
        parent = self._propagator.extract(carrier)
        return _OtelSpan(self._tracer.start_span(name, parent, SpanKind.SERVER))

    def close(self) -> None:
        """Exports the pending spans and stops; blocks for a few seconds at most."""
        self._provider.shutdown()


class _OtelSpan:
    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    def end(self, attributes: Mapping[str, str], *, failed: bool) -> None:
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def otlp_tracer(endpoint: str, version: str) -> OtelTracer:
    """A tracer for an OTLP/gRPC endpoint, "http://host:4317" or, with TLS, "https://…"."""
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S)
    return OtelTracer(exporter, version)
