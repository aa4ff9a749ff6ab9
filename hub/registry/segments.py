"""What changed after a revision, as encoded responses of WatchRegistry. Pure.

A watcher is a cursor. What it is to be sent follows from the registry and the
cursor alone, so nothing is kept for it, and watchers with the same interest and
the same cursor are sent the same bytes. Protobuf encodings can be concatenated
(see `hub.registry.listings`): each event is encoded once, kept with the state that
it made, and joined into as many responses as there is need.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.wrappers_pb2 import BytesValue

from hub.registry.filters import EndpointFilter
from hub.registry.history.ring import Compacted
from hub.registry.state import EndpointEvent, Registry
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
"""The most endpoint events, and the most events in all, that one `changes` reads."""

MAX_RESPONSE_BYTES: Final = 1_048_576
"""A response is closed once it is this long; gRPC clients take 4 MiB by default."""


@dataclass(frozen=True, slots=True)
class Interest:
    """What a watcher wants to hear of; hashable, so that equal ones can share."""

    endpoints: EndpointFilter = field(default_factory=EndpointFilter)
    resources: bool = False
    checks: bool = False
    aliases: bool = False

    @property
    def frequent(self) -> bool:
        """Whether it includes what changes all the time."""
        return self.resources or self.checks


@dataclass(frozen=True, slots=True)
class Segment:
    """Encoded responses, and the revision that a watcher has come to with the last.

    `more`: there was more to read.
    """

    responses: tuple[bytes, ...]
    revision: int
    more: bool = False


def changes(registry: Registry, interest: Interest, after: int) -> Segment:
    """What happened after a revision, at most `MAX_EVENTS` of it.

    Raises Compacted where the registry no longer, or not yet, has that history.
    """
    upto = registry.revision
    if after > upto:
        raise Compacted(f"revision {after} is after {upto}")
    events = registry.ring.after(after, MAX_EVENTS)
    more = len(events) == MAX_EVENTS
    if more:
        upto = events[-1].revision
    found = list(_endpoint_events(events, interest.endpoints))
    if interest.checks:
        found += (
            (record.revision, record.put_event(_put_endpoint))
            for record in registry.checked_after(after)
            if record.revision <= upto and interest.endpoints.matches(record.message)
        )
    if interest.resources:
        found += (
            (latest.revision, _delete_resources(latest.key, latest.revision))
            if latest.value is None
            else (latest.revision, latest.value.put_event(_put_resources))
            for latest in registry.resources.after(after)
            if latest.revision <= upto
        )
    if interest.aliases:
        found += (
            (latest.revision, _delete_alias(latest.key, latest.revision))
            if latest.value is None
            else (latest.revision, latest.value.put_event(_put_alias))
            for latest in registry.aliases.after(after)
            if latest.revision <= upto
        )
    found.sort(key=_revision)
    if len(found) > MAX_EVENTS:
        del found[MAX_EVENTS:]
        more, upto = True, found[-1][0]
    return Segment(tuple(_responses(found, upto)), upto, more)


def state(registry: Registry, interest: Interest, now_ms: int) -> tuple[int, Iterator[bytes]]:
    """The registry's revision and, as responses, all there is at that revision.

    The responses are made when they are asked for, out of what the registry
    held when this was called. Only the last one carries the revision; there is
    one even of an empty registry.
    """
    registry.expire(now_ms)
    records = [
        record for record in registry.endpoints() if interest.endpoints.matches(record.message)
    ]
    resources = [record for _, record in registry.resources.items()] if interest.resources else []
    aliases = [record for _, record in registry.aliases.items()] if interest.aliases else []

    def events() -> Iterator[tuple[int, bytes]]:
        for record in sorted(records, key=lambda record: record.revision):
            yield record.revision, record.put_event(_put_endpoint)
        for alias in aliases:
            yield alias.revision, alias.put_event(_put_alias)
        for report in resources:
            yield report.revision, report.put_event(_put_resources)

    return registry.revision, _responses(events(), registry.revision, complete=False)


def progress(revision: int) -> bytes:
    """A response without events."""
    return WatchRegistryResponse(revision=revision).SerializeToString()


def _endpoint_events(
    events: Iterable[EndpointEvent], wanted: EndpointFilter
) -> Iterator[tuple[int, bytes]]:
    """An endpoint that begins to match is put, one that ceases to is deleted."""
    for event in events:
        before, after = event.before, event.after
        if after is not None and wanted.matches(after.message):
            yield event.revision, after.put_event(_put_endpoint)
        elif before is not None and wanted.matches(before.message):
            yield event.revision, _delete_endpoint(event.id, event.revision)


def _responses(
    events: Iterable[tuple[int, bytes]], revision: int, *, complete: bool = True
) -> Iterator[bytes]:
    """Joins events into responses.

    Where the events are `complete` so far after each one, each response carries
    the revision of its last event, else only the last response carries any.
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
    # Events stand under field 1 of the response, and a message field and a
    # bytes field of one number look the same on the wire.
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


def _delete_resources(agent_id: str, revision: int) -> bytes:
    gone = HostResources(agent_id=agent_id)
    return _fragment(RegistryEvent(type=EVENT_TYPE_DELETE, revision=revision, resources=gone))


def _delete_alias(name: str, revision: int) -> bytes:
    gone = ModelAlias(name=name)
    return _fragment(RegistryEvent(type=EVENT_TYPE_DELETE, revision=revision, model_alias=gone))
