"""Model aliases: written to the store, and applied to the registry from there.

A selection resolves them in `hub.service.handlers.select_endpoint`.
"""

from typing import Final

from google.protobuf.message import DecodeError

from hub.base.timestamps import to_timestamp
from hub.contract.errors import AliasNotFound, EtagMismatch, LimitReached
from hub.registry.state import Registry
from hub.service.changes.audit_trail import Author
from hub.service.changes.commits import Commits, Decision
from hub.service.records import alias_key, damaged_record, etag_of, name_of, revision_of_etag
from hub.stores.store import Delete, Entry, Expect, Put
from llmhub.v1.audit_pb2 import AuditState
from llmhub.v1.model_alias_pb2 import ModelAlias

MAX_ALIASES: Final = 10_000


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

    def __init__(
        self, commits: Commits, registry: Registry, *, max_aliases: int = MAX_ALIASES
    ) -> None:
        self._commits = commits
        self._registry = registry
        self._max_aliases = max_aliases
        self._creating: set[str] = set()

    async def set(self, wanted: ModelAlias, author: Author) -> ModelAlias:
        """Creates or replaces an alias; returns it as it is now.

        Raises EtagMismatch, LimitReached, StoreUnavailable.
        """
        alias = _durable(wanted)
        alias.updated_at.CopyFrom(to_timestamp(author.now_ms))
        put = Put(alias_key(alias.name), alias.SerializeToString(deterministic=True))

        def decide() -> Decision:
            current = self._current(alias.name)
            _require_etag(alias.name, current, wanted.etag)
            if current is None and self._is_full_for(alias.name):
                raise LimitReached(f"there are {self._max_aliases} aliases already")
            self._creating.add(alias.name)
            return _decision(put, current, alias, author)

        try:
            revision = await self._commits.change(f"alias {alias.name}", decide)
        finally:
            self._creating.discard(alias.name)
        assert revision is not None
        alias.etag = etag_of(revision)
        return alias

    async def remove(self, name: str, etag: str, author: Author) -> None:
        """Removes an alias. Raises AliasNotFound, EtagMismatch, StoreUnavailable."""

        def decide() -> Decision:
            current = self._current(name)
            if current is None:
                raise AliasNotFound(f"there is no alias {name}", metadata={"name": name})
            _require_etag(name, current, etag)
            return _decision(Delete(alias_key(name)), current, None, author)

        await self._commits.change(f"alias {name}", decide)

    def _is_full_for(self, name: str) -> bool:
        """Whether there is no room for it, counting the other aliases that are being written."""
        coming = sum(self._current(other) is None for other in self._creating - {name})
        return len(self._registry.aliases) + coming >= self._max_aliases

    def _current(self, name: str) -> ModelAlias | None:
        record = self._registry.aliases.get(name)
        return record.message if record is not None else None


def _decision(
    change: Put | Delete, before: ModelAlias | None, after: ModelAlias | None, author: Author
) -> Decision:
    """The change with its audit event; it expects the alias to be as it was before."""
    audit = author.operations(change.key, _state(before), _state(after))
    written_at = revision_of_etag(before.etag) if before is not None else 0
    return Decision([change, *audit], Expect(change.key, written_at or 0))


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
