"""The hub as a whole: makes the capabilities, opens the transports, stops all in order.

Start reading here. Each capability is one object, made in the module with its name:

    storage          the store, tokens, browser sessions, audit trail
    fleet            registry, probes, presence, change feed, gateways, warm restarts
    durable_changes  registrar and the handlers that write
    dispatching      the dispatcher with all handlers: the one way in
    listeners        WebSocket, gRPC and HTTP
    observability    counts, metrics, traces
"""

from collections.abc import Callable

from hub.base.clock import Clock
from hub.base.settings import Settings
from hub.contract import validation
from hub.server import logs
from hub.server.configured_endpoints import StaticEndpoints, wanted_endpoints
from hub.server.dispatching import make_dispatcher
from hub.server.durable_changes import DurableChanges
from hub.server.first_start import ensure_admin_token, new_first_revision, prepare_data_dir
from hub.server.fleet import Fleet
from hub.server.listeners import Listeners
from hub.server.observability import Observability
from hub.server.server_info import ServerInfo
from hub.server.storage import Storage
from hub.transports.certificate import ServerTls
from hub.transports.context import Readiness, TransportContext
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse

# A stop takes at most 5 s: 3 s for requests in flight, the rest to flush.
_GRACE_S = 3.0
# A store that restarts or elects a leader is back earlier.
_OUT_OF_TOUCH_S = 10.0


class HubServer:
    """One hub: `start`, then it serves until `stop`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        on_failure: Callable[[], None] = lambda: None,
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens nothing yet.

        `on_failure` is called when a task that the hub cannot do without has died,
        `on_loaded` after the fleet is loaded and before the hub serves any request.
        """
        self._settings = settings
        self._clock = clock
        self._on_failure = on_failure
        self._on_loaded = on_loaded
        self._observability = Observability(settings)
        self._storage = Storage(settings, self._observability, on_failure)
        self._tls: ServerTls | None = None
        self._fleet: Fleet | None = None
        self._changes: DurableChanges | None = None
        self._info: ServerInfo | None = None
        self._configured: StaticEndpoints | None = None
        self._listeners: Listeners | None = None
        self._started_ms = clock.now_ms()
        self._ready = False
        self.new_admin_token: str | None = None

    async def start(self) -> None:
        """Opens the store, then the transports; if that fails, closes what it has opened.

        Raises StartError, StoreError or OSError.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings, storage, clock = self._settings, self._storage, self._clock
        validation.warm()
        if settings.tls.cert_file:
            self._tls = ServerTls(settings.tls)
        prepare_data_dir(settings.data_dir)
        contents = await storage.open()
        first_revision = await new_first_revision(storage.store, self._started_ms)
        fleet = self._fleet = Fleet(settings, clock, first_revision)
        storage.load(contents, fleet, self._token_removed)
        await storage.seal()
        storage.start(self._on_failure)
        await fleet.restore()
        self._info = ServerInfo(
            fleet, clock, storage.store.kind, self._started_ms, self._observability.overload
        )
        self._on_loaded()
        await fleet.start(self._on_failure)
        changes = self._changes = DurableChanges(settings, clock, storage, fleet)
        changes.start(self._on_failure)
        self._configured = StaticEndpoints(
            changes.registrar, fleet.registry, clock, is_alone=not settings.store.etcd
        )
        await self._configured.sync(wanted_endpoints(settings))
        overload = self._observability.overload
        overload.on_change(fleet.follow_overload)
        overload.measure(lambda: len(fleet.registry))
        metrics = self._observability.metrics(fleet, storage.store, storage.access.limiters)
        context = TransportContext(
            make_dispatcher(
                settings.limits,
                clock,
                storage,
                fleet,
                changes,
                metrics,
                self.info,
                overload,
            ),
            self._observability.calls,
            clock,
            Readiness(self._why_not_ready, fleet.why_mistrusted),
            _GRACE_S,
            settings.ws.trusted_proxies,
            self._tls,
            overload,
        )
        self._listeners = Listeners(
            settings, context, fleet, self._observability.traffic, self.info
        )
        self._info.addresses = self._listeners.addresses
        await self._listeners.start()
        # Last, when nothing else can fail: a failed start must not leave behind a token
        # that was never shown.
        self.new_admin_token = await ensure_admin_token(
            settings.data_dir, storage.store, storage.access.tokens, clock.now_ms()
        )
        self._observability.start(storage.store, clock, self._on_failure)
        self._ready = True

    async def stop(self) -> None:
        """Stops accepting, ends what is in flight, flushes. Idempotent."""
        self._ready = False
        if self._fleet is not None:
            # Watches never end by themselves; they must not use up the grace period.
            self._fleet.changes.close()
        if self._listeners is not None:
            listeners, self._listeners = self._listeners, None
            await listeners.stop()
        if self._changes is not None:
            await self._changes.stop()
        if self._fleet is not None:
            await self._fleet.stop()
        await self._storage.close()
        await self._observability.close()

    async def reconfigure(self, settings: Settings) -> None:
        """Applies the settings that are RELOADABLE, and ignores the others.

        Also reads the certificate again from the same files. If it raises ConfigError or
        StartError, nothing has changed.
        """
        wanted = wanted_endpoints(settings)
        await self._storage.reload_keys()
        if self._tls is not None:
            self._tls.reload()
            self._require_fleet().presence.close_revoked()
            if self._listeners is not None:
                self._listeners.close_revoked()
        logs.configure(settings.log)
        self._storage.limit_rates(settings.rate_limits)
        probes = settings.probes
        await self._require_fleet().probes.set_policy(probes.allow, probes.deny)
        if self._configured is not None:
            await self._configured.sync(wanted)

    def info(self) -> GetServerInfoResponse:
        """Describes the hub: version, counts and addresses."""
        if self._info is None:
            raise RuntimeError("the hub has not started")
        return self._info.get()

    def _token_removed(self, token_id: str) -> None:
        self._require_fleet().presence.close_token(token_id, self._clock.now_ms())
        if self._listeners is not None:
            self._listeners.close_token(token_id)

    def _why_not_ready(self) -> str | None:
        if not self._ready:
            return "the hub is starting or stopping"
        store = self._storage.store
        if store.out_of_touch_s > _OUT_OF_TOUCH_S:
            return f"the store does not answer: {store.kind}"
        return None

    def _require_fleet(self) -> Fleet:
        if self._fleet is None:
            raise RuntimeError("the hub has not started")
        return self._fleet
