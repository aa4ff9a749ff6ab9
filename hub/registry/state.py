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
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from hub.registry.health import status
from hub.registry.health.judgement import Health, HealthSettings
from hub.registry.history.latest_log import FOREVER_MS, LatestLog
from hub.registry.history.ring import Ring
from hub.registry.history.versioned import Versioned
from hub.registry.host_report import ResourcesRecord
from hub.registry.model_index import ModelIndex
from hub.registry.observation import Observation
from hub.registry.unloads import Unloads, unload
from hub.registry.vram import NO_CLAIM, Claim, VramLedger, VramRecord
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    STATUS_HEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
)
from llmhub.v1.frame_pb2 import ReportEndpointRequest, ReportResourcesRequest
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
    greater than 0 and than every revision of an earlier one. The ring keeps the
    last `ring_capacity` changes, as far as their endpoints take `ring_bytes` of memory:
    one that shows other models at every probe shall not fill it.

    `endpoints_revision` is the revision of the last change of any endpoint.
    Reports of resources, which come all the time, leave it alone: so listings
    can be kept for as long as it stands. `event_revision` leaves out the
    bookkeeping of checks too, and counts the aliases.
    """

    def __init__(
        self,
        *,
        first_revision: int,
        ring_capacity: int = 65_536,
        ring_bytes: int = 64 * 1024 * 1024,
        resources_ttl_ms: int = 90_000,
        health: HealthSettings = HealthSettings(),  # noqa: B008 - it is frozen
    ) -> None:
        self.first_revision = first_revision
        self.revision = first_revision
        self.endpoints_revision = first_revision
        self.ring: Ring[EndpointEvent] = Ring(ring_capacity, first_revision, max_bytes=ring_bytes)
        self.resources: LatestLog[ResourcesRecord] = LatestLog(
            ttl_ms=resources_ttl_ms, tombstones=ring_capacity, floor=first_revision
        )
        self.aliases: LatestLog[AliasRecord] = LatestLog(
            ttl_ms=FOREVER_MS, tombstones=ring_capacity, floor=first_revision
        )
        # What is claimed of a host's accelerator memory, by agent: what its endpoints
        # load and unload changes what the others there can count on.
        self.claims: LatestLog[Claim] = LatestLog(
            ttl_ms=FOREVER_MS, tombstones=ring_capacity, floor=first_revision
        )
        self.event_revision = first_revision
        self.health = Health(health)
        self._reports_ttl_ms = resources_ttl_ms
        self._vram = VramLedger()
        self._unloads = Unloads()
        # When each sidecar's view of an endpoint ends, the next one first.
        self._views: OrderedDict[str, int] = OrderedDict()
        # Until when each agent that has reported an endpoint counts as there, likewise.
        self._reporters: OrderedDict[str, int] = OrderedDict()
        self._checked: OrderedDict[str, int] = OrderedDict()
        self._endpoints: dict[str, EndpointRecord] = {}
        self._ids: list[str] = []
        self.model_index = ModelIndex()
        self._by_agent: dict[str, set[str]] = {}
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
        return [self._endpoints[id_] for id_ in self.model_index.ids(model)]

    def of_agent(self, agent_id: str) -> Collection[str]:
        """The ids of the endpoints whose host an agent reports of, in no order."""
        return self._by_agent.get(agent_id, ())

    def models(self) -> list[str]:
        """The names of all models of the fleet, sorted."""
        return list(self.model_index.names())

    def fleet_models(self) -> dict[str, int]:
        """The number of endpoints that have a model, by the model's name."""
        return self.model_index.counts()

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

    def vram(self, agent_id: str) -> VramRecord:
        """What is measured and what is claimed of a host's accelerator memory."""
        return self._vram.account(agent_id, self.resources.get(agent_id))

    def vram_accounts(self) -> list[VramRecord]:
        """The accounts of all hosts that have reported or have a model loaded, by agent."""
        agents = {agent_id for agent_id, _ in self.resources.items()}
        return [self.vram(agent_id) for agent_id in sorted(agents.union(self._vram.agents()))]

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
        changed, or another backend was registered) is the observed forgotten; and
        of one that is disabled nobody knows any more whether it is healthy.
        """
        before = self._endpoints.get(registered.id)
        after = Endpoint()
        after.CopyFrom(registered)
        if before is None:
            after.status = STATUS_UNKNOWN
        else:
            if not status.carry_over(before.message, after):
                self._forget_observed(registered.id)
            if after.admin_state == ADMIN_STATE_DISABLED:
                self.health.pause(registered.id)
        if after.admin_state == ADMIN_STATE_DISABLED:
            status.pause(after)
        status.register(after)
        self._set(registered.id, before, after, event=True)

    def remove_endpoint(self, endpoint_id: str) -> None:
        """Forgets an endpoint; nothing happens where it is not there."""
        before = self._endpoints.get(endpoint_id)
        if before is not None:
            self._forget_observed(endpoint_id)
            self._set(endpoint_id, before, None, event=True)

    # Observed facts, from probes and reports.

    def observe(self, endpoint_id: str, seen: Observation) -> None:
        """Takes in what a probe saw. One removed or disabled meanwhile stays so."""
        before = self._endpoints.get(endpoint_id)
        if before is None or before.message.admin_state == ADMIN_STATE_DISABLED:
            return
        after = Endpoint()
        after.CopyFrom(before.message)
        event = self.health.observe(after, seen, self._healthy)
        self._set(endpoint_id, before, after, event=event)
        if not seen.error:
            self._let_fall(seen.checked_at_ms)

    def report_view(
        self, endpoint_id: str, agent_id: str, report: ReportEndpointRequest, now_ms: int
    ) -> bool:
        """Takes in what a sidecar sees of an endpoint, received now.

        Only the endpoint's own sidecar is believed; another's word changes nothing.
        Returns whether it reports anything else than the last time.
        """
        before = self._endpoints.get(endpoint_id)
        if before is None or before.message.agent_id != agent_id:
            return False
        is_news = self.health.is_news(endpoint_id, report)
        ends_ms = now_ms + self._reports_ttl_ms
        after = Endpoint()
        after.CopyFrom(before.message)
        event = self.health.see(after, agent_id, report, ends_ms, now_ms)
        self._views[endpoint_id] = ends_ms
        self._views.move_to_end(endpoint_id)
        self._set(endpoint_id, before, after, event=event)
        return is_news

    def report_resources(self, agent_id: str, report: ReportResourcesRequest, now_ms: int) -> None:
        """Takes in a host's report, received now. Nobody may change `report` after."""
        self.revision = revision = self.revision + 1
        record = ResourcesRecord(agent_id, report, revision, now_ms)
        self.resources.put(agent_id, record, revision, now_ms)
        self._notify()

    def note_report(self, agent_id: str, now_ms: int) -> None:
        """Remembers that an agent has reported an endpoint, for as long as reports live."""
        self._reporters[agent_id] = now_ms + self._reports_ttl_ms
        self._reporters.move_to_end(agent_id)
        while next(iter(self._reporters.values())) <= now_ms:
            self._reporters.popitem(last=False)

    def has_reported(self, agent_id: str, now_ms: int) -> bool:
        """Whether an agent has reported lately, an endpoint or its host's resources."""
        return self._reporters.get(agent_id, 0) > now_ms or self.resources.get(agent_id) is not None

    def expire(self, now_ms: int) -> None:
        """Drops the reports whose time is over, and unloads the models whose time is."""
        expired = False
        while (agent_id := self.resources.pop_expired(now_ms)) is not None:
            self._vram.drop(agent_id)
            self.resources.bury(agent_id, self._next_revision())
            expired = True
        if expired:
            self._notify()
        while self._views:
            endpoint_id, ends_ms = next(iter(self._views.items()))
            if ends_ms > now_ms:
                break
            del self._views[endpoint_id]
            before = self._endpoints[endpoint_id]
            after = Endpoint()
            after.CopyFrom(before.message)
            status.lose_sight(after)
            self.health.forget_report(endpoint_id)
            self._set(endpoint_id, before, after, event=True)
        while (id_ := self._unloads.pop_due(now_ms)) is not None:
            before = self._endpoints[id_]
            after = Endpoint()
            after.CopyFrom(before.message)
            if unload(after, now_ms):
                self.health.forget_models(id_)
                self._set(id_, before, after, event=True)

    def next_deadline_ms(self) -> int | None:
        """When the time of the next report or loaded model is over, or None."""
        deadlines = [
            self.resources.next_deadline_ms(),
            next(iter(self._views.values()), None),
            self._unloads.next_ms(),
        ]
        return min((each for each in deadlines if each is not None), default=None)

    def _let_fall(self, now_ms: int) -> None:
        while (id_ := self.health.next_to_fall(self._healthy, now_ms)) is not None:
            before = self._endpoints[id_]
            after = Endpoint()
            after.CopyFrom(before.message)
            self.health.fall(after, now_ms)
            self._set(id_, before, after, event=True)

    def _forget_observed(self, id_: str) -> None:
        self.health.forget(id_)
        self._views.pop(id_, None)

    # The one place where the state changes.

    def _next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def _set(
        self, id_: str, before: EndpointRecord | None, after: Endpoint | None, *, event: bool
    ) -> None:
        revision = self.endpoints_revision = self._next_revision()
        record = Versioned(after, revision) if after is not None else None
        if before is None:
            insort(self._ids, id_)
        if record is None:
            del self._endpoints[id_]
            del self._ids[bisect_left(self._ids, id_)]
        else:
            self._endpoints[id_] = record
        if event:
            self._index(id_, before, record)
            self.event_revision = revision
            size = _memory_of(record)
            # What an event made is counted with it; a check made this alone.
            if self._checked.pop(id_, None) is not None:
                size += _memory_of(before)
            self.ring.append(revision, EndpointEvent(revision, id_, before, record), size)
        else:
            self._checked[id_] = revision
            self._checked.move_to_end(id_)
        self._notify()

    def _index(self, id_: str, before: EndpointRecord | None, after: EndpointRecord | None) -> None:
        was_healthy = before is not None and before.message.status == STATUS_HEALTHY
        is_healthy = after is not None and after.message.status == STATUS_HEALTHY
        self._healthy += is_healthy - was_healthy
        for agent_id in self._vram.change(
            before.message if before is not None else None,
            after.message if after is not None else None,
        ):
            claim = self._vram.claim(agent_id)
            if claim == NO_CLAIM:
                self.claims.remove(agent_id, self.revision)
            else:
                self.claims.put(agent_id, claim, self.revision, 0)
        self._unloads.change(id_, after.message if after is not None else None)
        self.model_index.change(
            before.message if before is not None else None,
            after.message if after is not None else None,
        )
        old = {before.message.agent_id} - {""} if before is not None else set()
        new = {after.message.agent_id} - {""} if after is not None else set()
        _reindex(self._by_agent, id_, old, new)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


def _memory_of(record: EndpointRecord | None) -> int:
    """About how many bytes a message takes in memory, as measured with 0 to 20 models."""
    return 1200 + 4 * record.message.ByteSize() if record is not None else 0


def _reindex(index: dict[str, set[str]], id_: str, old: set[str], new: set[str]) -> None:
    """Moves an id in an index from the keys it had to those it has."""
    for key in old - new:
        index[key].discard(id_)
        if not index[key]:
            del index[key]
    for key in new - old:
        index.setdefault(key, set()).add(id_)
