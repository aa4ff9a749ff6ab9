"""What changed after a revision, as encoded responses of WatchRegistry. Pure.

A watcher is only a cursor. What it receives depends only on the registry and the cursor, so
nothing is stored per watcher, and watchers with the same interest and the same cursor
receive the same bytes. Protobuf encodings can be concatenated (see `hub.registry.listings`):
each event is encoded once, stored with the state that it made, and joined into responses.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.wrappers_pb2 import BytesValue

from hub.registry.filters import EndpointFilter
from hub.registry.following import AliasRecord, EndpointEvent, EndpointRecord
from hub.registry.history.latest_log import Latest
from hub.registry.history.ring import Compacted
from hub.registry.host_report import ResourcesRecord
from hub.registry.state import Registry
from hub.registry.views import View
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import WatchRegistryResponse
from llmhub.v1.resources_pb2 import (
    EVENT_TYPE_DELETE,
    EVENT_TYPE_PUT,
    HostResources,
    RegistryEvent,
)

MAX_EVENTS: Final = 1000
"""The maximum number of endpoint events, and of all events, that one call of `changes` reads."""

MAX_RESPONSE_BYTES: Final = 1_048_576
"""A response ends once it is this long; gRPC clients accept 4 MiB by default."""


@dataclass(frozen=True, slots=True)
class Interest:
    """What a watcher requested; hashable, so that watchers with equal interests share work."""

    endpoints: EndpointFilter = field(default_factory=EndpointFilter)
    resources: bool = False
    checks: bool = False
    aliases: bool = False
    view: View = field(default_factory=View)

    def matches(self, endpoint: Endpoint) -> bool:
        """Whether it is about that endpoint."""
        return self.endpoints.matches(endpoint) and (not self.view or self.view.includes(endpoint))

    @property
    def frequent(self) -> bool:
        """Whether it includes reports or checks, which change all the time."""
        return self.resources or self.checks


@dataclass(frozen=True, slots=True)
class Segment:
    """Encoded responses, and the revision that a watcher reaches with the last of them.

    `more`: the history continues after it.
    """

    responses: tuple[bytes, ...]
    revision: int
    more: bool = False


def changes(registry: Registry, interest: Interest, after: int) -> Segment:
    """The changes after a revision, at most `MAX_EVENTS` of them.

    Raises Compacted if the registry no longer has that history, or does not have it yet.
    """
    upto = registry.revision
    if after > upto:
        raise Compacted(f"revision {after} is after {upto}")
    events = registry.ring.after(after, MAX_EVENTS)
    more = len(events) == MAX_EVENTS
    if more:
        upto = events[-1].revision
    found = list(_endpoint_events(events, interest))
    if interest.checks:
        found += (
            (latest.revision, _put(latest.value, interest.view))
            for latest in registry.checks.after(after)
            if latest.value is not None
            and latest.revision <= upto
            and interest.matches(latest.value.message)
        )
    if interest.resources:
        found += (
            (latest.revision, _resources_event(latest))
            for latest in registry.resources.after(after)
            if latest.revision <= upto
            and (not interest.view or interest.view.includes_host(registry, latest.key))
        )
        if interest.view:
            found += _hosts_in_and_out(registry, events, interest.view)
    if interest.aliases:
        found += (
            (latest.revision, _alias_event(latest))
            for latest in registry.aliases.after(after)
            if latest.revision <= upto and interest.view.includes_model(latest.key)
        )
    found.sort(key=_revision)
    if len(found) > MAX_EVENTS:
        del found[MAX_EVENTS:]
        more, upto = True, found[-1][0]
    return Segment(tuple(_responses(found, upto)), upto, more)


def state(registry: Registry, interest: Interest, now_ms: int) -> tuple[int, Iterator[bytes]]:
    """The registry's revision, and its whole state at that revision as responses.

    The responses are encoded lazily from the records as of this call. Only the last
    response carries the revision; an empty registry makes one response too.
    """
    registry.expire(now_ms)
    view = interest.view
    records = [record for record in registry.endpoints() if interest.matches(record.message)]
    resources = [
        record
        for agent_id, record in (registry.resources.items() if interest.resources else ())
        if not view or view.includes_host(registry, agent_id)
    ]
    aliases = [
        record
        for name, record in (registry.aliases.items() if interest.aliases else ())
        if view.includes_model(name)
    ]

    def events() -> Iterator[tuple[int, bytes]]:
        for record in sorted(records, key=lambda record: record.revision):
            yield record.revision, _put(record, view)
        for alias in aliases:
            yield alias.revision, alias.put_event(_put_alias)
        for report in resources:
            yield report.revision, report.put_event(_put_resources)

    return registry.revision, _responses(events(), registry.revision, complete=False)


def progress(revision: int) -> bytes:
    """A response without events."""
    return WatchRegistryResponse(revision=revision).SerializeToString()


def _endpoint_events(
    events: Iterable[EndpointEvent], wanted: Interest
) -> Iterator[tuple[int, bytes]]:
    """An endpoint that starts to match is put; one that stops matching is deleted."""
    for event in events:
        before, after = event.before, event.after
        if after is not None and wanted.matches(after.message):
            yield event.revision, _put(after, wanted.view)
        elif before is not None and wanted.matches(before.message):
            yield event.revision, _delete_endpoint(event.id, event.revision)


def _put(record: EndpointRecord, view: View) -> bytes:
    """The event of an endpoint, as the view shows it."""
    shown = view.shown(record.message) if view else record.message
    if shown is record.message:
        return record.put_event(_put_endpoint)
    return _put_endpoint(shown, record.revision)


def _hosts_in_and_out(
    registry: Registry, events: Iterable[EndpointEvent], view: View
) -> Iterator[tuple[int, bytes]]:
    """The resources of hosts that may have entered or left the view with an endpoint."""
    for event in events:
        before, after = _agent_in(event.before, view), _agent_in(event.after, view)
        if before == after:
            continue
        for agent_id in {before, after} - {""}:
            report = registry.resources.get(agent_id)
            if report is not None and view.includes_host(registry, agent_id):
                yield event.revision, _put_resources(report.message, event.revision)
            elif report is not None:
                yield event.revision, _delete_resources(agent_id, event.revision)


def _agent_in(record: EndpointRecord | None, view: View) -> str:
    """The agent of an endpoint in the view; "" if it has none or is beyond the view."""
    return record.message.agent_id if record and view.includes(record.message) else ""


def _responses(
    events: Iterable[tuple[int, bytes]], revision: int, *, complete: bool = True
) -> Iterator[bytes]:
    """Joins events into responses.

    If the events are `complete`, so that none is missing before any of them, each response
    carries the revision of its last event. Otherwise only the last response carries one.
    """
    fragments: list[bytes] = []
    size, last = 0, 0
    for event_revision, fragment in events:
        if size + len(fragment) > MAX_RESPONSE_BYTES and fragments:
            fragments.append(progress(last if complete else 0))
            yield b"".join(fragments)
            fragments, size = [], 0
        fragments.append(fragment)
        size += len(fragment)
        last = event_revision
    if fragments or not complete:
        fragments.append(progress(revision))
        yield b"".join(fragments)


def _revision(event: tuple[int, bytes]) -> int:
    return event[0]


def _fragment(event: RegistryEvent) -> bytes:
    # Events are field 1 of the response. A message field and a bytes field with the same
    # number look the same on the wire.
    return BytesValue(value=event.SerializeToString()).SerializeToString()


def _put_endpoint(endpoint: Endpoint, revision: int) -> bytes:
    return _fragment(RegistryEvent(type=EVENT_TYPE_PUT, revision=revision, endpoint=endpoint))


def _put_resources(resources: HostResources, revision: int) -> bytes:
    return _fragment(RegistryEvent(type=EVENT_TYPE_PUT, revision=revision, resources=resources))


def _put_alias(alias: ModelAlias, revision: int) -> bytes:
    return _fragment(RegistryEvent(type=EVENT_TYPE_PUT, revision=revision, model_alias=alias))


def _delete_endpoint(id_: str, revision: int) -> bytes:
    return _fragment(
        RegistryEvent(type=EVENT_TYPE_DELETE, revision=revision, endpoint=Endpoint(id=id_))
    )


def _resources_event(latest: Latest[ResourcesRecord]) -> bytes:
    if latest.value is not None:
        return latest.value.put_event(_put_resources)
    return _delete_resources(latest.key, latest.revision)


def _delete_resources(agent_id: str, revision: int) -> bytes:
    gone = HostResources(agent_id=agent_id)
    return _fragment(RegistryEvent(type=EVENT_TYPE_DELETE, revision=revision, resources=gone))


def _alias_event(latest: Latest[AliasRecord]) -> bytes:
    if latest.value is not None:
        return latest.value.put_event(_put_alias)
    gone = ModelAlias(name=latest.key)
    return _fragment(
        RegistryEvent(type=EVENT_TYPE_DELETE, revision=latest.revision, model_alias=gone)
    )
