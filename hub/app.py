"""The hub as a whole: makes the parts, opens the doors, and takes them down in order.

Start reading here. What is made where:

    settings ─► store ─► records ─► tokens, registry + probes      (core)
                           service ◄─ handlers                     (the one way in)
                 ws, grpc, http doors                              (transports)
"""

import asyncio
import gc
import resource
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from random import Random

import structlog
import uvloop

from hub import banner, health, logs, validation
from hub.address import join_host_port
from hub.bootstrap import STORE_FILE, StartError, ensure_admin_token, prepare_data_dir
from hub.clock import Clock, SystemClock
from hub.config import ProbeConfig, Settings, TierLimits
from hub.fleet import FleetFollower
from hub.handlers.admin import AdminHandlers
from hub.handlers.registry import RegistryHandlers
from hub.handlers.sidecar import SidecarHandlers
from hub.handlers.watch import WatchHandlers
from hub.misbehaviour import Cooldowns
from hub.presence import Presence
from hub.probes.engine import ProbeEngine
from hub.probes.settings import ProbeSettings
from hub.probes.targets import AddressPolicy
from hub.ratelimit import RateLimiter, Tier
from hub.records import ENDPOINTS, SECRETS, TOKENS, RecordDispatcher, name_of
from hub.registrar import Registrar
from hub.registry.health import HealthSettings
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.service import Service
from hub.stores.base import Change, Entry, Store, StoreError
from hub.stores.sqlite import SqliteStore
from hub.times import to_timestamp
from hub.tokens import TokenRegistry
from hub.transports.frames import SessionContext
from hub.transports.grpc import GrpcDoor
from hub.transports.http import HttpDoor
from hub.transports.ws import WebSocketDoor
from hub.watch import ChangeFeed
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, Role

log = structlog.get_logger()

# A stop takes 5 s at the most: 3 for what is in flight, the rest to flush.
_GRACE_S = 3.0


def run(settings: Settings) -> int:
    """Runs a hub until it is told to stop; returns the process's exit code."""
    logs.configure(settings.log)
    _raise_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    try:
        hub = Hub(settings, SystemClock())
        await hub.start()
    except (StartError, StoreError, OSError) as error:
        print(f"llm-hub: {error}", file=sys.stderr)
        return 1
    banner.show(hub.info(), settings, hub.new_admin_token)
    await stop.wait()
    log.info("stopping")
    await hub.stop()
    log.info("stopped")
    return 0


