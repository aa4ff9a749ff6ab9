"""Model aliases: kept in the store, followed into the registry."""

from typing import Final

from google.protobuf.message import DecodeError

from hub.base.timestamps import to_timestamp
from hub.contract.errors import AliasNotFound, EtagMismatch, LimitReached, StoreUnavailable
from hub.registry.state import Registry
from hub.service.changes.audit_trail import Author
from hub.service.records import alias_key, damaged_record, etag_of, name_of, revision_of_etag
from hub.stores.store import (
    Delete,
    Entry,
    Expect,
    Operation,
    PreconditionFailed,
    Put,
    Store,
    StoreError,
)
from llmhub.v1.audit_pb2 import AuditState
from llmhub.v1.model_alias_pb2 import ModelAlias

MAX_ALIASES: Final = 10_000

# How often a change is decided anew when others keep changing the alias.
_ATTEMPTS: Final = 8


class AliasFollower:
    """Keeps the registry in step; a `hub.service.records.RecordConsumer` of "aliases"."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def apply_put(self, entry: Entry) -> None:
        """See `RecordConsumer`."""
        try:
            alias = ModelAlias.FromString(entry.value)
        except DecodeError as error:
            raise damaged_record(entry.key) from error
        if alias.name != name_of(entry.key):
            raise damaged_record(entry.key)
        alias.etag = etag_of(entry.revision)
        self._registry.put_alias(alias)

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        self._registry.remove_alias(name_of(key))


class AliasBook:
    """Sets and removes aliases, durably and with their audit events."""

    def __init__(self, store: Store, registry: Registry, *, max_aliases: int = MAX_ALIASES) -> None:
        self._store = store
        self._registry = registry
        self._max_aliases = max_aliases
        self._creating: set[str] = set()

    async def set(self, wanted: ModelAlias, author: Author) -> ModelAlias:
        """Creates or replaces an alias; returns it as it stands.

        Raises EtagMismatch, LimitReached, StoreUnavailable.
        """
        alias = _durable(wanted)
        alias.updated_at.CopyFrom(to_timestamp(author.now_ms))
        put = Put(alias_key(alias.name), alias.SerializeToString(deterministic=True))
        for _ in range(_ATTEMPTS):
            current = self._current(wanted.name)
            _require_etag(wanted.name, current, wanted.etag)
            if current is None and self._is_full_for(alias.name):
                raise LimitReached(f"there are {self._max_aliases} aliases already")
            self._creating.add(alias.name)
            try:
                revision = await self._commit(alias.name, put, current, alias, author)
            finally:
                self._creating.discard(alias.name)
            if revision is not None:
                alias.etag = etag_of(revision)
                return alias
        raise EtagMismatch(f"alias {wanted.name} keeps changing; try again")

    async def remove(self, name: str, etag: str, author: Author) -> None:
        """Forgets an alias. Raises AliasNotFound, EtagMismatch, StoreUnavailable."""
        for _ in range(_ATTEMPTS):
            current = self._current(name)
            if current is None:
                raise AliasNotFound(f"there is no alias {name}", metadata={"name": name})
            _require_etag(name, current, etag)
            if await self._commit(name, Delete(alias_key(name)), current, None, author):
                return
        raise EtagMismatch(f"alias {name} keeps changing; try again")

    def _is_full_for(self, name: str) -> bool:
        """Whether there is no room once the others on their way to the disk are there."""
        coming = sum(self._current(other) is None for other in self._creating - {name})
        return len(self._registry.aliases) + coming >= self._max_aliases

    def _current(self, name: str) -> ModelAlias | None:
        record = self._registry.aliases.get(name)
        return record.message if record is not None else None

    async def _commit(
        self,
        name: str,
        change: Operation,
        before: ModelAlias | None,
        after: ModelAlias | None,
        author: Author,
    ) -> int | None:
        """The revision of the change; None where somebody else was faster."""
        key = alias_key(name)
        audit = author.operations(key, _state(before), _state(after))
        written_at = revision_of_etag(before.etag) if before is not None else 0
        try:
            return await self._store.commit([change, *audit], [Expect(key, written_at or 0)])
        except PreconditionFailed:
            return None
        except StoreError as error:
            raise StoreUnavailable(f"the store did not take the change: {error}") from error


def _require_etag(name: str, current: ModelAlias | None, etag: str) -> None:
    if etag and (current is None or etag != current.etag):
        raise EtagMismatch(
            f"alias {name} has changed since the etag was read",
            metadata={"name": name, "etag": current.etag if current is not None else ""},
        )


def _durable(alias: ModelAlias) -> ModelAlias:
    durable = ModelAlias()
    durable.CopyFrom(alias)
    durable.ClearField("etag")
    return durable


def _state(alias: ModelAlias | None) -> AuditState | None:
    return AuditState(model_alias=_durable(alias)) if alias is not None else None
