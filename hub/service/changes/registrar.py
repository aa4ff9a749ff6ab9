"""Durable changes of endpoints: decide, commit, and answer once it is on disk.

Everything that registers (admins, sidecars, the configuration) comes through
here, so that what a registration keeps and replaces is decided in one place.
Changes of one endpoint take turns. Where the store has other writers, its
precondition lets one of them win, and the other decides anew on what it finds.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from hub.base.timestamps import to_timestamp
from hub.contract.errors import (
    EndpointNotFound,
    EndpointOwned,
    EtagMismatch,
    LimitReached,
    StoreUnavailable,
)
from hub.registry.state import Registry
from hub.service.changes.audit_trail import Author
from hub.service.records import (
    durable_endpoint,
    encode_secret,
    endpoint_key,
    revision_of_etag,
    secret_key,
)
from hub.stores.store import Delete, Expect, Operation, PreconditionFailed, Put, Store, StoreError
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

# How often a change is decided anew when other hubs keep changing the endpoint.
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What somebody wants registered; None leaves what is registered already."""

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

    Where a change has an author, its audit event is written with it.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        max_endpoints: int,
        is_connected: Callable[[str], bool],
        owners_presumed_until_ms: int = 0,
    ) -> None:
        """`is_connected` tells whether a sidecar of that agent_id is connected.

        Until `owners_presumed_until_ms` every agent that an endpoint is registered for
        counts as there: a hub that has just started has yet to hear of them.
        """
        self._store = store
        self._registry = registry
        self._max_endpoints = max_endpoints
        self._is_connected = is_connected
        self._owners_presumed_until_ms = owners_presumed_until_ms
        self._creating: set[str] = set()
        # A lock lives as long as somebody holds it or waits for it.
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
        """Registers an endpoint or registers it anew; returns it as it stands.

        A registration that changes nothing touches no disk: thousands of
        sidecars that reconnect at once are no thousands of writes. `charge` is called
        before one that does. Raises EndpointOwned, LimitReached, StoreUnavailable and
        what `charge` does.
        """

        def decide(current: Endpoint | None) -> Endpoint:
            if current is None and self._is_full():
                raise LimitReached(f"the registry is full: {self._max_endpoints} endpoints")
            if wanted.source == SOURCE_AUTO and self._is_owned(current, wanted.agent_id, now_ms):
                raise EndpointOwned(
                    f"another agent that is there reports {id_}", metadata={"id": id_}
                )
            return merge(id_, current, wanted, now_ms)

        if wanted.source == SOURCE_AUTO and wanted.agent_id:
            # Also of one that is neither connected nor tells more: single calls are enough.
            self._registry.note_report(wanted.agent_id, now_ms)
        return await self._change(id_, decide, author, api_key=wanted.api_key, charge=charge)

    async def update(
        self,
        id_: str,
        decide: Callable[[Endpoint], Endpoint],
        etag: str,
        author: Author | None = None,
    ) -> Endpoint:
        """Replaces an endpoint's registration by what `decide` makes of it.

        Raises EndpointNotFound, EtagMismatch, StoreUnavailable.
        """

        def checked(current: Endpoint | None) -> Endpoint:
            return decide(require(current, id_, etag))

        return await self._change(id_, checked, author)

    async def remove(self, id_: str, etag: str, author: Author | None = None) -> None:
        """Forgets an endpoint and its secret.

        Raises EndpointNotFound, EtagMismatch, StoreUnavailable.
        """
        async with self._turn(id_):
            for _ in range(_ATTEMPTS):
                current = require(self.current(id_), id_, etag)
                operations: list[Operation] = [Delete(endpoint_key(id_)), Delete(secret_key(id_))]
                if author is not None:
                    operations += author.operations(endpoint_key(id_), _state(current), None)
                expect = Expect(endpoint_key(id_), _written_at(current))
                if await self._commit(operations, expect):
                    return
        raise EtagMismatch(f"endpoint {id_} keeps changing; try again")

    def current(self, id_: str) -> Endpoint | None:
        """The endpoint of that id as it stands, or None."""
        record = self._registry.get(id_)
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
        async with self._turn(id_):
            for _ in range(_ATTEMPTS):
                current = self.current(id_)
                encoded = durable_endpoint(decide(current))
                operations: list[Operation] = []
                # The secret goes first, so that the first probe already has it.
                if api_key:
                    operations.append(Put(secret_key(id_), encode_secret(api_key)))
                elif api_key is not None:
                    operations.append(Delete(secret_key(id_)))
                elif current is not None and encoded == durable_endpoint(current):
                    return current
                if charge is not None:
                    charge()
                    charge = None
                operations.append(Put(endpoint_key(id_), encoded))
                if author is not None:
                    operations += author.operations(
                        endpoint_key(id_),
                        _state(current),
                        AuditState(endpoint=Endpoint.FromString(encoded)),
                        secret_changed=api_key is not None,
                    )
                expect = Expect(endpoint_key(id_), _written_at(current))
                if await self._commit_creating(id_, operations, expect):
                    changed = self.current(id_)
                    if changed is not None:
                        return changed
        raise EtagMismatch(f"endpoint {id_} keeps changing; try again")

    def _is_owned(self, current: Endpoint | None, by: str | None, now_ms: int) -> bool:
        """Whether another agent registered the endpoint and still is there."""
        if current is None or current.source != SOURCE_AUTO:
            return False
        owner = current.agent_id
        return owner not in ("", by) and (
            now_ms < self._owners_presumed_until_ms
            or self._is_connected(owner)
            or self._registry.has_reported(owner, now_ms)
            or (current.HasField("sidecar_view") and current.sidecar_view.agent_id == owner)
        )

    def _turn(self, id_: str) -> asyncio.Lock:
        return self._turns.setdefault(id_, asyncio.Lock())

    def _is_full(self) -> bool:
        """Whether the registry is full once all that is on its way to the disk is there."""
        room = self._max_endpoints - len(self._registry)
        # Those that have just arrived are counted in the registry already.
        return len(self._creating) >= room and room <= sum(
            self._registry.get(id_) is None for id_ in self._creating
        )

    async def _commit_creating(
        self, id_: str, operations: Sequence[Operation], expect: Expect
    ) -> bool:
        if expect.revision:
            return await self._commit(operations, expect)
        self._creating.add(id_)
        try:
            return await self._commit(operations, expect)
        finally:
            self._creating.discard(id_)

    async def _commit(self, operations: Sequence[Operation], expect: Expect) -> bool:
        try:
            await self._store.commit(operations, [expect])
        except PreconditionFailed:
            return False
        except StoreError as error:
            raise StoreUnavailable(f"the store did not take the change: {error}") from error
        return True


