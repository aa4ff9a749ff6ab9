"""The metrics of a hub, read from their sources."""

from dataclasses import dataclass

from hub.server.hub_server import HubServer
from hub.service.operations import GET_METRICS


@dataclass(frozen=True)
class MetricFacts:
    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def metric_facts(hub: HubServer) -> list[MetricFacts]:
    """All metrics that the hub defines, in the order and with the names of a scrape."""
    facts = []
    assert hub._listeners is not None
    handlers = hub._listeners.dispatcher._routes[GET_METRICS].handler.__self__
    for source in handlers._metrics._sources:
        for metric in source():
            if metric.name.startswith("llmhub_"):
                labels = tuple(getattr(metric, "_labelnames", ()))
                if metric.type == "info":
                    labels = tuple(metric.samples[0].labels)
                suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
                kind = "gauge" if metric.type == "info" else metric.type
                name = f"{metric.name}{suffix}"
                facts.append(MetricFacts(name, kind, labels, metric.documentation))
    return facts
