"""The hub's counts as Prometheus metrics: names, labels and help in one place.

docs/metrics.md lists them; a test compares the two.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from hub.contract.dialect.names import enum_word
from hub.contract.rpcs import FrameKind
from hub.probes.stats import EngineStats
from hub.registry.health.judgement import FleetHealth
from hub.registry.health.preservation import State
from hub.registry.state import Registry
from hub.service.access.rate_limits import RateLimiter
from hub.service.change_feed import Lag
from hub.service.metrics.counts import Histograms, StoreCounts, Traffic
from hub.service.metrics.fleet_counts import FleetCounts
from hub.service.overload.shedding import Overload
from hub.service.presence import Presence
from llmhub.v1.resources_pb2 import Role

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

Source = Callable[[], Iterable[Metric]]
"""Makes some of the metrics from current counts, at each scrape."""


class Metrics:
    """All metrics of one hub, without those of other hubs in the process."""

    def __init__(self, fleet: FleetCounts, sources: Iterable[Source]) -> None:
        self._fleet = fleet
        process = CollectorRegistry()
        ProcessCollector(registry=process)
        GCCollector(registry=process)
        self._sources = [lambda: fleet_metrics(fleet), *sources, process.collect]

    async def render(self) -> bytes:
        """The exposition, in the text format that `CONTENT_TYPE` names.

        Yields to the event loop between metrics, because writing them all takes about
        10 ms.
        """
        await self._fleet.catch_up()
        parts = []
        for source in self._sources:
            for metric in source():
                parts.append(generate_latest(_Only(metric)))
                await asyncio.sleep(0)
        return b"".join(parts)


class _Only(CollectorRegistry):
    """A registry of one metric, which is what the library's writer takes."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        """See `CollectorRegistry`."""
        yield self._metric


def traffic_metrics(traffic: Traffic) -> Iterator[Metric]:
    """Calls, frames and errors of the transports."""
    yield _histograms(
        "llmhub_grpc_request_duration_seconds",
        "Unary gRPC calls, by RPC and status code.",
        ("rpc", "code"),
        traffic.rpcs,
    )
    yield _gauge(
        "llmhub_grpc_streams_open",
        "Open gRPC streams, by RPC.",
        ("rpc",),
        _keyed(traffic.open_streams),
    )
    yield _counter(
        "llmhub_grpc_streams",
        "gRPC streams that ended, by RPC and status code.",
        ("rpc", "code"),
        traffic.streams.items(),
    )
    yield _histograms(
        "llmhub_http_request_duration_seconds",
        "HTTP requests, by method, route and status.",
        ("method", "route", "status"),
        traffic.requests,
    )
    yield _counter(
        "llmhub_http_event_streams",
        "Server-sent event streams that ended, by route.",
        ("route",),
        _keyed(traffic.event_streams),
    )
    yield _counter(
        "llmhub_sidecar_frames",
        "Frames of a known type that sidecars sent, by transport and type.",
        ("transport", "type"),
        _frames(traffic.frames),
    )
    yield _histograms(
        "llmhub_sidecar_frame_wait_seconds",
        "Time that frames waited for the store before their reply.",
        ("transport", "type"),
        traffic.frame_waits,
    )
    yield _counter(
        "llmhub_errors",
        "Errors returned to callers, by transport and reason.",
        ("transport", "reason"),
        traffic.errors.items(),
    )
    yield _counter(
        "llmhub_sidecar_violations",
        "Frames that counted against the sidecar that sent them.",
        ("transport",),
        _keyed(traffic.violations),
    )
    yield _counter(
        "llmhub_sidecar_closes",
        "Sidecar connections that the hub ended, by reason.",
        ("transport", "reason"),
        traffic.closes.items(),
    )
    yield _one_counter(
        "llmhub_websocket_turned_away",
        "WebSocket connections refused because there were too many.",
        traffic.websocket_refusals.total(),
    )
    yield _counter(
        "llmhub_websocket_refusals",
        "WebSocket connections refused because there were too many, by the bound reached.",
        ("bound",),
        _keyed(traffic.websocket_refusals),
    )
    yield _one_counter(
        "llmhub_http_turned_away",
        "HTTP connections refused because there were too many.",
        traffic.http_turned_away,
    )
    yield _counter(
        "llmhub_refused",
        "Connections, calls and bodies refused by a bound, by transport and bound.",
        ("transport", "bound"),
        traffic.refusals.counts.items(),
    )


