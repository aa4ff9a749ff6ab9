"""The hub as a whole: makes the parts, opens the doors, and takes them down in order.

Start reading here. What is made where:

    settings ─► store ─► records ─► tokens, registry + probes      (core)
                           service ◄─ handlers                     (the one way in)
                 ws, grpc, http doors                              (transports)
"""

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random

import structlog

from hub.base.clock import Clock
from hub.base.load_settings import ConfigError
from hub.base.settings import Settings
from hub.base.start_error import StartError
from hub.base.tasks import tell_of_end
from hub.base.timestamps import to_timestamp
from hub.base.version import hub_version
from hub.contract import validation
from hub.probes.engine import ProbeEngine
from hub.registry.impact import lost_models
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.server import logs, self_preservation
from hub.server.configured_endpoints import StaticEndpoints, wanted_endpoints
from hub.server.expiry import Expiry
from hub.server.first_start import ensure_admin_token, new_first_revision, prepare_data_dir
from hub.server.observability import Observability
from hub.server.wiring import (
    health_settings,
    limits_by_role,
    make_limiters,
    make_store,
    probe_settings,
)
from hub.service.access.browser_sessions import SessionRegistry
from hub.service.access.tokens import Revocations, TokenRegistry
from hub.service.change_feed import ChangeFeed
from hub.service.changes.alias_book import AliasBook, AliasFollower
from hub.service.changes.audit_trail import AuditTrail
from hub.service.changes.fleet_follower import FleetFollower
from hub.service.changes.registrar import Registrar
from hub.service.dispatcher import Service
from hub.service.handlers.manage_aliases import AliasHandlers
from hub.service.handlers.manage_endpoints import AdminHandlers
from hub.service.handlers.read_registry import RegistryHandlers
from hub.service.handlers.select_endpoint import SelectionHandlers
from hub.service.handlers.sidecar_reports import SidecarHandlers
from hub.service.handlers.watch_registry import WatchHandlers
from hub.service.presence import Presence
from hub.service.records import (
    ALIASES,
    AUDIT,
    ENDPOINTS,
    SECRETS,
    SESSIONS,
    TOKENS,
    RecordDispatcher,
)
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Change
from hub.transports.certificate import ServerTls
from hub.transports.grpc.grpc_server import GrpcDoor
from hub.transports.http.authentication import Authenticator
from hub.transports.http.backup import BackupSender
from hub.transports.http.dashboard.routes import Dashboard
from hub.transports.http.http_server import HttpDoor
from hub.transports.listening import listen
from hub.transports.session.misbehaviour import Cooldowns
from hub.transports.session.sidecar_session import SessionContext
from hub.transports.websocket import WebSocketDoor
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.resources_pb2 import ROLE_SIDECAR

log = structlog.get_logger()

# A stop takes 5 s at the most: 3 for what is in flight, the rest to flush.
_GRACE_S = 3.0
# A store that restarts or elects a leader is back before.
_OUT_OF_TOUCH_S = 10.0


