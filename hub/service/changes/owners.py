"""Which sidecar an endpoint belongs to, and whether another one may take it over.

An agent is present while it is connected, and for the lifetime of a report after its
last report. A sidecar whose connection ends has left: its earlier reports count only for
`GRACE_MS`, which is long enough to reconnect.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from hub.base.timestamps import to_ms
from hub.contract.errors import EndpointOwned
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import SOURCE_AUTO, Endpoint

GRACE_MS: Final = 5_000
"""How long a sidecar that has disconnected keeps its endpoints."""

# Beyond this, the agent that left first counts only by its reports.
_MAX_LEFT: Final = 10_000


class Owners:
    """Decides who owns an endpoint now."""

    def __init__(
        self,
        registry: Registry,
        is_connected: Callable[[str], bool],
        presumed_until_ms: int = 0,
    ) -> None:
        """`is_connected` says whether a sidecar of that agent_id is connected.

        Until `presumed_until_ms` every agent that has an endpoint counts as present unless
        it has left, because a hub that has just started has not heard from all agents yet.
        """
        self._registry = registry
        self._is_connected = is_connected
        self._presumed_until_ms = presumed_until_ms
        self._left_ms: OrderedDict[str, int] = OrderedDict()
        # When each agent last reported an endpoint, the oldest report first.
        self._reported_ms: OrderedDict[str, int] = OrderedDict()

    def note_presence(self, agent_id: str, now_ms: int) -> None:
        """Notes that an agent has connected or disconnected."""
        self._left_ms.pop(agent_id, None)
        if not self._is_connected(agent_id):
            self._left_ms[agent_id] = now_ms
            if len(self._left_ms) > _MAX_LEFT:
                self._left_ms.popitem(last=False)

    def note_report(self, agent_id: str, now_ms: int) -> None:
        """Notes that an agent reports an endpoint, possibly in a single call."""
        self._reported_ms[agent_id] = now_ms
        self._reported_ms.move_to_end(agent_id)
        oldest_ms = now_ms - self._registry.reports_ttl_ms
        while next(iter(self._reported_ms.values())) <= oldest_ms:
            self._reported_ms.popitem(last=False)

    def is_present(self, agent_id: str, now_ms: int) -> bool:
        """Whether an agent is connected, has just left, or has reported since."""
        if self._is_connected(agent_id):
            return True
        left_ms = self._left_ms.get(agent_id)
        if left_ms is not None and now_ms < left_ms + GRACE_MS:
            return True
        return self._has_reported(agent_id, now_ms, since_ms=left_ms or 0)

    def owner(self, endpoint: Endpoint, by: str, now_ms: int) -> str:
        """The other agent that owns the endpoint, so that `by` may not report it, or "".

        An admin may have chosen the agent of an endpoint that an admin or the
        configuration registered, so no sidecar replaces it.
        """
        owner = endpoint.agent_id
        if owner in ("", by):
            return ""
        is_kept = (
            endpoint.source != SOURCE_AUTO
            or (now_ms < self._presumed_until_ms and owner not in self._left_ms)
            or self.is_present(owner, now_ms)
            or self._is_seen(endpoint)
        )
        return owner if is_kept else ""

    def require(self, endpoint: Endpoint, by: str, now_ms: int) -> None:
        """Raises EndpointOwned, which names the owner, if another agent owns the endpoint."""
        owner = self.owner(endpoint, by, now_ms)
        if not owner:
            return
        why = (
            f"agent {owner} is present and reports {endpoint.id}"
            if endpoint.source == SOURCE_AUTO
            else f"{endpoint.id} is registered with agent {owner}; an admin can change its agent_id"
        )
        raise EndpointOwned(why, metadata={"id": endpoint.id, "owner": owner})

    def _has_reported(self, agent_id: str, now_ms: int, *, since_ms: int) -> bool:
        """Whether it has reported an endpoint or its host's resources, after `since_ms`."""
        oldest_ms = max(since_ms, now_ms - self._registry.reports_ttl_ms)
        if self._reported_ms.get(agent_id, 0) > oldest_ms:
            return True
        report = self._registry.resources.get(agent_id)
        return report is not None and report.received_ms > since_ms

    def _is_seen(self, endpoint: Endpoint) -> bool:
        """Whether its agent has reported its state since it left."""
        view, owner = endpoint.sidecar_view, endpoint.agent_id
        return (
            endpoint.HasField("sidecar_view")
            and view.agent_id == owner
            and to_ms(view.reported_at) > self._left_ms.get(owner, 0)
        )