def connection_metrics(presence: Presence, websockets: int, limit: int) -> Iterator[Metric]:
    """Connections and sidecars; `websockets` of at most `limit` connections are open."""
    yield _one("llmhub_websocket_connections", "Open WebSocket connections.", websockets)
    yield _one(
        "llmhub_websocket_connections_max",
        "Maximum number of open WebSocket connections (ws.max_connections).",
        limit,
    )
    yield _gauge(
        "llmhub_sidecars",
        "Identified sidecars, by transport.",
        ("transport",),
        _keyed(presence.by_transport()),
    )


def rate_limit_metrics(limiters: Iterable[tuple[Role, RateLimiter]]) -> Iterator[Metric]:
    """Calls that the rate limits refused."""
    yield _counter(
        "llmhub_rate_limited",
        "Calls and frames refused by a rate limit, by role and tier.",
        ("role", "tier"),
        (
            ((enum_word(Role.DESCRIPTOR, role), tier.wire_name), refused)
            for role, limiter in limiters
            for tier, refused in limiter.refused.items()
        ),
    )


def probe_metrics(stats: EngineStats) -> Iterator[Metric]:
    """The probes."""
    yield _one("llmhub_probes_watched", "Endpoints that the hub probes.", stats.watched)
    yield _one_counter("llmhub_probes", "Probes that ended.", stats.probes)
    yield _one_counter("llmhub_probe_failures", "Probes that failed.", stats.failures)
    yield _one_counter(
        "llmhub_probe_own_faults",
        "Probes that the hub itself could not make, for example for lack of file descriptors.",
        stats.own_faults,
    )
    yield _gauge(
        "llmhub_probes_active", "Probes in flight, by lane.", ("lane",), _keyed(stats.active)
    )
    yield _gauge(
        "llmhub_probes_queued",
        "Due probes that wait for a free slot, by lane.",
        ("lane",),
        _keyed(stats.queued),
    )
    yield _one(
        "llmhub_probe_lateness_seconds",
        "Longest delay of a probe of an answering endpoint, in this and the last interval.",
        stats.worst_lateness_ms / 1000,
    )


def health_metrics(health: FleetHealth) -> Iterator[Metric]:
    """Self-preservation."""
    frozen = health.preservation_state is State.FROZEN
    yield _one(
        "llmhub_self_preservation_frozen",
        "1 while self-preservation is frozen and no healthy endpoint becomes unhealthy, else 0.",
        int(frozen),
    )
    yield _one_counter(
        "llmhub_self_preservation_freezes",
        "Times that self-preservation froze the endpoints' status.",
        health.freezes,
    )


def store_metrics(counts: StoreCounts, waiting: int) -> Iterator[Metric]:
    """The store's transactions; `waiting` changes are not on disk yet."""
    for name, help_, histogram in (
        ("commit_duration_seconds", "Time until transactions were durable.", counts.seconds),
        ("commit_changes", "Changes that one transaction made durable.", counts.batches),
    ):
        yield HistogramMetricFamily(
            f"llmhub_store_{name}", help_, buckets=histogram.buckets(), sum_value=histogram.sum
        )
    yield _one("llmhub_store_waiting", "Changes that wait to become durable.", waiting)


