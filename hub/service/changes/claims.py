"""Claims of sidecars on endpoints: registered at once, or when the owner has left.

The hub refuses a sidecar that claims another sidecar's endpoint while the owner is
present. Many sidecars claim an endpoint only once, when they connect. So the hub keeps a
refused claim and grants it when the owner has left, if the claimant is still present.
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
"""How many refused claims are kept in total. Further claims are refused and not kept."""

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
        self._has_claims = asyncio.Event()
        self._granting: asyncio.Task[None] | None = None

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

        Raises what that raises; on EndpointOwned it has kept the claim.
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
        """Begins to grant claims as the owners leave."""
        self._granting = asyncio.create_task(self._run(), name="claims")
        log_unexpected_end(self._granting, on_failure)

    async def stop(self) -> None:
        """Stops granting claims. Idempotent."""
        if self._granting is not None:
            self._granting.cancel()
            await asyncio.wait([self._granting])
            self._granting = None

    async def _run(self) -> None:
        while True:
            await self._has_claims.wait()
            await self.settle(self._clock.now_ms())
            if not self._kept:
                self._has_claims.clear()
                continue
            await asyncio.sleep(_LOOK_EVERY_S)

    async def settle(self, now_ms: int) -> None:
        """Grants each claim whose owner has left; drops the claims of agents that have left."""
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
                await self._grant(key, id_, wanted, before, now_ms)

    async def _grant(
        self, key: tuple[str, str], id_: str, wanted: Registration, before: str, now_ms: int
    ) -> None:
        try:
            taken = await self._registrar.register(id_, wanted, now_ms)
        except (EndpointOwned, EtagMismatch, StoreUnavailable):
            # The claim is kept: another agent was faster, or the store will recover.
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
        self._has_claims.set()

    def _drop(self, key: tuple[str, str]) -> None:
        if self._kept.pop(key, None) is not None:
            self._per_agent[key[0]] -= 1
            if not self._per_agent[key[0]]:
                del self._per_agent[key[0]]
