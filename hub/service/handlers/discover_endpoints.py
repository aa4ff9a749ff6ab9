"""The set of endpoints that a gateway may connect to, as of now and whenever it changes."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from hub.base.tasks import Slices
from hub.registry.history.ring import Follower
from hub.registry.segments import Interest
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.change_feed import ChangeFeed
from hub.service.endpoint_addresses import EndpointAddresses
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    Endpoint,
)

# A name that was resolved is no event of the registry.
_CHECK_NAMES_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class SetMember:
    """One endpoint of the set. `health` is a word of Envoy's HealthStatus.

    `address` is numeric, `host` as it was registered.
    """

    address: str
    port: int
    host: str
    health: str
    uses_tls: bool


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """The members, sorted by their endpoints' ids; `version` changes with them."""

    version: str
    members: tuple[SetMember, ...]


class EndpointSets:
    """Keeps the set up to date with the registry's events, and looks only at what changed."""

    def __init__(
        self, registry: Registry, changes: ChangeFeed, addresses: EndpointAddresses
    ) -> None:
        self._registry = registry
        self._changes = changes
        self._addresses = addresses
        self._slices = Slices()
        self._follower = Follower(registry.ring)
        self._members: dict[str, SetMember] = {}
        self._changed: set[str] = set()
        # Endpoints whose names are not resolved, or may resolve to another address.
        self._named: set[str] = set()
        self._set = EndpointSet("0", ())

    async def discover_endpoints(
        self, _request: None, _caller: Caller, _now_ms: int
    ) -> EndpointSet:
        """The set as of now."""
        await self._slices.run(self._catch_up)
        members = tuple(self._members[id_] for id_ in sorted(self._members))
        if members != self._set.members or self._set.version == "0":
            self._set = EndpointSet(f"{self._registry.event_revision}.{len(members)}", members)
        return self._set

    async def watch_endpoint_set(
        self, request: None, caller: Caller, now_ms: int
    ) -> AsyncIterator[EndpointSet]:
        """The set, and again after each change. Raises ShuttingDown."""
        sent = ""
        with self._changes.watching(Interest(), self._registry.event_revision) as watcher:
            while True:
                watcher.revision = self._registry.event_revision
                watcher.read()
                found = await self.discover_endpoints(request, caller, now_ms)
                if found.version != sent:
                    sent = found.version
                    yield found
                await watcher.wait(_CHECK_NAMES_S)

    def _catch_up(self) -> Iterator[None]:
        registry = self._registry
        events = self._follower.take(registry.ring.capacity)
        if events is None:
            self._changed.update(self._members, (each.message.id for each in registry.endpoints()))
        else:
            self._changed.update(event.id for event in events)
        self._changed |= self._named
        self._follower.go_to(registry.event_revision)
        return self._update()

    def _update(self) -> Iterator[None]:
        while self._changed:
            id_ = self._changed.pop()
            self._named.discard(id_)
            record = self._registry.get(id_)
            member = self._member(record.message) if record is not None else None
            if member is not None:
                self._members[id_] = member
            else:
                self._members.pop(id_, None)
            yield

    def _member(self, endpoint: Endpoint) -> SetMember | None:
        if endpoint.admin_state == ADMIN_STATE_DISABLED:
            return None
        host = endpoint.host
        found = self._addresses.of(endpoint)
        address = found.rpartition(":")[0].strip("[]") if found is not None else ""
        if address != host:
            self._named.add(endpoint.id)
        if not address:
            return None
        return SetMember(
            address, endpoint.port, host, _health(endpoint), endpoint.scheme == "https"
        )


def _health(endpoint: Endpoint) -> str:
    if endpoint.admin_state == ADMIN_STATE_DRAINING:
        return "DRAINING"
    if endpoint.status == STATUS_HEALTHY:
        return "HEALTHY"
    return "UNHEALTHY" if endpoint.status == STATUS_UNHEALTHY else "UNKNOWN"
