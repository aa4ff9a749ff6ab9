"""The endpoints of each host, and their claims on its accelerator memory. Pure.

A host is identified by its agent.
"""

from collections.abc import Collection, Iterator

from hub.registry.history.latest_log import FOREVER_MS, LatestLog
from hub.registry.vram import NO_CLAIM, Claim, HostReport, VramLedger, VramRecord
from llmhub.v1.endpoint_pb2 import Endpoint


class HostIndex:
    """Hosts by agent_id.

    `claims` holds the claim on each host's memory, at the revision of its last change.
    When one endpoint loads a model, its neighbours on the host have less memory left.
    """

    def __init__(self, *, tombstones: int, floor: int) -> None:
        self.claims: LatestLog[Claim] = LatestLog(
            ttl_ms=FOREVER_MS, tombstones=tombstones, floor=floor
        )
        self._ledger = VramLedger()
        self._ids: dict[str, set[str]] = {}

    def ids(self, agent_id: str) -> Collection[str]:
        """The endpoints on a host, in no order. Only valid until the next change."""
        return self._ids.get(agent_id, ())

    def claimants(self) -> Iterator[str]:
        """The agents whose hosts have claims."""
        return self._ledger.agents()

    def account(self, agent_id: str, report: HostReport | None) -> VramRecord:
        """The account of a host's memory, given its last report."""
        return self._ledger.account(agent_id, report)

    def drop_report(self, agent_id: str) -> None:
        """Forgets the last report of a host, which has expired."""
        self._ledger.drop(agent_id)

    def change(self, before: Endpoint | None, after: Endpoint | None, revision: int) -> None:
        """Records that an endpoint changed from `before` to `after`; None means absent."""
        for agent_id in self._ledger.change(before, after):
            claim = self._ledger.claim(agent_id)
            if claim == NO_CLAIM:
                self.claims.remove(agent_id, revision)
            else:
                self.claims.put(agent_id, claim, revision, 0)
        old = before.agent_id if before is not None else ""
        new = after.agent_id if after is not None else ""
        if old == new:
            return
        if before is not None and old:
            left = self._ids[old]
            left.discard(before.id)
            if not left:
                del self._ids[old]
        if after is not None and new:
            self._ids.setdefault(new, set()).add(after.id)
