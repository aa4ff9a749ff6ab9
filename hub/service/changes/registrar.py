"""Durable changes of endpoints: decide, commit, and reply once the change is on disk.

Admins, sidecars and the configuration all register through this module, so one place
decides what a registration keeps and what it replaces. Changes of one endpoint take turns.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from hub.base.address import spellings
from hub.base.timestamps import to_timestamp
from hub.contract.errors import (
    EndpointNotFound,
    EtagMismatch,
    LimitReached,
)
from hub.registry.state import Registry
from hub.service.changes.audit_trail import Author
from hub.service.changes.commits import Commits, Decision
from hub.service.changes.owners import Owners
from hub.service.records import (
    durable_fields,
    encode_endpoint,
    encode_secret,
    endpoint_key,
    revision_of_etag,
    secret_key,
)
from hub.stores.store import Delete, Expect, Operation, Put
from llmhub.v1.audit_pb2 import AuditState
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_ENABLED,
    BACKEND_UNSPECIFIED,
    SOURCE_AUTO,
    SOURCE_CONFIG,
    Backend,
    Endpoint,
    Source,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a caller wants to register; None keeps what is already registered."""

    host: str
    port: int
    source: Source
    scheme: str = "http"
    base_path: str = ""
    name: str | None = None
    backend: Backend = BACKEND_UNSPECIFIED
    labels: dict[str, str] | None = None
    agent_id: str | None = None
    api_key: str | None = field(default=None, repr=False)


class Registrar:
    """Registers, updates and removes endpoints, durably.

    A change that has an author is written together with its audit event.
    """

    def __init__(
        self,
        commits: Commits,
        registry: Registry,
        *,
        owners: Owners,
        max_endpoints: int,
    ) -> None:
        """`owners` decides whether a sidecar may take over an endpoint."""
        self._commits = commits
        self._registry = registry
        self._owners = owners
        self._max_endpoints = max_endpoints
        self._creating: set[str] = set()
        # A lock lives as long as a change holds it or waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def register(
        self,
        id_: str,
        wanted: Registration,
        now_ms: int,
        author: Author | None = None,
        *,
        charge: Callable[[], None] | None = None,
    ) -> Endpoint:
        """Registers an endpoint, or registers it again; returns it as it is now.

        An endpoint that is known under another spelling of `id_` keeps its id. A
        registration that changes nothing writes nothing, so thousands of sidecars that
        reconnect at once do not cause thousands of writes. `charge` is called before a
        write. Raises EndpointOwned, LimitReached, StoreUnavailable and what `charge`
        raises.
        """

        def decide(current: Endpoint | None) -> Endpoint:
            if current is None and self._is_full():
                raise LimitReached(f"the registry is full: {self._max_endpoints} endpoints")
            if wanted.source == SOURCE_AUTO and current is not None:
                self._owners.require(current, wanted.agent_id or "", now_ms)
            return merge(spellings(id_)[0], current, wanted, now_ms)

        if wanted.source == SOURCE_AUTO and wanted.agent_id:
            # A single call counts too, because an agent need not be connected.
            self._owners.note_report(wanted.agent_id, now_ms)
        return await self._change(id_, decide, author, api_key=wanted.api_key, charge=charge)

    async def update(
        self,
        id_: str,
        decide: Callable[[Endpoint], Endpoint],
        etag: str,
        author: Author | None = None,
    ) -> Endpoint:
        """Replaces an endpoint's registration with what `decide` returns for it.

        Raises EndpointNotFound, EtagMismatch, StoreUnavailable.
        """

        def checked(current: Endpoint | None) -> Endpoint:
            return decide(require(current, id_, etag))

        return await self._change(id_, checked, author)

    async def remove(self, id_: str, etag: str, author: Author | None = None) -> str:
        """Removes an endpoint and its secret; returns its id.

        Raises EndpointNotFound, EtagMismatch, StoreUnavailable.
        """
        removed = ""

        def decide() -> Decision:
            nonlocal removed
            current = require(self.current(id_), id_, etag)
            removed = current.id
            key = endpoint_key(removed)
            operations: list[Operation] = [Delete(key), Delete(secret_key(removed))]
            if author is not None:
                operations += author.operations(key, _state(current), None)
            return Decision(operations, _expecting(removed, current))

        async with self._turn(id_):
            await self._commits.change(f"endpoint {id_}", decide)
        return removed

    def current(self, id_: str) -> Endpoint | None:
        """The endpoint that `id_` names in any spelling, as it is now, or None."""
        record = self._registry.get(self._registry.known_id(id_))
        return record.message if record is not None else None

    async def _change(
        self,
        id_: str,
        decide: Callable[[Endpoint | None], Endpoint],
        author: Author | None,
        *,
        api_key: str | None = None,
        charge: Callable[[], None] | None = None,
    ) -> Endpoint:
        charges = [charge] if charge is not None else []
        creating = min(spellings(id_))

        def attempt() -> Decision | None:
            self._creating.discard(creating)
            current = self.current(id_)
            decided = decide(current)
            own_id, durable = decided.id, durable_fields(decided)
            operations: list[Operation] = []
            # The secret comes first, so that the first probe already has it.
            if api_key:
                operations.append(Put(secret_key(own_id), encode_secret(api_key)))
            elif api_key is not None:
                operations.append(Delete(secret_key(own_id)))
            elif current is not None and durable == durable_fields(current):
                return None
            if charges:
                charges.pop()()
            operations.append(Put(endpoint_key(own_id), encode_endpoint(durable)))
            if author is not None:
                operations += author.operations(
                    endpoint_key(own_id),
                    _state(current),
                    AuditState(endpoint=durable),
                    secret_changed=api_key is not None,
                )
            if current is not None:
                return Decision(operations, _expecting(own_id, current))
            self._creating.add(creating)
            # Another hub may register the same endpoint under another spelling now.
            others = [Expect(endpoint_key(each), 0) for each in spellings(own_id)[1:]]
            return Decision(operations, _expecting(own_id, None), others)

        async with self._turn(id_):
            try:
                await self._commits.change(f"endpoint {id_}", attempt)
            finally:
                self._creating.discard(creating)
            changed = self.current(id_)
        if changed is None:
            raise EtagMismatch(f"endpoint {id_} was removed while it was changed; try again")
        return changed

    def _turn(self, id_: str) -> asyncio.Lock:
        # All spellings of an endpoint's id wait for the same turn.
        return self._turns.setdefault(min(spellings(id_)), asyncio.Lock())

    def _is_full(self) -> bool:
        """Whether the registry is full, counting the endpoints that are being written."""
        room = self._max_endpoints - len(self._registry)
        # Some of them are already in the registry.
        return len(self._creating) >= room and room <= sum(
            self.current(id_) is None for id_ in self._creating
        )


