"""Assembles what changes the store: the registrar, claims, and the handlers that write."""

from collections.abc import Callable

from hub.base.clock import Clock
from hub.base.settings import Settings
from hub.server.fleet import Fleet
from hub.server.storage import Storage
from hub.service.changes.alias_book import AliasBook
from hub.service.changes.claims import Claims
from hub.service.changes.commits import Commits
from hub.service.changes.owners import Owners
from hub.service.changes.registrar import Registrar
from hub.service.handlers.act_on_models import ModelActionContext, ModelActionHandlers
from hub.service.handlers.browser_sign_in import BrowserSessionHandlers
from hub.service.handlers.manage_aliases import AliasHandlers
from hub.service.handlers.manage_endpoints import EndpointHandlers
from hub.service.handlers.manage_tokens import TokenHandlers
from hub.service.handlers.sidecar_reports import SidecarHandlers
from llmhub.v1.resources_pb2 import ROLE_SIDECAR


class DurableChanges:
    """Makes the one registrar of a hub, and the handlers that change the store."""

    def __init__(self, settings: Settings, clock: Clock, storage: Storage, fleet: Fleet) -> None:
        self._clock = clock
        self._storage = storage
        self._fleet = fleet
        self._max_tokens = settings.limits.max_tokens
        self._actions = settings.actions
        self._only_own_addresses = settings.sidecars.addresses == "own"
        self._commits = Commits(storage.store)
        owners = Owners(
            fleet.registry,
            fleet.presence.is_connected,
            presumed_until_ms=clock.now_ms() + round(settings.resources_ttl_s * 1000),
        )
        fleet.presence.on_change(lambda agent_id: owners.note_presence(agent_id, clock.now_ms()))
        self.registrar = Registrar(
            self._commits,
            fleet.registry,
            owners=owners,
            max_endpoints=settings.limits.max_endpoints,
        )
        self._claims = Claims(self.registrar, owners, clock)

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begins to grant sidecars' claims when the owners leave."""
        self._claims.start(on_failure)

    async def stop(self) -> None:
        """Stops granting claims. Idempotent."""
        await self._claims.stop()

    def handlers(self, in_flight: Callable[[str, int], int]) -> list[object]:
        """The handlers that write. `in_flight` counts an endpoint's leases as of a time."""
        commits, trail, access = self._commits, self._storage.trail, self._storage.access
        registry, probes = self._fleet.registry, self._fleet.probes
        return [
            EndpointHandlers(
                registrar=self.registrar,
                trail=trail,
                probes=probes,
                registry=registry,
                in_flight=in_flight,
            ),
            TokenHandlers(commits, access.tokens, access.uses, trail, max_tokens=self._max_tokens),
            AliasHandlers(registry, AliasBook(commits, registry), trail),
            BrowserSessionHandlers(commits, access.browser_sessions),
            SidecarHandlers(
                registry,
                self._claims,
                probes,
                self._clock,
                access.tokens,
                access.limiters[ROLE_SIDECAR],
                only_own_addresses=self._only_own_addresses,
            ),
            ModelActionHandlers(
                self._actions,
                ModelActionContext(registry, probes, self._fleet.presence, commits, trail),
            ),
        ]
