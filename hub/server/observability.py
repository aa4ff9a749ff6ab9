"""What one hub is observed by: its counts, its metrics and its traces, made in one place."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hub.base.settings import Settings
from hub.base.start_error import StartError
from hub.probes.engine import ProbeEngine
from hub.registry.state import Registry
from hub.service.access.rate_limits import RateLimiter
from hub.service.change_feed import Lag
from hub.service.metrics import exposition
from hub.service.metrics.calls import Calls
from hub.service.metrics.counts import StoreCounts, Traffic
from hub.service.metrics.exposition import Metrics
from hub.service.metrics.fleet_counts import FleetCounts
from hub.service.presence import Presence
from hub.stores.store import Store
from llmhub.v1.resources_pb2 import Role

if TYPE_CHECKING:
    from hub.server.tracing import OtelTracer


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
                lambda: exposition.build_metrics(self._version, store.kind),
                lambda: exposition.traffic_metrics(self.traffic),
                lambda: exposition.connection_metrics(presence, connections(), most),
                lambda: exposition.rate_limit_metrics(limiters.items()),
                lambda: exposition.probe_metrics(probes.stats),
                lambda: exposition.health_metrics(registry.health),
                lambda: exposition.store_metrics(self.store_counts, store.waiting),
                lambda: exposition.history_metrics(registry),
                lambda: exposition.watch_metrics(watch_lag()),
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
        from hub.server.tracing import otlp_tracer
    except ImportError as error:
        raise StartError(
            "tracing.otlp_endpoint needs the extra: pip install '.[otel]' in a clone of the hub"
        ) from error
    return otlp_tracer(settings.tracing.otlp_endpoint, version)
