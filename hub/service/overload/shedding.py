"""What each level of overload refuses, and whom: never an admin, a health check or a revocation.

- connections: new WebSockets, anonymous requests (reflection too), streams that have yet to
  identify
- snapshots: readers' answers that contain the whole fleet, if it is a large one
- reports: every second resource report of each sidecar, which is dropped
- watches: readers' new watches; open ones get changes in larger portions
- reads: readers' other calls
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from hub.contract.errors import Overloaded
from hub.contract.rpcs import Rpc
from hub.service.metrics.refusals import Refusals
from hub.service.operations import Operation
from hub.service.overload.pressure import Level, Load, Pressure
from llmhub.v1.resources_pb2 import ROLE_READER

log = structlog.get_logger()

_RETRY_AFTER_MS: Final = 5_000

LARGE_FLEET: Final = 100
"""From so many endpoints on, an answer that contains all of them is refused before reads are."""

_SNAPSHOTS: Final = {
    *("GetSnapshot", "GetSnapshotJson", "ListEndpointsJson"),
    *("ListPrometheusTargets", "ListOpenAiModels", "FollowDashboard"),
}
# Metrics show the overload, a release makes room, and a person who signs in may be an admin.
_NEVER: Final = {"GetMetrics", "ReleaseSelection", "OpenBrowserSession"}


def refused_at(called: Rpc | Operation) -> Level | None:
    """The level from which on callers that are no admins may not call this; None for never."""
    if called.role != ROLE_READER or called.name in _NEVER:
        return None
    if called.name in _SNAPSHOTS:
        return Level.SNAPSHOTS
    return Level.WATCHES if called.name == "WatchRegistry" else Level.READS


class Overload:
    """The level of one hub, and what it has shed."""

    def __init__(self, pressure: Pressure | None = None, refusals: Refusals | None = None) -> None:
        """Without a `pressure`, the hub is never overloaded."""
        self.pressure = pressure or Pressure()
        self._refusals = refusals or Refusals()
        self._listeners: list[Callable[[Level], None]] = []
        self._fleet_size: Callable[[], int] = lambda: LARGE_FLEET
        # Agents whose last report was dropped: the next one counts. At most all that report.
        self._dropped: set[str] = set()
        self.level = Level.CALM
        self.shed: Counter[Level] = Counter(dict.fromkeys(list(Level)[1:], 0))

    def on_change(self, listener: Callable[[Level], None]) -> None:
        """Calls `listener` with each new level."""
        self._listeners.append(listener)

    def measure(self, fleet_size: Callable[[], int]) -> None:
        """Asks `fleet_size` for the number of endpoints; without it, a fleet counts as large."""
        self._fleet_size = fleet_size

    def update(self, load: Load, now_ms: int) -> None:
        """Takes a reading."""
        level = self.pressure.update(load, now_ms)
        if level is self.level:
            return
        shares = {name: round(share, 2) for name, share in self.pressure.by_resource.items()}
        if level > self.level:
            log.warning("overloaded", refuses=level.word, cause=self.pressure.cause, **shares)
        else:
            log.info("less overloaded", refuses=level.word, **shares)
        self.level = level
        if level < Level.REPORTS:
            self._dropped.clear()
        for listener in self._listeners:
            listener(level)

    def require(self, level: Level | None, transport: str, remote_address: str = "") -> None:
        """Raises Overloaded if the hub refuses now what it refuses from that level on."""
        if level is Level.SNAPSHOTS and self._fleet_size() < LARGE_FLEET:
            level = Level.READS
        if level is not None and self.level >= level:
            self.shed[level] += 1
            self._refusals.note(transport, f"overload_{level.word}", remote_address)
            raise Overloaded(
                f"the hub is overloaded ({self.pressure.cause})", retry_after_ms=_RETRY_AFTER_MS
            )

    def require_connection(self, transport: str, remote_address: str = "") -> None:
        """Raises Overloaded if the hub takes no new connections of unknown callers now."""
        self.require(Level.CONNECTIONS, transport, remote_address)

    def drops_report(self, agent_id: str) -> bool:
        """Whether to drop this resource report of the agent: every second one."""
        if self.level < Level.REPORTS:
            return False
        if agent_id in self._dropped:
            self._dropped.discard(agent_id)
            return False
        self._dropped.add(agent_id)
        self.shed[Level.REPORTS] += 1
        return True

    def why(self) -> str | None:
        """What the hub refuses and why, in words for people; None if it is not overloaded."""
        if not self.level:
            return None
        names = ", ".join(level.word for level in Level if Level.CALM < level <= self.level)
        return f"overloaded ({self.pressure.cause}); reduces {names}"
