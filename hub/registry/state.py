"""The registry's state: every endpoint and every host's resources, each at a revision.

Pure: state + command + now → state + events. The store's change feed supplies what is
registered; probes and reports supply what is observed. All questions about the fleet are
answered from here.

Every change takes the next revision. Changes that watchers care about also go into the
ring. The bookkeeping of checks and the resource reports change all the time and do not.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator

from hub.base.address import spellings
from hub.registry.following import AliasRecord, Companion, EndpointEvent, EndpointRecord
from hub.registry.footprint import memory_of
from hub.registry.health import observed_facts, status
from hub.registry.health.judgement import FleetHealth
from hub.registry.history.latest_log import FOREVER_MS, LatestLog
from hub.registry.history.ring import Ring
from hub.registry.host_index import HostIndex
from hub.registry.host_report import Report, ResourcesRecord
from hub.registry.model_index import ModelIndex
from hub.registry.observation import Observation
from hub.registry.same_server import Place, SameServers, primaries, server_id
from hub.registry.unloads import Unloads, unload
from hub.registry.vram import VramRecord
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    STATUS_HEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
)
from llmhub.v1.frame_pb2 import ReportEndpointRequest
from llmhub.v1.model_alias_pb2 import ModelAlias


class Registry:
    """Everything that the hub knows about the fleet.

    `first_revision` is where this incarnation starts to count. It must be greater than 0
    and than every revision of an earlier incarnation. The ring keeps the last
    `ring_capacity` changes, as long as their endpoints take at most `ring_bytes` of memory,
    because an endpoint could show different models at every probe.

    `endpoints_revision` is the revision of the last change of any endpoint. Resource
    reports, which arrive all the time, do not change it, so it can serve as a cache key of
    listings. `event_revision` excludes the bookkeeping of checks too, but includes aliases.
    """

    def __init__(
        self,
        *,
        first_revision: int,
        ring_capacity: int = 65_536,
        ring_bytes: int = 64 * 1024 * 1024,
        resources_ttl_ms: int = 90_000,
        health: FleetHealth | None = None,
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
        self._hosts = HostIndex(tombstones=ring_capacity, floor=first_revision)
        self.claims = self._hosts.claims
        # The endpoints whose last change was only the bookkeeping of a check, each in its
        # current state. An event after the check removes the endpoint from here, because
        # the event carries the bookkeeping as well.
        self.checks: LatestLog[EndpointRecord] = LatestLog(
            ttl_ms=FOREVER_MS, tombstones=0, floor=first_revision
        )
        self.event_revision = first_revision
        self.health = health if health is not None else FleetHealth()
        self.reports_ttl_ms = resources_ttl_ms
        self._same_servers = SameServers()
        self._unloads = Unloads()
        # When each sidecar's view of an endpoint expires, the earliest first.
        self._views: OrderedDict[str, int] = OrderedDict()
        self._endpoints: dict[str, EndpointRecord] = {}
        self._ids: list[str] = []
        self.model_index = ModelIndex()
        self._healthy = 0
        self._listeners: list[Callable[[], None]] = []
        self._companions: list[Companion] = []

    def __len__(self) -> int:
        return len(self._endpoints)

    @property
    def healthy_count(self) -> int:
        """The number of healthy endpoints."""
        return self._healthy

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every change. It must be fast and must not raise."""
        self._listeners.append(listener)

    def attach(self, companion: Companion) -> None:
        """Lets `companion` follow the registry."""
        self._companions.append(companion)

    # Questions.

    def get(self, endpoint_id: str) -> EndpointRecord | None:
        """The endpoint with that id, or None."""
        return self._endpoints.get(endpoint_id)

    def known_id(self, endpoint_id: str) -> str:
        """The id of the endpoint that `endpoint_id` names in any spelling.

        Returns `endpoint_id` in its canonical spelling if there is no such endpoint.
        """
        if endpoint_id in self._endpoints:
            return endpoint_id
        ids = spellings(endpoint_id)
        return next((each for each in ids if each in self._endpoints), ids[0])

    def endpoints(self, after_id: str = "") -> Iterator[EndpointRecord]:
        """The endpoints whose id sorts after `after_id`, sorted by id.

        Only valid until the next change.
        """
        start = bisect_right(self._ids, after_id)
        return (self._endpoints[self._ids[i]] for i in range(start, len(self._ids)))

    def with_model(self, model: str) -> list[EndpointRecord]:
        """The endpoints that have a model which the name means, sorted by id."""
        return [self._endpoints[id_] for id_ in self.model_index.ids_meant(model)]

    def of_agent(self, agent_id: str) -> Collection[str]:
        """The ids of the endpoints whose host an agent reports on, in no order."""
        return self._hosts.ids(agent_id)

    def addresses_of_server(self, endpoint_id: str) -> list[str]:
        """The ids of all endpoints that are the same server, including this one."""
        ids = self._same_servers.neighbours(endpoint_id)
        if len(ids) == 1 or endpoint_id not in self._endpoints:
            return [endpoint_id]
        server = server_id(self._endpoints[endpoint_id].message)
        return [each for each in ids if server_id(self._endpoints[each].message) == server]

    def models(self) -> list[str]:
        """The names of all models of the fleet, sorted."""
        return list(self.model_index.names())

    def fleet_models(self) -> dict[str, int]:
        """The number of endpoints that have a model, by the model's name."""
        return self.model_index.counts()

    def vram(self, agent_id: str) -> VramRecord:
        """The measured use of, and the claims on, a host's accelerator memory."""
        return self._hosts.account(agent_id, self.resources.get(agent_id))

    def vram_accounts(self) -> list[VramRecord]:
        """The accounts of all hosts that have reported or have a model loaded, by agent."""
        agents = {agent_id for agent_id, _ in self.resources.items()}
        return [self.vram(agent_id) for agent_id in sorted(agents.union(self._hosts.claimants()))]

    # What is registered, from the store's feed.

    def put_alias(self, alias: ModelAlias) -> None:
        """Sets a model alias. The caller must not change `alias` afterwards."""
        revision = self.event_revision = self._next_revision()
        self.aliases.put(alias.name, AliasRecord(alias, revision), revision, 0)
        self._notify()

    def remove_alias(self, name: str) -> None:
        """Removes a model alias; does nothing if it is not there."""
        if self.aliases.get(name) is None:
            return
        self.event_revision = self._next_revision()
        self.aliases.remove(name, self.event_revision)
        self._notify()

    def put_endpoint(self, registered: Endpoint) -> None:
        """Sets what is registered of an endpoint; its observed facts stay.

        If the same id now means another server (another scheme, base path or registered
        backend), the observed facts are forgotten. The status of a disabled endpoint
        becomes unknown.
        """
        before = self._endpoints.get(registered.id)
        after = Endpoint()
        after.CopyFrom(registered)
        if before is None:
            after.status = STATUS_UNKNOWN
        else:
            if not observed_facts.carry_over(before.message, after):
                self._forget_observed(registered.id)
            if after.admin_state == ADMIN_STATE_DISABLED:
                self.health.pause(registered.id)
        if after.admin_state == ADMIN_STATE_DISABLED:
            status.pause(after)
        status.register(after)
        self._set(registered.id, before, after, event=True)

    def remove_endpoint(self, endpoint_id: str) -> None:
        """Removes an endpoint; does nothing if it is not there."""
        before = self._endpoints.get(endpoint_id)
        if before is not None:
            self._forget_observed(endpoint_id)
            self._set(endpoint_id, before, None, event=True)

    # What is observed: from probes, from reports, and from before the hub's start.

    def restore_endpoint(self, facts: Endpoint) -> bool:
        """Restores the facts that an earlier start observed, marked as restored.

        `facts` are the endpoint's `lasting_facts`, with times by the hub's current clock.
        Returns False if they are not about the endpoint as it is registered now.
        """
        before = self._endpoints.get(facts.id)
        if before is None:
            return False
        after = Endpoint()
        after.CopyFrom(before.message)
        if not observed_facts.restore(facts, after):
            return False
        status.register(after)
        self._set(facts.id, before, after, event=True)
        return True

    def observe(self, endpoint_id: str, seen: Observation) -> None:
        """Adds the outcome of a probe; does nothing if the endpoint is removed or disabled."""
        before = self._endpoints.get(endpoint_id)
        if before is None or before.message.admin_state == ADMIN_STATE_DISABLED:
            return
        after = Endpoint()
        after.CopyFrom(before.message)
        event = self.health.observe(after, seen, self._healthy)
        self._set(endpoint_id, before, after, event=event)
        if not seen.error:
            self._let_fall(seen.checked_at_ms)
        if seen.address:
            self._move(endpoint_id, Place(seen.address, after.port))

    def amend(self, endpoint_id: str, change: Callable[[Endpoint], bool | None]) -> None:
        """Changes observed facts of an endpoint; does nothing if it is removed.

        `change` changes a copy, and returns whether watchers see an event; None if nothing
        has changed.
        """
        before = self._endpoints.get(endpoint_id)
        if before is not None:
            after = Endpoint()
            after.CopyFrom(before.message)
            event = change(after)
            if event is not None:
                self._set(endpoint_id, before, after, event=event)

    def report_view(
        self, endpoint_id: str, agent_id: str, report: ReportEndpointRequest, now_ms: int
    ) -> bool:
        """Adds what a sidecar sees of an endpoint, received now.

        Only reports of the endpoint's own sidecar count. Returns whether the report
        differs from the one before.
        """
        before = self._endpoints.get(endpoint_id)
        if before is None or before.message.agent_id != agent_id:
            return False
        is_new = self.health.is_new_report(endpoint_id, report)
        ends_ms = now_ms + self.reports_ttl_ms
        after = Endpoint()
        after.CopyFrom(before.message)
        event = self.health.apply_report(after, agent_id, report, ends_ms, now_ms)
        self._views[endpoint_id] = ends_ms
        self._views.move_to_end(endpoint_id)
        self._set(endpoint_id, before, after, event=event)
        return is_new

    def report_resources(self, agent_id: str, report: Report, now_ms: int) -> None:
        """Adds a host's report, received now. The caller must not change `report` afterwards."""
        self.revision = revision = self.revision + 1
        record = ResourcesRecord(agent_id, report, revision, now_ms)
        self.resources.put(agent_id, record, revision, now_ms)
        self._notify()

    def expire(self, now_ms: int) -> None:
        """Drops expired reports, and marks models as unloaded whose keep-alive time is over."""
        expired = False
        while (agent_id := self.resources.pop_expired(now_ms)) is not None:
            self._hosts.drop_report(agent_id)
            self.resources.bury(agent_id, self._next_revision())
            expired = True
        if expired:
            self._notify()
        while self._views:
            endpoint_id, ends_ms = next(iter(self._views.items()))
            if ends_ms > now_ms:
                break
            del self._views[endpoint_id]
            self.health.forget_report(endpoint_id)
            self.amend(endpoint_id, status.remove_view)
        while (id_ := self._unloads.pop_due(now_ms)) is not None:
            self.health.forget_models(id_)
            self.amend(id_, lambda after: unload(after, now_ms) or None)
        for companion in self._companions:
            companion.expire(now_ms)

    def next_deadline_ms(self) -> int | None:
        """When the next report or loaded model expires, or None."""
        deadlines = [
            self.resources.next_deadline_ms(),
            next(iter(self._views.values()), None),
            self._unloads.next_ms(),
            *(companion.next_deadline_ms() for companion in self._companions),
        ]
        return min((each for each in deadlines if each is not None), default=None)

    def _let_fall(self, now_ms: int) -> None:
        while (id_ := self.health.next_to_fall(self._healthy, now_ms)) is not None:
            self.amend(id_, lambda after: self.health.fall(after, now_ms))

    def _forget_observed(self, id_: str) -> None:
        self.health.forget(id_)
        self._views.pop(id_, None)
        self._move(id_, None)
        for companion in self._companions:
            companion.forget(id_)

    def _move(self, id_: str, place: Place | None) -> None:
        for each in self._same_servers.move(id_, place):
            self._compare_servers(each)

    def _compare_servers(self, id_: str) -> None:
        """Updates which of the endpoints at one place are the same server."""
        found = [self._endpoints[each].message for each in self._same_servers.neighbours(id_)]
        for each, primary in primaries(found).items():
            before = self._endpoints[each]
            if before.message.same_server_as != primary:
                after = Endpoint()
                after.CopyFrom(before.message)
                after.same_server_as = primary
                self._write(each, before, after, event=True)

    # The one place where the state changes.

    def _next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def _set(
        self, id_: str, before: EndpointRecord | None, after: Endpoint | None, *, event: bool
    ) -> None:
        self._write(id_, before, after, event=event)
        if event and len(self._same_servers.neighbours(id_)) > 1:
            self._compare_servers(id_)

    def _write(
        self, id_: str, before: EndpointRecord | None, after: Endpoint | None, *, event: bool
    ) -> None:
        revision = self.endpoints_revision = self._next_revision()
        record = EndpointRecord(after, revision) if after is not None else None
        if before is None:
            insort(self._ids, id_)
        else:
            before.retire()
        if record is None:
            del self._endpoints[id_]
            del self._ids[bisect_left(self._ids, id_)]
        else:
            self._endpoints[id_] = record
        if event:
            self._index(id_, before, record)
            self.event_revision = revision
            size = memory_of(after)
            # The record before a check belongs to no other event, so it is counted here.
            if self.checks.drop(id_):
                size += memory_of(before.message if before is not None else None)
            self.ring.append(revision, EndpointEvent(revision, id_, before, record), size)
        elif record is not None:
            self.checks.put(id_, record, revision, 0)
        self._notify()

    def _index(self, id_: str, before: EndpointRecord | None, after: EndpointRecord | None) -> None:
        old = before.message if before is not None else None
        new = after.message if after is not None else None
        was_healthy = old is not None and old.status == STATUS_HEALTHY
        is_healthy = new is not None and new.status == STATUS_HEALTHY
        self._healthy += is_healthy - was_healthy
        self._hosts.change(old, new, self.revision)
        self._unloads.change(id_, new)
        self.model_index.change(old, new)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()
