"""The dispatcher with all its handlers, which answer the requests of every transport."""

from collections.abc import Callable

from hub.base.clock import Clock
from hub.base.settings import LimitSettings
from hub.server.durable_changes import DurableChanges
from hub.server.fleet import Fleet
from hub.server.storage import Storage
from hub.service.dispatcher import Dispatcher
from hub.service.handlers.observe_hub import ObservationHandlers, ServerHandlers
from hub.service.handlers.read_registry import JsonHandlers, RegistryHandlers
from hub.service.handlers.select_endpoint import SelectionHandlers
from hub.service.handlers.select_in_view import view_handlers
from hub.service.handlers.service_discovery import discovery_handlers
from hub.service.handlers.watch_registry import WatchHandlers
from hub.service.live_streams import LiveStreams
from hub.service.metrics.exposition import Metrics
from hub.service.overload.shedding import Overload
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse


def make_dispatcher(
    limits: LimitSettings,
    clock: Clock,
    storage: Storage,
    fleet: Fleet,
    changes: DurableChanges,
    metrics: Metrics,
    server_info: Callable[[], GetServerInfoResponse],
    overload: Overload,
) -> Dispatcher:
    """Makes the dispatcher of one hub."""
    registry = fleet.registry
    selection = SelectionHandlers(
        registry, clock, fleet.selections.outcomes, fleet.selections.counts
    )
    whole = RegistryHandlers(registry, page_cache_bytes=limits.page_cache_bytes)
    json = JsonHandlers(registry)
    handlers = [
        whole,
        selection,
        json,
        *view_handlers(registry, whole, json, selection),
        WatchHandlers(registry, fleet.changes, clock),
        *discovery_handlers(registry),
        ServerHandlers(fleet.presence, server_info),
        ObservationHandlers(metrics, storage.backup, storage.directory),
        *changes.handlers(selection.in_flight_now),
        *fleet.gateways.handlers(selection),
    ]
    return Dispatcher(storage.access, handlers, LiveStreams(clock), overload)
