"""Claims of sidecars on endpoints: registered at once, or when the owner has left.

A sidecar that claims the endpoint of another one is refused while that one is present.
Many sidecars claim once, when they connect. So the hub keeps a refused claim and takes it
up as soon as the owner has left, if the claimant is still present.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from hub.base.address import spellings
from hub.base.clock import Clock
from hub.base.tasks import log_unexpected_end
from hub.contract.errors import EndpointOwned, EtagMismatch, HubError, StoreUnavailable
from hub.service.changes.owners import Owners
from hub.service.changes.registrar import Registrar, Registration
from llmhub.v1.endpoint_pb2 import Endpoint

MAX_CLAIMS: Final = 1_000
"""How many refused claims are kept in all. A claim beyond it is refused and not kept."""

MAX_CLAIMS_PER_AGENT: Final = 16
"""How many refused claims are kept for one agent."""

_LOOK_EVERY_S: Final = 1.0

log = structlog.get_logger()


class Claims:
    """Registers what sidecars report, and keeps the claims that are refused."""

    def __init__(self, registrar: Registrar, owners: Owners, clock: Clock) -> None:
        self._registrar = registrar
        self._owners = owners
        self._clock = clock
        # By agent and endpoint, the oldest first.
        self._kept: dict[tuple[str, str], tuple[str, Registration]] = {}
        self._per_agent: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """The number of claims that wait for an owner to leave."""
        return len(self._kept)

    async def register(
        self,
        id_: str,
        wanted: Registration,
        now_ms: int,
        *,
        charge: Callable[[], None] | None = None,
    ) -> Endpoint:
        """Registers an endpoint for the agent of `wanted`, as `Registrar.register` does.

        Raises EndpointOwned after it has kept the claim, and what a registration raises.
        """
        key = wanted.agent_id or "", min(spellings(id_))
        try:
            registered = await self._registrar.register(id_, wanted, now_ms, charge=charge)
        except EndpointOwned as error:
            self._keep(key, id_, wanted, error)
            raise
        self._drop(key)
        return registered

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begins to take up claims as their owners leave."""
        self._taking = asyncio.create_task(self._run(), name="claims")
        log_unexpected_end(self._taking, on_failure)

    async def stop(self) -> None:
        """Stops taking up claims. Idempotent."""
        if self._taking is not None:
            self._taking.cancel()
            await asyncio.wait([self._taking])
            self._taking = None

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            await self.settle(self._clock.now_ms())
            if not self._kept:
                self._news.clear()
                continue
            await asyncio.sleep(_LOOK_EVERY_S)

    async def settle(self, now_ms: int) -> None:
        """Takes up each claim whose owner has left; drops those of agents that are gone."""
        for key, (id_, wanted) in list(self._kept.items()):
            agent_id = key[0]
            if key not in self._kept:
                continue
            if not self._owners.is_present(agent_id, now_ms):
                self._drop(key)
                continue
            current = self._registrar.current(id_)
            if current is None or not self._owners.owner(current, agent_id, now_ms):
                before = current.agent_id if current is not None else ""
                await self._take_up(key, id_, wanted, before, now_ms)

    async def _take_up(
        self, key: tuple[str, str], id_: str, wanted: Registration, before: str, now_ms: int
    ) -> None:
        try:
            taken = await self._registrar.register(id_, wanted, now_ms)
        except (EndpointOwned, EtagMismatch, StoreUnavailable):
            # It stays claimed: another agent was faster, or the store will be back.
            return
        except HubError as error:
            log.warning("endpoint not taken over", id=id_, agent_id=key[0], why=str(error))
        else:
            log.info("endpoint taken over", id=taken.id, agent_id=key[0], previous_owner=before)
        self._drop(key)

    def _keep(
        self, key: tuple[str, str], id_: str, wanted: Registration, error: EndpointOwned
    ) -> None:
        agent_id = key[0]
        if key not in self._kept:
            owner = error.metadata["owner"]
            log.warning(
                "endpoint refused", id=id_, agent_id=agent_id, owner=owner, why=error.message
            )
            if len(self._kept) >= MAX_CLAIMS or self._per_agent[agent_id] >= MAX_CLAIMS_PER_AGENT:
                return
            self._per_agent[agent_id] += 1
        self._kept[key] = id_, wanted
        self._news.set()

    def _drop(self, key: tuple[str, str]) -> None:
        if self._kept.pop(key, None) is not None:
            self._per_agent[key[0]] -= 1
            if not self._per_agent[key[0]]:
                del self._per_agent[key[0]]