def _state(endpoint: Endpoint | None) -> AuditState | None:
    """What was registered of an endpoint, without what was observed."""
    if endpoint is None:
        return None
    return AuditState(endpoint=Endpoint.FromString(durable_endpoint(endpoint)))


def _written_at(current: Endpoint | None) -> int:
    """The store revision that wrote the endpoint; 0 where there is none."""
    revision = revision_of_etag(current.etag) if current is not None else 0
    if revision is None:
        raise AssertionError("an endpoint in the registry has no etag of the hub's")
    return revision


def require(current: Endpoint | None, id_: str, etag: str) -> Endpoint:
    """The endpoint, if it is there and, where an etag is given, unchanged since.

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
    """What shall be registered, given what is. Pure.

    A sidecar's word never overrules a person's; it fills what nobody said. What an
    admin or the configuration registered it leaves alone, but for naming the agent
    where nobody has. Of what a sidecar registered an admin may have changed name,
    backend and labels since, so these stay too: a sidecar gives a backend only
    where none is registered or detected, labels where there are none, and a name
    where the one there is was nobody's choice. Of two sidecars the later one is
    heard: `Registrar.register` has seen to it that the other is gone.
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
    # The file says all there is to say of its endpoints: the kind that it does not
    # name any more is detected again.
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
    """The name of the Ollama server of an agent's host, where nobody gave one."""
    return f"{agent_id}-local"


def _is_name_chosen(endpoint: Endpoint) -> bool:
    return endpoint.name not in ("", endpoint.id, default_name(endpoint.agent_id))
