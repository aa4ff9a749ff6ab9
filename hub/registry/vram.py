"""Accelerator memory: what a host measures and what backends claim. Pure.

A backend's figure for a model is its own estimate, and many backends have none. So the
free memory comes from the measurement alone or is unknown: the hub never promises that a
model fits because of an estimate (docs/backends.md).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from hub.registry.history.versioned import Versioned
from hub.registry.same_server import server_id
from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED, STATUS_HEALTHY, Endpoint
from llmhub.v1.resources_pb2 import HostResources, VramAccount


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim for loaded models, and the number of models without a figure."""

    claimed_bytes: int = 0
    untold_models: int = 0


NO_CLAIM = Claim()


def claim_of(endpoint: Endpoint) -> Claim:
    """The claim of an endpoint; nothing while neither the hub nor a sidecar reaches it.

    A stopped server's claim is no longer true. A hanging server's memory is still part of
    the measurement.
    """
    if endpoint.status != STATUS_HEALTHY and not endpoint.sidecar_view.reachable:
        return NO_CLAIM
    claimed = untold = 0
    for model in endpoint.models:
        if model.state != MODEL_STATE_LOADED:
            continue
        if model.HasField("vram_bytes"):
            claimed += model.vram_bytes
        else:
            untold += 1
    return Claim(claimed, untold) if claimed or untold else NO_CLAIM


def add_up(claims: Iterable[Claim]) -> Claim:
    """The claims of all endpoints of one host."""
    claimed = untold = 0
    for claim in claims:
        claimed += claim.claimed_bytes
        untold += claim.untold_models
    return Claim(claimed, untold)


def account(agent_id: str, claim: Claim, host: HostResources | None) -> VramAccount:
    """Both figures of one host's memory; a figure that the host does not report is absent."""
    made = VramAccount(
        agent_id=agent_id, claimed_bytes=claim.claimed_bytes, untold_models=claim.untold_models
    )
    if host is None:
        return made
    if host.HasField("vram_total_bytes"):
        made.total_bytes = host.vram_total_bytes
    if host.HasField("vram_used_bytes"):
        used = host.vram_used_bytes
        made.measured_bytes = used
        made.unattributed_bytes = max(0, used - claim.claimed_bytes)
        if host.HasField("vram_total_bytes"):
            taken = max(used, claim.claimed_bytes)
            made.free_bytes = max(0, host.vram_total_bytes - taken)
    return made


VramRecord = Versioned[VramAccount]


class HostReport(Protocol):
    """A host's last report, as long as there is no newer one."""

    revision: int

    @property
    def message(self) -> HostResources:
        """The reported resources."""
        ...


class VramLedger:
    """The claims of all endpoints by agent, and each host's account, made on request."""

    def __init__(self) -> None:
        # Each claim with its server, because a server with two addresses claims its memory
        # only once.
        self._claims: dict[str, dict[str, tuple[str, Claim]]] = {}
        # An account is valid while the report and the claim are unchanged.
        self._accounts: dict[str, tuple[HostReport | None, VramRecord]] = {}

    def agents(self) -> Iterator[str]:
        """The agents whose hosts have claims."""
        return iter(self._claims)

    def claim(self, agent_id: str) -> Claim:
        """The sum of the claims on a host."""
        by_server: dict[str, Claim] = {}
        for server, claim in self._claims.get(agent_id, {}).values():
            known = by_server.get(server, claim)
            by_server[server] = max(known, claim, key=attrgetter("claimed_bytes", "untold_models"))
        return add_up(by_server.values())

    def change(self, before: Endpoint | None, after: Endpoint | None) -> list[str]:
        """Updates the claims after an endpoint was added, changed or removed.

        Returns the agents of the hosts whose claims have changed.
        """
        affected = []
        old = before.agent_id if before is not None else ""
        new = after.agent_id if after is not None else ""
        if before is not None and old and old != new:
            affected += self._set(old, before.id, "", NO_CLAIM)
        if after is not None and new:
            affected += self._set(new, after.id, server_id(after), claim_of(after))
        return affected

    def account(self, agent_id: str, host: HostReport | None) -> VramRecord:
        """The account of a host, given its last report."""
        kept = self._accounts.get(agent_id)
        if kept is not None and kept[0] is host:
            return kept[1]
        claim = self.claim(agent_id)
        message = account(agent_id, claim, host.message if host is not None else None)
        record = Versioned(message, host.revision if host is not None else 0)
        if host is not None or claim != NO_CLAIM:
            # No event would ever remove an account without a report and a claim.
            self._accounts[agent_id] = (host, record)
        return record

    def drop(self, agent_id: str) -> None:
        """Forgets the account of an agent whose last report has expired."""
        self._accounts.pop(agent_id, None)

    def _set(self, agent_id: str, id_: str, server: str, claim: Claim) -> list[str]:
        claims = self._claims.get(agent_id, {})
        made = (server, claim) if claim != NO_CLAIM else None
        if claims.get(id_) == made:
            return []
        self._accounts.pop(agent_id, None)
        if made is None:
            del claims[id_]
            if not claims:
                del self._claims[agent_id]
        else:
            self._claims.setdefault(agent_id, {})[id_] = made
        return [agent_id]
