"""A hub's counts, metrics and traces, and the watch over its own load, made in one place."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hub.base.clock import Clock
from hub.base.load_settings import StartError
from hub.base.settings import Settings
from hub.base.version import hub_version
from hub.server.fleet import Fleet
from hub.server.load_sampler import LoadSampler, budgets
from hub.service.access.rate_limits import RateLimiter
from hub.service.metrics import exposition
from hub.service.metrics.calls import Calls
from hub.service.metrics.counts import StoreCounts, Traffic
from hub.service.metrics.exposition import Metrics
from hub.service.metrics.fleet_counts import FleetCounts
from hub.service.overload.pressure import Pressure
from hub.service.overload.shedding import Overload
from hub.stores.store import Store
from llmhub.v1.resources_pb2 import Role

if TYPE_CHECKING:
    from hub.server.tracing import OtelTracer


class Observability:
    """The counts that a hub keeps, and what exports them."""

    def __init__(self, settings: Settings) -> None:
        """Raises StartError if traces are configured and cannot be exported."""
        self._settings = settings
        self._version = hub_version()
        self._tracer = _tracer(settings, self._version)
        self.traffic = Traffic()
        self.store_counts = StoreCounts()
        self._sampler: LoadSampler | None = None
        self.overload = Overload(Pressure(budgets(settings.overload)), self.traffic.refusals)
        self.calls = Calls(self.traffic, self._tracer)

    def start(self, store: Store, clock: Clock, on_failure: Callable[[], None]) -> None:
        """Begins to watch the hub's own load, unless the settings forbid it."""
        if self._settings.overload.enabled:
            self._sampler = LoadSampler(self.overload, store, clock)
            self._sampler.start(on_failure)

    def metrics(self, fleet: Fleet, store: Store, limiters: Mapping[Role, RateLimiter]) -> Metrics:
        """The metrics of a hub with this fleet, this store and these rate limiters."""
        most = self._settings.ws.max_connections
        registry, traffic = fleet.registry, self.traffic
        return Metrics(
            FleetCounts(registry),
            [
                lambda: exposition.build_metrics(self._version, store.kind),
                lambda: exposition.traffic_metrics(traffic),
                lambda: exposition.connection_metrics(fleet.presence, traffic.websockets, most),
                lambda: exposition.rate_limit_metrics(limiters.items()),
                lambda: exposition.probe_metrics(fleet.probes.stats),
                lambda: exposition.health_metrics(registry.health),
                lambda: exposition.store_metrics(self.store_counts, store.waiting),
                lambda: exposition.history_metrics(registry),
                lambda: exposition.watch_metrics(fleet.changes.lag()),
                lambda: exposition.overload_metrics(self.overload),
                fleet.selections.metrics,
            ],
        )

    async def close(self) -> None:
        """Stops watching, and exports the traces that wait. Idempotent."""
        if self._sampler is not None:
            await self._sampler.stop()
        if self._tracer is not None:
            tracer, self._tracer = self._tracer, None
            await asyncio.to_thread(tracer.close)


def _tracer(settings: Settings, version: str) -> "OtelTracer | None":
    if not settings.tracing.otlp_endpoint:
        return None
    try:
        # An optional dependency: most hubs are not traced.
        from hub.server.tracing import otlp_tracer
    except ImportError as error:
        raise StartError(
            "tracing.otlp_endpoint needs the extra: pip install '.[otel]' in a clone of the hub"
        ) from error
    return otlp_tracer(settings.tracing.otlp_endpoint, version)
