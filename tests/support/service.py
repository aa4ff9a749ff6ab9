"""A real dispatcher without transports: store, registry, registrar, tokens and limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hub.base.clock import ManualClock
from hub.base.settings import ProbeSettings
from hub.probes.engine import ProbeEngine
from hub.registry.state import Registry
from hub.service.access.access_control import AccessControl
from hub.service.access.browser_sessions import BrowserSessions
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.tokens import TokenRegistry
from hub.service.changes.claims import Claims
from hub.service.changes.commits import Commits
from hub.service.changes.fleet_follower import FleetFollower
from hub.service.changes.owners import Owners
from hub.service.changes.registrar import Registrar
from hub.service.dispatcher import Dispatcher
from hub.service.handlers.read_registry import RegistryHandlers
from hub.service.handlers.sidecar_reports import SidecarHandlers
from hub.service.live_streams import LiveStreams
from hub.service.presence import Close, Presence
from hub.service.records import ENDPOINTS, SECRETS, TOKENS, RecordRouter
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Delete
from hub.transports.session.misbehaviour import Cooldowns
from hub.transports.session.sidecar_session import SessionContext, SidecarSession
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, Role


@dataclass(eq=False)
class Recorder:
    """A connection that records how it was closed."""

    closes: list[Close] = field(default_factory=list)

    def close(self, close: Close) -> None:
        self.closes.append(close)


@dataclass(eq=False)
class ServiceRig:
    """The parts, and a manual clock."""

    clock: ManualClock
    store: SqliteStore
    registry: Registry
    tokens: TokenRegistry
    dispatcher: Dispatcher
    context: SessionContext

    async def token(
        self, role: Role = ROLE_SIDECAR, agent_id: str = "", ttl_ms: int | None = None
    ) -> str:
        secret, _, put = self.tokens.mint(role, agent_id, ttl_ms, "", self.clock.now_ms())
        await self.store.commit([put])
        return secret

    async def revoke(self, token: str) -> None:
        token_id = self.tokens.authenticate(token, self.clock.now_ms()).token_id
        await self.store.commit([Delete(f"{TOKENS}/{token_id}")])

    def session(
        self, *, remote_address: str = "127.0.0.1", transport: str = "ws"
    ) -> tuple[SidecarSession, Recorder]:
        recorder = Recorder()
        return SidecarSession(self.context, recorder, remote_address, transport), recorder


@asynccontextmanager
async def service_rig(directory: Path, *, limited: bool = True) -> AsyncIterator[ServiceRig]:
    clock = ManualClock()
    registry = Registry(first_revision=1_000)
    # The engine is never started, so watched endpoints wait in its schedule.
    probes = ProbeEngine(ProbeSettings(), lambda _id, _seen: None, clock, Random(7))
    tokens = TokenRegistry()
    follower = FleetFollower(registry, probes)
    router = RecordRouter({ENDPOINTS: [follower], SECRETS: [follower], TOKENS: [tokens]})
    store = SqliteStore(directory / "rig.db")
    await store.open(router.apply)
    presence = Presence()
    owners = Owners(registry, presence.is_connected)
    presence.on_change(lambda agent_id: owners.note_presence(agent_id, clock.now_ms()))
    registrar = Registrar(Commits(store), registry, owners=owners, max_endpoints=100)
    claims = Claims(registrar, owners, clock)
    limiters = {
        role: RateLimiter(enabled=limited) for role in (ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR)
    }
    dispatcher = Dispatcher(
        AccessControl(tokens, BrowserSessions(tokens), limiters),
        [
            RegistryHandlers(registry),
            SidecarHandlers(registry, claims, probes, clock, tokens, limiters[ROLE_SIDECAR]),
        ],
        LiveStreams(clock),
    )
    try:
        context = SessionContext(dispatcher, presence, Cooldowns())
        yield ServiceRig(clock, store, registry, tokens, dispatcher, context)
    finally:
        await store.close()
        await probes.stop()