def _state(endpoint: Endpoint | None) -> AuditState | None:
    """The registered fields of an endpoint, without what was observed."""
    if endpoint is None:
        return None
    return AuditState(endpoint=durable_fields(endpoint))


def _expecting(id_: str, current: Endpoint | None) -> Expect:
    """Expects the endpoint's record to be unchanged, or to be absent."""
    revision = revision_of_etag(current.etag) if current is not None else 0
    if revision is None:
        raise AssertionError("an endpoint in the registry has an etag that the hub did not make")
    return Expect(endpoint_key(id_), revision)


def require(current: Endpoint | None, id_: str, etag: str) -> Endpoint:
    """Returns the endpoint if it exists and, if an etag is given, has not changed since.

    Raises EndpointNotFound, EtagMismatch.
    """
    if current is None:
        raise EndpointNotFound(f"there is no endpoint {id_}", metadata={"id": id_})
    if etag and etag != current.etag:
        raise EtagMismatch(
            f"endpoint {id_} has changed since the etag was read",
            metadata={"id": id_, "etag": current.etag},
        )
    return current


def merge(id_: str, current: Endpoint | None, wanted: Registration, now_ms: int) -> Endpoint:
    """Returns the registration that results from the current one and the wanted one. Pure.

    A sidecar never overrules an admin; it fills in only what is missing. If an admin or
    the configuration registered the endpoint, a sidecar only becomes its agent if it has
    none. An admin may also have changed the name, backend and labels of an endpoint that a
    sidecar registered, so a sidecar sets a backend only if none is registered or detected,
    labels only if there are none, and a name only if it is still a default. Of two
    sidecars the later one wins: `Registrar.register` has checked that the other has left.
    """
    if current is None:
        created = Endpoint(
            id=id_,
            host=wanted.host,
            port=wanted.port,
            scheme=wanted.scheme,
            base_path=wanted.base_path,
            name=wanted.name or id_,
            backend=wanted.backend,
            source=wanted.source,
            agent_id=wanted.agent_id or "",
            admin_state=ADMIN_STATE_ENABLED,
            labels=wanted.labels or {},
        )
        created.registered_at.CopyFrom(to_timestamp(now_ms))
        return created
    merged = Endpoint()
    merged.CopyFrom(current)
    by_sidecar = wanted.source == SOURCE_AUTO
    if by_sidecar and current.source != SOURCE_AUTO:
        merged.agent_id = current.agent_id or wanted.agent_id or ""
        return merged
    merged.source = wanted.source
    merged.scheme = wanted.scheme
    merged.base_path = wanted.base_path
    if wanted.name and not (by_sidecar and _is_name_chosen(current)):
        merged.name = wanted.name
    if wanted.agent_id:
        merged.agent_id = wanted.agent_id
    # The file alone decides about its endpoints: if it no longer names a backend, the hub
    # detects the backend again.
    is_unpinned = wanted.source == SOURCE_CONFIG and not merged.backend_detected
    is_said = wanted.backend != BACKEND_UNSPECIFIED and not (by_sidecar and current.backend)
    if is_said or is_unpinned:
        merged.backend = wanted.backend
        merged.backend_detected = False
    if wanted.labels is not None and not (by_sidecar and current.labels):
        merged.labels.clear()
        merged.labels.update(wanted.labels)
    return merged


def default_name(agent_id: str) -> str:
    """The name of the Ollama server on an agent's host, if no name is given."""
    return f"{agent_id}-local"


def _is_name_chosen(endpoint: Endpoint) -> bool:
    return endpoint.name not in ("", endpoint.id, default_name(endpoint.agent_id))
