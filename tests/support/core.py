"""The hub without transports: real store, tokens, registry and dispatcher in a temporary directory.

The probes are not started, so nothing is probed; everything else is real.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import CoroutineType

from google.protobuf.message import Message

from hub.base.clock import ManualClock
from hub.base.settings import ProbeSettings
from hub.contract.rpcs import Tier, rpc
from hub.probes.engine import ProbeEngine
from hub.registry.state import Registry
from hub.service.access.access_control import AccessControl, BearerToken
from hub.service.access.browser_sessions import BrowserSessions
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.tokens import Revocations, TokenRegistry
from hub.service.changes.alias_book import AliasBook, AliasFollower
from hub.service.changes.audit_trail import AuditTrail
from hub.service.changes.claims import Claims
from hub.service.changes.commits import Commits
from hub.service.changes.fleet_follower import FleetFollower
from hub.service.changes.owners import Owners
from hub.service.changes.registrar import Registrar
from hub.service.dispatcher import Dispatcher, Received
from hub.service.handlers.browser_sign_in import BrowserSessionHandlers
from hub.service.handlers.manage_aliases import AliasHandlers
from hub.service.handlers.manage_endpoints import EndpointHandlers
from hub.service.handlers.manage_tokens import TokenHandlers
from hub.service.handlers.observe_hub import ServerHandlers
from hub.service.handlers.read_registry import RegistryHandlers
from hub.service.handlers.select_endpoint import SelectionHandlers
from hub.service.handlers.sidecar_reports import SidecarHandlers
from hub.service.live_streams import LiveStreams
from hub.service.presence import Presence
from hub.service.records import ALIASES, AUDIT, ENDPOINTS, SECRETS, SESSIONS, TOKENS, RecordRouter
from hub.stores.sqlite import SqliteStore
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, Role


@dataclass
class Core:
    """The parts, with shortcuts to use them as a caller does."""

    clock: ManualClock
    store: SqliteStore
    tokens: TokenRegistry
    registry: Registry
    presence: Presence
    probes: ProbeEngine
    registrar: Registrar
    claims: Claims
    dispatcher: Dispatcher
    secrets: dict[str, str] = field(default_factory=dict)

    async def token(self, role: Role, agent_id: str = "", ttl_ms: int | None = None) -> str:
        """The secret of a new token."""
        secret, _, put = self.tokens.mint(role, agent_id, ttl_ms, "", self.clock.now_ms())
        await self.store.commit([put])
        return secret

    async def call(
        self, name: str, request: Message | None = None, *, token: str, remote: str = "10.0.0.9"
    ) -> Message:
        """Dispatches a call as a transport does, and waits for the reply. Raises HubError."""
        called = rpc(name)
        received = Received(called.request() if request is None else request)
        credentials = BearerToken(token, remote, "grpc")
        reply = self.dispatcher.dispatch(called, credentials, lambda: received, self.clock.now_ms())
        if isinstance(reply, CoroutineType):
            reply = await reply
        return called.response.FromString(reply) if isinstance(reply, bytes) else reply

    async def as_admin(self, name: str, request: Message | None = None) -> Message:
        return await self._as(ROLE_ADMIN, "", name, request)

    async def as_reader(self, name: str, request: Message | None = None) -> Message:
        return await self._as(ROLE_READER, "", name, request)

    async def as_agent(
        self, agent_id: str, name: str, request: Message | None = None, remote: str = "10.0.0.9"
    ) -> Message:
        return await self._as(ROLE_SIDECAR, agent_id, name, request, remote)

    async def _as(
        self,
        role: Role,
        agent_id: str,
        name: str,
        request: Message | None,
        remote: str = "10.9.9.9",
    ) -> Message:
        key = agent_id or Role.Name(role)
        if key not in self.secrets:
            self.secrets[key] = await self.token(role, agent_id)
        return await self.call(name, request, token=self.secrets[key], remote=remote)

    def endpoint(self, id_: str) -> Endpoint:
        record = self.registry.get(id_)
        assert record is not None, f"no endpoint {id_}"
        return record.message

    def ids(self) -> list[str]:
        return [record.message.id for record in self.registry.endpoints()]


@asynccontextmanager
async def running_core(
    directory: Path,
    *,
    max_endpoints: int = 1_000,
    max_tokens: int = 1_000,
    per_minute: Mapping[Tier, int] | None = None,
    only_own_addresses: bool = False,
    store: SqliteStore | None = None,
) -> AsyncIterator[Core]:
    clock = ManualClock()
    store = store or SqliteStore(directory / "hub.db")
    tokens, presence, trail = TokenRegistry(), Presence(), AuditTrail()
    registry = Registry(first_revision=1_000)
    probes = ProbeEngine(ProbeSettings(), registry.observe, clock, Random(7))
    follower = FleetFollower(registry, probes)
    limiters = {
        role: RateLimiter(per_minute or {}, enabled=per_minute is not None)
        for role in (ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR)
    }
    access = AccessControl(tokens, BrowserSessions(tokens), limiters)
    router = RecordRouter(
        {
            ENDPOINTS: [follower],
            SECRETS: [follower],
            TOKENS: [tokens, Revocations(lambda gone: presence.close_token(gone, clock.now_ms()))],
            ALIASES: [AliasFollower(registry)],
            AUDIT: [trail],
            SESSIONS: [access.browser_sessions],
        }
    )
    router.load(await store.open(router.apply))
    follower.starting = False
    commits = Commits(store)
    selection = SelectionHandlers(registry, clock)
    owners = Owners(registry, presence.is_connected)
    presence.on_change(lambda agent_id: owners.note_presence(agent_id, clock.now_ms()))
    registrar = Registrar(commits, registry, owners=owners, max_endpoints=max_endpoints)
    claims = Claims(registrar, owners, clock)
    dispatcher = Dispatcher(
        access,
        [
            RegistryHandlers(registry),
            selection,
            AliasHandlers(registry, AliasBook(commits, registry), trail),
            EndpointHandlers(
                registrar=registrar,
                trail=trail,
                probes=probes,
                registry=registry,
                in_flight=selection.in_flight_now,
            ),
            TokenHandlers(commits, tokens, access.uses, trail, max_tokens=max_tokens),
            ServerHandlers(presence, lambda: GetServerInfoResponse(version="test")),
            BrowserSessionHandlers(commits, access.browser_sessions),
            SidecarHandlers(
                registry,
                claims,
                probes,
                clock,
                tokens,
                limiters[ROLE_SIDECAR],
                only_own_addresses=only_own_addresses,
            ),
        ],
        LiveStreams(clock),
    )
    try:
        yield Core(clock, store, tokens, registry, presence, probes, registrar, claims, dispatcher)
    finally:
        async with asyncio.timeout(10):
            await store.close()