def history_metrics(registry: Registry) -> Iterator[Metric]:
    """The registry's revisions, and the ring that watchers resume from."""
    ring = registry.ring
    yield _one("llmhub_revision", "The registry's revision.", registry.revision)
    yield _one(
        "llmhub_first_revision", "The revision that this hub started from.", registry.first_revision
    )
    yield _one(
        "llmhub_ring_floor_revision",
        "The oldest revision that a watch can resume from.",
        ring.floor,
    )
    yield _one("llmhub_ring_events", "Changes that the ring holds.", len(ring))
    yield _one(
        "llmhub_ring_capacity", "Maximum number of changes that the ring holds.", ring.capacity
    )
    yield _one(
        "llmhub_hosts_reporting",
        "Hosts whose last resource report has not expired.",
        len(registry.resources),
    )


def watch_metrics(lag: Lag) -> Iterator[Metric]:
    """How far watchers are behind."""
    yield _one(
        "llmhub_watch_lag_events",
        "Changes that the open watch furthest behind has yet to receive.",
        lag.events,
    )
    yield _one(
        "llmhub_watch_lag_seconds",
        "Longest time that an open watch has been behind.",
        lag.seconds,
    )


def overload_metrics(overload: Overload) -> Iterator[Metric]:
    """How overloaded the hub is, and what it has shed."""
    yield _one(
        "llmhub_overload_level",
        "What the hub refuses for overload: 0 nothing to 5 readers' calls.",
        overload.level,
    )
    yield _gauge(
        "llmhub_overload_pressure",
        "How near a resource is to its budget; of memory, growth counts.",
        ("resource",),
        _keyed(overload.pressure.by_resource),
    )
    yield _counter(
        "llmhub_overload_shed",
        "Connections, calls and reports refused or dropped for overload, by level.",
        ("level",),
        (((level.word,), count) for level, count in overload.shed.items()),
    )


def fleet_metrics(fleet: FleetCounts) -> Iterator[Metric]:
    """Endpoints by kind and by model."""
    yield _gauge(
        "llmhub_endpoints",
        "Endpoints, by status, backend and admin state.",
        ("status", "backend", "admin_state"),
        fleet.kinds().items(),
    )
    yield _one("llmhub_models", "Models that at least one endpoint has.", fleet.model_count())
    models = fleet.models()
    for suffix, help_, counts in (
        ("", "Endpoints that have the model.", {m.name: m.endpoints for m in models}),
        ("_healthy", "Healthy endpoints that have the model.", {m.name: m.healthy for m in models}),
        (
            "_loaded",
            "Endpoints that answer and have the model in memory.",
            {m.name: m.loaded for m in models},
        ),
    ):
        yield _gauge(f"llmhub_model_endpoints{suffix}", help_, ("model",), _keyed(counts))


def build_metrics(version: str, store: str) -> Iterator[Metric]:
    """The hub's version and store."""
    info = InfoMetricFamily("llmhub_build", "The hub's version and the kind of its store.")
    info.add_metric((), {"version": version, "store": store})
    yield info


_Counts = Iterable[tuple[tuple[str, ...], float]]


def _keyed(counts: Mapping[str, float]) -> _Counts:
    return (((key,), count) for key, count in counts.items())


def _frames(frames: dict[str, dict[FrameKind, int]]) -> _Counts:
    return (
        ((transport, kind.type), count)
        for transport, kinds in frames.items()
        for kind, count in kinds.items()
    )


def _gauge(name: str, help_: str, labels: tuple[str, ...], counts: _Counts) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=labels)
    for values, count in counts:
        family.add_metric(values, count)
    return family


def _counter(name: str, help_: str, labels: tuple[str, ...], counts: _Counts) -> Metric:
    family = CounterMetricFamily(name, help_, labels=labels)
    for values, count in counts:
        family.add_metric(values, count)
    return family


def _one(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_, value=value)


def _one_counter(name: str, help_: str, value: float) -> Metric:
    return CounterMetricFamily(name, help_, value=value)


def _histograms(
    name: str, help_: str, labels: tuple[str, ...], histograms: Histograms[*tuple[str, ...]]
) -> Metric:
    family = HistogramMetricFamily(name, help_, labels=labels)
    for values, histogram in histograms.items():
        family.add_metric(values, histogram.buckets(), histogram.sum)
    return family
