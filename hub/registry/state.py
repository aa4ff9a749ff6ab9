"""The registry's state: every endpoint and every host's resources, at a revision.

Pure: state + command + now → state + events. It is filled from the store's
change feed (durable facts) and from probes and reports (observed facts), and
it is the only thing that answers questions about the fleet.

Every change takes the next revision. Changes that watchers care about also go
into the ring; the bookkeeping of checks and the resource reports, which change
all the time, do not.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hub.registry import liveness
from hub.registry.latest import FOREVER_MS, LatestLog
from hub.registry.observation import Observation
from hub.registry.resources import ResourcesRecord
from hub.registry.ring import Ring
from hub.registry.versioned import Versioned
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, STATUS_HEALTHY, STATUS_UNKNOWN, Endpoint
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.model_alias_pb2 import ModelAlias

EndpointRecord = Versioned[Endpoint]
AliasRecord = Versioned[ModelAlias]


@dataclass(frozen=True, slots=True)
class EndpointEvent:
    """One change of an endpoint; `before` or `after` is None at its birth or death."""

    revision: int
    id: str
    before: EndpointRecord | None
    after: EndpointRecord | None


class Registry:
    """All that the hub knows of the fleet.

    `first_revision` is where this incarnation starts to count; it must be
    greater than 0 and than every revision of an earlier one. `event_revision` is
    that of the last change that is no resource report and no bookkeeping of a
    check.
    """

    def __init__(
        self,
        *,
        first_revision: int,
        ring_capacity: int = 65_536,
        resources_ttl_ms: int = 90_000,
        unhealthy_after: int = 2,
    ) -> None:
        self.first_revision = first_revision
        self.revision = first_revision
        self.ring: Ring[EndpointEvent] = Ring(ring_capacity, first_revision)
        self.resources: LatestLog[ResourcesRecord] = LatestLog(
            ttl_ms=resources_ttl_ms, tombstones=ring_capacity, floor=first_revision
        )
        self.aliases: LatestLog[AliasRecord] = LatestLog(
            ttl_ms=FOREVER_MS, tombstones=ring_capacity, floor=first_revision
        )
        self.event_revision = first_revision
        self._unhealthy_after = unhealthy_after
        self._checked: OrderedDict[str, int] = OrderedDict()
        self._endpoints: dict[str, EndpointRecord] = {}
        self._ids: list[str] = []
        self._by_model: dict[str, set[str]] = {}
        self._healthy = 0
        self._listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._endpoints)

    @property
    def healthy_count(self) -> int:
        """The number of healthy endpoints."""
        return self._healthy

    def on_change(self, listener: Callable[[], None]) -> None:
        """Has `listener` called after every change. It must be quick and not raise."""
        self._listeners.append(listener)

    # Questions.

    def get(self, endpoint_id: str) -> EndpointRecord | None:
        """The endpoint of that id, or None."""
        return self._endpoints.get(endpoint_id)

    def endpoints(self, after_id: str = "") -> Iterator[EndpointRecord]:
        """The endpoints whose id sorts after `after_id`, sorted by id.

        Only valid until the next change.
        """
        start = bisect_right(self._ids, after_id)
        return (self._endpoints[self._ids[i]] for i in range(start, len(self._ids)))

    def with_model(self, model: str) -> list[EndpointRecord]:
        """The endpoints that have a model of that name, sorted by id."""
        return [self._endpoints[id_] for id_ in sorted(self._by_model.get(model, ()))]

    def models(self) -> list[str]:
        """The names of all models of the fleet, sorted."""
        return sorted(self._by_model)

    def fleet_models(self) -> dict[str, int]:
        """The number of endpoints that have a model, by the model's name."""
        return {name: len(ids) for name, ids in sorted(self._by_model.items())}

    def checked_after(self, revision: int) -> list[EndpointRecord]:
        """The endpoints of which a check after `revision` changed the bookkeeping alone.

        Each as it stands, oldest check first. One that has an event in the ring
        since its check is not among them: the event carries the same and more.
        """
        checked = []
        for id_ in reversed(self._checked):
            if self._checked[id_] <= revision:
                break
            checked.append(self._endpoints[id_])
        checked.reverse()
        return checked

    # Durable facts, from the store's feed.

    def put_alias(self, alias: ModelAlias) -> None:
        """Takes over a model alias. Nobody may change `alias` after."""
        revision = self.event_revision = self._next_revision()
        self.aliases.put(alias.name, Versioned(alias, revision), revision, 0)
        self._notify()

    def remove_alias(self, name: str) -> None:
        """Forgets a model alias; nothing happens where it is not there."""
        if self.aliases.get(name) is None:
            return
        self.event_revision = self._next_revision()
        self.aliases.remove(name, self.event_revision)
        self._notify()

    def put_endpoint(self, registered: Endpoint) -> None:
        """Takes over what was registered; what was observed of the endpoint stays.

        Only where the same id now means another server (scheme or base path
        changed, or another backend was registered) is the observed forgotten.
        """
        before = self._endpoints.get(registered.id)
        after = Endpoint()
        after.CopyFrom(registered)
        if before is None:
            after.status = STATUS_UNKNOWN
        else:
            _carry_over(before.message, after)
        self._set(registered.id, before, after, event=True)

    def remove_endpoint(self, endpoint_id: str) -> None:
        """Forgets an endpoint; nothing happens where it is not there."""
        before = self._endpoints.get(endpoint_id)
        if before is not None:
            self._set(endpoint_id, before, None, event=True)

    # Observed facts, from probes and reports.

    def observe(self, endpoint_id: str, seen: Observation) -> None:
        """Takes in what a probe saw. An endpoint removed meanwhile stays removed."""
        before = self._endpoints.get(endpoint_id)
        if before is None:
            return
        after = Endpoint()
        after.CopyFrom(before.message)
        event = liveness.observe(after, seen, unhealthy_after=self._unhealthy_after)
        self._set(endpoint_id, before, after, event=event)

    def report_resources(self, agent_id: str, report: ReportResourcesRequest, now_ms: int) -> None:
        """Takes in a host's report, received now. Nobody may change `report` after."""
        self.revision = revision = self.revision + 1
        record = ResourcesRecord(agent_id, report, revision, now_ms)
        self.resources.put(agent_id, record, revision, now_ms)
        self._notify()

    def expire(self, now_ms: int) -> None:
        """Drops the reports whose time is over."""
        expired = False
        while (agent_id := self.resources.pop_expired(now_ms)) is not None:
            self.resources.bury(agent_id, self._next_revision())
            expired = True
        if expired:
            self._notify()

    # The one place where the state changes.

    def _next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def _set(
        self, id_: str, before: EndpointRecord | None, after: Endpoint | None, *, event: bool
    ) -> None:
        revision = self._next_revision()
        record = Versioned(after, revision) if after is not None else None
        if before is None:
            insort(self._ids, id_)
        if record is None:
            del self._endpoints[id_]
            del self._ids[bisect_left(self._ids, id_)]
        else:
            self._endpoints[id_] = record
        self._index(id_, before, record)
        if event:
            self._checked.pop(id_, None)
            self.event_revision = revision
            self.ring.append(revision, EndpointEvent(revision, id_, before, record))
        else:
            self._checked[id_] = revision
            self._checked.move_to_end(id_)
        self._notify()

    def _index(self, id_: str, before: EndpointRecord | None, after: EndpointRecord | None) -> None:
        was_healthy = before is not None and before.message.status == STATUS_HEALTHY
        is_healthy = after is not None and after.message.status == STATUS_HEALTHY
        self._healthy += is_healthy - was_healthy
        old = {model.name for model in before.message.models} if before is not None else set()
        new = {model.name for model in after.message.models} if after is not None else set()
        for name in old - new:
            self._by_model[name].discard(id_)
            if not self._by_model[name]:
                del self._by_model[name]
        for name in new - old:
            self._by_model.setdefault(name, set()).add(id_)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


def _carry_over(before: Endpoint, after: Endpoint) -> None:
    """Copies what was observed of `before` to `after`, where it still is true."""
    backend_stays = after.backend in (BACKEND_UNSPECIFIED, before.backend)
    same_server = (before.scheme, before.base_path) == (after.scheme, after.base_path)
    observed = Endpoint(
        status=before.status,
        models=before.models,
        version=before.version,
        consecutive_failures=before.consecutive_failures,
        last_error=before.last_error,
    )
    for field in ("last_checked_at", "next_check_at", "latency", "load"):
        if before.HasField(field):
            getattr(observed, field).CopyFrom(getattr(before, field))
    if not (backend_stays and same_server):
        liveness.forget(observed)
    elif after.backend == BACKEND_UNSPECIFIED and before.backend_detected:
        observed.backend = before.backend
        observed.backend_detected = True
    after.MergeFrom(observed)