class Hub:
    """One hub: `start`, then it serves until `stop`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        on_failure: Callable[[], None] = lambda: None,
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens nothing yet.

        `on_failure` is called when a part has died that the hub cannot go on without,
        `on_loaded` once the fleet is there and before anybody is served.
        """
        self._settings = settings
        self._on_failure = on_failure
        self._on_loaded = on_loaded
        self._clock = clock
        self._observability = Observability(settings, hub_version())
        self._store = make_store(settings, self._observability.store_counts.add, on_failure)
        self._tls: ServerTls | None = None
        self._tokens = TokenRegistry()
        self._trail = AuditTrail()
        self._sessions = SessionRegistry(self._tokens)
        self._presence = Presence()
        self._probes = ProbeEngine(
            probe_settings(settings.probes),
            self._observed,
            clock,
            Random(),  # noqa: S311
        )
        # The doors refuse by the very rules that the probes connect by.
        self._policy = self._probes.policy
        self._limiters = make_limiters(settings.rate_limits)
        self._static: StaticEndpoints | None = None
        self._registry: Registry | None = None
        self._dispatcher: RecordDispatcher | None = None
        self._feed: ChangeFeed | None = None
        self._expiry: asyncio.Task[None] | None = None
        self._ws: WebSocketDoor | None = None
        self._grpc: GrpcDoor | None = None
        self._http: HttpDoor | None = None
        self._dashboard: Dashboard | None = None
        self._addresses = {"ws": "", "grpc": "", "http": ""}
        self._started_ms = clock.now_ms()
        self._ready = False
        self.new_admin_token: str | None = None

    async def start(self) -> None:
        """Opens the store, then the doors; where that fails, closes what it has opened.

        Raises StartError, StoreError or OSError.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self._settings
        validation.warm()
        if settings.tls.cert_file:
            self._tls = ServerTls(settings.tls)
        prepare_data_dir(settings.data_dir)
        contents = await self._store.open(self._changed)
        first_revision = await new_first_revision(self._store, self._started_ms)
        registry = self._registry = Registry(
            first_revision=first_revision,
            resources_ttl_ms=round(settings.resources_ttl_s * 1000),
            health=health_settings(settings),
        )
        follower = FleetFollower(registry, self._probes)
        self._dispatcher = RecordDispatcher(
            {
                ENDPOINTS: [follower],
                SECRETS: [follower],
                TOKENS: [self._tokens, Revocations(self._token_gone)],
                SESSIONS: [self._sessions],
                ALIASES: [AliasFollower(registry)],
                AUDIT: [self._trail],
            }
        )
        self._dispatcher.load(contents)
        follower.starting = False
        self._on_loaded()
        await self._probes.start()
        self._expiry = asyncio.create_task(Expiry(registry, self._clock).run(), name="expiry")
        tell_of_end(self._expiry, self._on_failure)
        self._feed = ChangeFeed(registry)
        await self._open_doors(registry, self._feed)
        # Once nothing is left that may fail: a start that does must not leave behind a
        # token that nobody was shown.
        self.new_admin_token = await ensure_admin_token(
            settings.data_dir, self._store, self._tokens, self._clock.now_ms()
        )
        self._ready = True

    async def stop(self) -> None:
        """Stops accepting, ends what is in flight, flushes. Idempotent."""
        self._ready = False
        # Watches end by themselves at no time; they must not use up the grace.
        if self._feed is not None:
            self._feed.close()
        stopping = []
        if self._ws is not None:
            stopping.append(self._ws.stop())
        if self._grpc is not None:
            stopping.append(self._grpc.stop())
        if self._http is not None:
            stopping.append(self._http.stop())
        self._ws, self._grpc, self._http = None, None, None
        await asyncio.gather(*stopping)
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.wait([self._expiry])
            self._expiry = None
        await self._probes.stop()
        await self._store.close()
        await self._observability.close()

    async def reconfigure(self, settings: Settings) -> None:
        """Takes over the settings that are RELOADABLE, and leaves the others.

        The certificate is read again too, from where it was. Raises ConfigError,
        and then has changed nothing.
        """
        wanted = wanted_endpoints(settings)
        if self._tls is not None:
            try:
                self._tls.reload()
            except StartError as error:
                raise ConfigError(str(error)) from None
        logs.configure(settings.log)
        for role, tiers in limits_by_role(settings.rate_limits).items():
            self._limiters[role].configure(tiers, enabled=settings.rate_limits.enabled)
        probes = settings.probes
        await self._probes.set_policy(map(str, probes.allow), map(str, probes.deny))
        if self._static is not None:
            await self._static.sync(wanted)

    def info(self) -> GetServerInfoResponse:
        """What the hub says of itself."""
        registry = self._require_registry()
        return GetServerInfoResponse(
            version=hub_version(),
            started_at=to_timestamp(self._started_ms),
            first_revision=registry.first_revision,
            revision=registry.revision,
            endpoint_count=len(registry),
            healthy_count=registry.healthy_count,
            sidecar_count=len(self._presence),
            store=self._store.kind,
            ws_address=self._addresses["ws"],
            grpc_address=self._addresses["grpc"],
            http_address=self._addresses["http"],
            self_preservation=self_preservation.self_preservation(registry, self._clock.now_ms()),
        )

    @property
    def dashboards(self) -> int:
        """How many dashboards are open."""
        return self._dashboard.followers if self._dashboard is not None else 0

    async def _open_doors(self, registry: Registry, feed: ChangeFeed) -> None:
        settings, clock = self._settings, self._clock
        registrar = Registrar(
            self._store,
            registry,
            max_endpoints=settings.limits.max_endpoints,
            is_connected=self._presence.is_connected,
            owners_presumed_until_ms=self._started_ms + round(settings.resources_ttl_s * 1000),
        )
        selection = SelectionHandlers(registry, clock)
        self._static = StaticEndpoints(registrar, registry, clock, is_alone=not settings.store.etcd)
        await self._static.sync(wanted_endpoints(settings))
        service = Service(
            tokens=self._tokens,
            limiters=self._limiters,
            handlers=[
                RegistryHandlers(registry),
                selection,
                AliasHandlers(registry, AliasBook(self._store, registry), self._trail),
                WatchHandlers(registry, feed, clock),
                AdminHandlers(
                    registrar=registrar,
                    store=self._store,
                    tokens=self._tokens,
                    presence=self._presence,
                    probes=self._probes,
                    policy=self._policy,
                    trail=self._trail,
                    lost_models=partial(lost_models, registry),
                    in_flight=selection.in_flight_now,
                    max_tokens=settings.limits.max_tokens,
                    server_info=self.info,
                ),
                SidecarHandlers(
                    registry,
                    registrar,
                    self._probes,
                    clock,
                    self._tokens,
                    self._limiters[ROLE_SIDECAR],
                ),
            ],
        )
        sessions = SessionContext(service, self._presence, Cooldowns(), self._observability.traffic)
        context = self._tls.context if self._tls is not None else None
        self._ws = ws = WebSocketDoor(settings.ws, sessions, clock, tls=context)
        self._grpc = GrpcDoor(
            settings.grpc,
            service,
            sessions,
            self._observability.calls,
            clock,
            ready=self._why_not_ready,
            identify_timeout_s=settings.ws.identify_timeout_s,
            grace_s=_GRACE_S,
            trusted_proxies=settings.ws.trusted_proxies,
            tls=self._tls,
        )
        auth = Authenticator(self._tokens, self._sessions, settings.ws.trusted_proxies)
        self._dashboard = Dashboard(
            auth=auth,
            sessions=self._sessions,
            store=self._store,
            service=service,
            registry=registry,
            presence=self._presence,
            clock=clock,
            server_info=self.info,
        )
        self._http = HttpDoor(
            settings.http,
            service,
            registry,
            self._observability.calls,
            self._observability.metrics(
                registry=registry,
                presence=self._presence,
                probes=self._probes,
                store=self._store,
                limiters=self._limiters,
                connections=lambda: ws.connections,
                watch_lag=feed.lag,
            ),
            BackupSender(
                self._store.backup if isinstance(self._store, SqliteStore) else None,
                settings.data_dir,
            ),
            clock,
            auth,
            self._dashboard,
            ready=self._why_not_ready,
            mistrust=self._why_mistrusted,
            grace_s=_GRACE_S,
            tls=context,
        )
        for name, door, listener in (
            ("ws", self._ws, settings.ws),
            ("grpc", self._grpc, settings.grpc),
            ("http", self._http, settings.http),
        ):
            self._addresses[name] = await listen(name, door, listener.host, listener.port)

    def _changed(self, change: Change) -> None:
        if self._dispatcher is not None:
            self._dispatcher.apply(change)

    def _token_gone(self, token_id: str) -> None:
        self._presence.close_token(token_id, self._clock.now_ms())
        if self._grpc is not None:
            self._grpc.close_token(token_id)
        if self._dashboard is not None:
            self._dashboard.recheck()

    def _observed(self, endpoint_id: str, seen: Observation) -> None:
        registry = self._require_registry()
        before = registry.health.preservation_state
        registry.observe(endpoint_id, seen)
        if registry.health.preservation_state is not before:
            self_preservation.log_preservation(registry, seen.checked_at_ms)

    def _why_not_ready(self) -> str | None:
        if not self._ready:
            return "the hub is starting or stopping"
        if self._store.out_of_touch_s > _OUT_OF_TOUCH_S:
            return f"the store does not answer: {self._store.kind}"
        return None

    def _why_mistrusted(self) -> str | None:
        return self_preservation.mistrust(self._require_registry(), self._clock.now_ms())

    def _require_registry(self) -> Registry:
        if self._registry is None:
            raise RuntimeError("the hub has not started")
        return self._registry