class Hub:
    """One hub: `start`, then it serves until `stop`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._store = _store(settings)
        self._tokens = TokenRegistry()
        self._presence = Presence()
        self._policy = AddressPolicy(
            [str(block) for block in settings.probes.allow],
            [str(block) for block in settings.probes.deny],
        )
        self._probes = ProbeEngine(
            _probe_settings(settings.probes),
            self._observed,
            clock,
            Random(),  # noqa: S311
        )
        self._registry: Registry | None = None
        self._dispatcher: RecordDispatcher | None = None
        self._feed: ChangeFeed | None = None
        self._expiry: asyncio.Task[None] | None = None
        self._ws: WebSocketDoor | None = None
        self._grpc: GrpcDoor | None = None
        self._http: HttpDoor | None = None
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
        prepare_data_dir(settings.data_dir)
        contents = await self._store.open(self._changed)
        incarnation = await self._store.next_incarnation(self._started_ms * 1000)
        registry = self._registry = Registry(
            first_revision=incarnation,
            resources_ttl_ms=round(settings.resources_ttl_s * 1000),
            health=_health_settings(settings),
        )
        follower = FleetFollower(registry, self._probes)
        self._dispatcher = RecordDispatcher(
            {
                ENDPOINTS: [follower],
                SECRETS: [follower],
                TOKENS: [self._tokens, _Revocations(self._presence)],
            }
        )
        self._dispatcher.load(contents)
        follower.starting = False
        self.new_admin_token = await ensure_admin_token(
            settings.data_dir, self._store, self._tokens, self._clock.now_ms()
        )
        await self._probes.start()
        self._expiry = asyncio.create_task(self._expire(registry), name="resource-expiry")
        self._feed = ChangeFeed(registry)
        await self._open_doors(registry, self._feed)
        # What lives as long as the process need not be walked by every full
        # collection; with thousands of connections those walks are felt.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
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
            self_preservation=health.self_preservation(registry, self._clock.now_ms()),
        )

    async def _open_doors(self, registry: Registry, feed: ChangeFeed) -> None:
        settings, clock = self._settings, self._clock
        registrar = Registrar(self._store, registry, max_endpoints=settings.limits.max_endpoints)
        service = Service(
            tokens=self._tokens,
            limiters=self._limiters(),
            handlers=[
                RegistryHandlers(registry),
                WatchHandlers(registry, feed, self._tokens, clock),
                AdminHandlers(
                    registrar=registrar,
                    store=self._store,
                    tokens=self._tokens,
                    presence=self._presence,
                    probes=self._probes,
                    policy=self._policy,
                    max_tokens=settings.limits.max_tokens,
                    server_info=self.info,
                ),
                SidecarHandlers(registry, registrar, self._policy, clock),
            ],
        )
        sessions = SessionContext(service, self._presence, Cooldowns())
        self._ws = WebSocketDoor(settings.ws, sessions, clock)
        self._grpc = GrpcDoor(
            settings.grpc,
            service,
            sessions,
            clock,
            identify_timeout_s=settings.ws.identify_timeout_s,
            grace_s=_GRACE_S,
        )
        self._http = HttpDoor(
            settings.http,
            service,
            registry,
            clock,
            ready=self._why_not_ready,
            mistrust=self._why_mistrusted,
            grace_s=_GRACE_S,
        )
        for name, door, listener in (
            ("ws", self._ws, settings.ws),
            ("grpc", self._grpc, settings.grpc),
            ("http", self._http, settings.http),
        ):
            try:
                port = await door.start(listener.host, listener.port)
            except OSError as error:
                why = error.strerror or error
                raise StartError(f"{name}: cannot listen on {listener.address}: {why}") from error
            self._addresses[name] = join_host_port(listener.host, port)

    def _limiters(self) -> dict[Role, RateLimiter]:
        limits = self._settings.rate_limits
        return {
            role: RateLimiter(_per_minute(tiers), enabled=limits.enabled)
            for role, tiers in (
                (ROLE_SIDECAR, limits.sidecar),
                (ROLE_READER, limits.reader),
                (ROLE_ADMIN, limits.admin),
            )
        }

    def _changed(self, change: Change) -> None:
        if self._dispatcher is not None:
            self._dispatcher.apply(change)

    def _observed(self, endpoint_id: str, seen: Observation) -> None:
        registry = self._require_registry()
        before = registry.health.preservation_state
        registry.observe(endpoint_id, seen)
        if registry.health.preservation_state is not before:
            health.log_preservation(registry, seen.checked_at_ms)

    async def _expire(self, registry: Registry) -> None:
        """Drops reports at their deadlines.

        A report that comes while this sleeps cannot expire before one lifetime
        from now, so sleeping as long as that misses none.
        """
        lifetime_ms = round(self._settings.resources_ttl_s * 1000)
        while True:
            now_ms = self._clock.now_ms()
            registry.expire(now_ms)
            deadline_ms = registry.next_deadline_ms() or now_ms + lifetime_ms
            await asyncio.sleep((deadline_ms - now_ms) / 1000)

    def _why_not_ready(self) -> str | None:
        return None if self._ready else "the hub is starting or stopping"

    def _why_mistrusted(self) -> str | None:
        return health.mistrust(self._require_registry(), self._clock.now_ms())

    def _require_registry(self) -> Registry:
        if self._registry is None:
            raise RuntimeError("the hub has not started")
        return self._registry


def _raise_open_files() -> None:
    """Lets the process open as many files as the system allows.

    Every sidecar and every probed endpoint is a socket; the usual soft limit of
    1,024 is there for programs that use select(2).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Revocations:
    """Disconnects the sidecars whose token is revoked; a `RecordConsumer` of "tokens"."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def apply_put(self, entry: Entry) -> None:
        """A new token disconnects nobody."""

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        self._presence.close_token(name_of(key))


def hub_version() -> str:
    """The installed version, or "unknown" in a source tree that is not installed."""
    try:
        return version("llm-registry-hub")
    except PackageNotFoundError:
        return "unknown"


def _store(settings: Settings) -> Store:
    """The store that the settings ask for. Raises StartError."""
    if not settings.store.etcd:
        return SqliteStore(settings.data_dir / STORE_FILE)
    try:
        # An extra: most hubs keep their store in one file.
        from hub.stores.etcd import EtcdStore
    except ImportError as error:
        raise StartError(
            "store.etcd needs the extra: pip install 'llm-registry-hub[etcd]'"
        ) from error
    return EtcdStore(settings.store.etcd, prefix=settings.store.etcd_prefix)


def _per_minute(tiers: TierLimits) -> dict[Tier, int]:
    return {Tier.LIGHT: tiers.light, Tier.NORMAL: tiers.normal, Tier.HEAVY: tiers.heavy}


def _health_settings(settings: Settings) -> HealthSettings:
    flapping, preservation = settings.flapping, settings.preservation
    return HealthSettings(
        unhealthy_after=settings.probes.unhealthy_after,
        interval_ms=round(settings.probes.interval_s * 1000),
        flap_changes=flapping.changes,
        flap_window_ms=round(flapping.window_s * 1000),
        flap_hold_ms=round(flapping.hold_s * 1000),
        preserve_share=preservation.share,
        preserve_least=preservation.min_endpoints,
        preserve_confirm_ms=round(preservation.confirm_s * 1000),
    )


def _probe_settings(config: ProbeConfig) -> ProbeSettings:
    return ProbeSettings(
        interval_s=config.interval_s,
        jitter=config.jitter,
        connect_timeout_s=config.connect_timeout_s,
        total_timeout_s=config.total_timeout_s,
        concurrency=config.concurrency,
        doubtful_concurrency=config.doubtful_concurrency,
        asked_concurrency=config.asked_concurrency,
        per_host=config.per_host,
        max_body_bytes=config.max_body_bytes,
        allow=tuple(str(block) for block in config.allow),
        deny=tuple(str(block) for block in config.deny),
    )
