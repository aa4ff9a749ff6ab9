"""What one hub is observed by: its counts, its metrics and its traces, made in one place."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hub.bootstrap import StartError
from hub.calls import Calls
from hub.metrics import collector
from hub.metrics.collector import Metrics
from hub.metrics.counts import StoreCounts, Traffic
from hub.metrics.fleet import FleetCounts
from hub.presence import Presence
from hub.probes.engine import ProbeEngine
from hub.ratelimit import RateLimiter
from hub.registry.state import Registry
from hub.settings import Settings
from hub.stores.base import Store
from hub.watch import Lag
from llmhub.v1.resources_pb2 import Role

if TYPE_CHECKING:
    from hub.tracing import OtelTracer


class Observability:
    """The counts that the parts of a hub keep, and what becomes of them."""

    def __init__(self, settings: Settings, version: str) -> None:
        """Raises StartError where traces are wanted and cannot be made."""
        self._settings = settings
        self._version = version
        self._tracer = _tracer(settings, version)
        self.traffic = Traffic()
        self.store_counts = StoreCounts()
        self.calls = Calls(self.traffic, self._tracer)

    def metrics(
        self,
        *,
        registry: Registry,
        presence: Presence,
        probes: ProbeEngine,
        store: Store,
        limiters: Mapping[Role, RateLimiter],
        connections: Callable[[], int],
        watch_lag: Callable[[], Lag],
    ) -> Metrics:
        """The metrics of a hub that is made of these parts."""
        most = self._settings.ws.max_connections
        return Metrics(
            FleetCounts(registry),
            [
                lambda: collector.build_metrics(self._version, store.kind),
                lambda: collector.traffic_metrics(self.traffic),
                lambda: collector.connection_metrics(presence, connections(), most),
                lambda: collector.rate_limit_metrics(limiters.items()),
                lambda: collector.probe_metrics(probes.stats),
                lambda: collector.health_metrics(registry.health),
                lambda: collector.store_metrics(self.store_counts, store.waiting),
                lambda: collector.history_metrics(registry),
                lambda: collector.watch_metrics(watch_lag()),
            ],
        )

    async def close(self) -> None:
        """Exports the traces that wait. Idempotent."""
        if self._tracer is not None:
            tracer, self._tracer = self._tracer, None
            await asyncio.to_thread(tracer.close)


def _tracer(settings: Settings, version: str) -> "OtelTracer | None":
    if not settings.tracing.otlp_endpoint:
        return None
    try:
        # An extra: most hubs are not traced.
        from hub.tracing import otlp_tracer
    except ImportError as error:
        raise StartError(
            "tracing.otlp_endpoint needs the extra: pip install '.[otel]' in a clone of the hub"
        ) from error
    return otlp_tracer(settings.tracing.otlp_endpoint, version)
