"""Accelerator memory: what a host measures beside what backends claim. Pure.

A backend's figure for a model is its own estimate, and many have none. So what is
left is told by the measurement alone, or not at all: a fit is never promised on a
guess (docs/backends.md).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hub.registry.resources import ResourcesRecord
from hub.registry.versioned import Versioned
from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED, STATUS_HEALTHY, Endpoint
from llmhub.v1.resources_pb2 import HostResources, VramAccount


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed for loaded models, and of how many of them nobody tells."""

    claimed_bytes: int = 0
    untold_models: int = 0


NO_CLAIM = Claim()


def claim_of(endpoint: Endpoint) -> Claim:
    """What an endpoint claims; nothing while neither hub nor sidecar reaches it.

    What a server that has gone claimed is no longer true, and one that hangs still
    has it in the measurement.
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
    """Both sides of one host's memory; what the host does not tell is absent."""
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


class VramLedger:
    """The claims of all endpoints by agent, and each host's account when it is asked for."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[str, Claim]] = {}
        # An account lasts while both sides of it are as they were.
        self._accounts: dict[str, tuple[ResourcesRecord | None, Claim, VramRecord]] = {}

    def agents(self) -> Iterator[str]:
        """The agents on whose hosts something is claimed."""
        return iter(self._claims)

    def change(self, before: Endpoint | None, after: Endpoint | None) -> None:
        """Takes notice that an endpoint has come, changed or gone."""
        if before is not None and before.agent_id:
            claims = self._claims.get(before.agent_id, {})
            if claims.pop(before.id, None) is not None and not claims:
                del self._claims[before.agent_id]
        if after is not None and after.agent_id:
            claim = claim_of(after)
            if claim is not NO_CLAIM:
                self._claims.setdefault(after.agent_id, {})[after.id] = claim

    def account(self, agent_id: str, host: ResourcesRecord | None) -> VramRecord:
        """The account of a host whose last report is given."""
        claim = add_up(self._claims.get(agent_id, {}).values())
        kept = self._accounts.get(agent_id)
        if kept is not None and kept[0] is host and kept[1] == claim:
            return kept[2]
        message = account(agent_id, claim, host.message if host is not None else None)
        record = Versioned(message, host.revision if host is not None else 0)
        self._accounts[agent_id] = (host, claim, record)
        return record

    def drop(self, agent_id: str) -> None:
        """Takes notice that an agent's last report is over."""
        self._accounts.pop(agent_id, None)
