"""The hub without its doors: real store, tokens, registry and service on a temporary directory.

The probes are there and not started: nothing is probed, all else is real.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from google.protobuf.message import Message

from hub.base.clock import ManualClock
from hub.base.probe_settings import ProbeSettings
from hub.contract.rpcs import Tier, rpc
from hub.probes.address_policy import AddressPolicy
from hub.probes.engine import ProbeEngine
from hub.registry.impact import lost_models
from hub.registry.state import Registry
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.tokens import Revocations, TokenRegistry
from hub.service.changes.alias_book import AliasBook, AliasFollower
from hub.service.changes.audit_trail import AuditTrail
from hub.service.changes.fleet_follower import FleetFollower
from hub.service.changes.registrar import Registrar
from hub.service.dispatcher import Caller, Service
from hub.service.handlers.manage_aliases import AliasHandlers
from hub.service.handlers.manage_endpoints import AdminHandlers
from hub.service.handlers.read_registry import RegistryHandlers
from hub.service.handlers.select_endpoint import SelectionHandlers
from hub.service.handlers.sidecar_reports import SidecarHandlers
from hub.service.presence import Presence
from hub.service.records import ALIASES, AUDIT, ENDPOINTS, SECRETS, TOKENS, RecordDispatcher
from hub.stores.sqlite import SqliteStore
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, Role


@dataclass
class Core:
    """The parts, and short ways to use them as a caller does."""

    clock: ManualClock
    store: SqliteStore
    tokens: TokenRegistry
    registry: Registry
    presence: Presence
    probes: ProbeEngine
    registrar: Registrar
    service: Service
    secrets: dict[str, str] = field(default_factory=dict)

    async def token(self, role: Role, agent_id: str = "", ttl_ms: int | None = None) -> str:
        """The secret of a new token."""
        secret, _, put = self.tokens.mint(role, agent_id, ttl_ms, "", self.clock.now_ms())
        await self.store.commit([put])
        return secret

    async def call(
        self, name: str, request: Message | None = None, *, token: str, remote: str = "10.0.0.9"
    ) -> Message:
        """What a door does with a call: authenticate, admit, carry out. Raises HubError."""
        called = rpc(name)
        now_ms = self.clock.now_ms()
        caller = Caller(self.tokens.authenticate(token, now_ms), remote, "grpc")
        self.service.admit_or_raise(called, caller, now_ms)
        reply = await self.service.carry_out(
            called, called.request() if request is None else request, caller, now_ms
        )
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
) -> AsyncIterator[Core]:
    clock = ManualClock()
    store = SqliteStore(directory / "hub.db")
    tokens, presence, trail = TokenRegistry(), Presence(), AuditTrail()
    registry = Registry(first_revision=1_000)
    probes = ProbeEngine(ProbeSettings(), registry.observe, clock, Random(7))
    follower = FleetFollower(registry, probes)
    dispatcher = RecordDispatcher(
        {
            ENDPOINTS: [follower],
            SECRETS: [follower],
            TOKENS: [tokens, Revocations(lambda gone: presence.close_token(gone, clock.now_ms()))],
            ALIASES: [AliasFollower(registry)],
            AUDIT: [trail],
        }
    )
    dispatcher.load(await store.open(dispatcher.apply))
    follower.starting = False
    selection = SelectionHandlers(registry, clock)
    registrar = Registrar(
        store, registry, max_endpoints=max_endpoints, is_connected=presence.is_connected
    )
    limiters = {
        role: RateLimiter(per_minute or {}, enabled=per_minute is not None)
        for role in (ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR)
    }
    service = Service(
        tokens=tokens,
        limiters=limiters,
        handlers=[
            RegistryHandlers(registry),
            selection,
            AliasHandlers(registry, AliasBook(store, registry), trail),
            AdminHandlers(
                registrar=registrar,
                store=store,
                tokens=tokens,
                presence=presence,
                probes=probes,
                policy=AddressPolicy(),
                trail=trail,
                lost_models=partial(lost_models, registry),
                in_flight=selection.in_flight_now,
                max_tokens=max_tokens,
                server_info=lambda: GetServerInfoResponse(version="test"),
            ),
            SidecarHandlers(registry, registrar, probes, clock, tokens, limiters[ROLE_SIDECAR]),
        ],
    )
    try:
        yield Core(clock, store, tokens, registry, presence, probes, registrar, service)
    finally:
        async with asyncio.timeout(10):
            await store.close()
