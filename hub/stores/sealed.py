"""A store whose secrets are encrypted: sealed on their way in, opened on their way out.

What is above it sees plain values, what is below it only sealed ones, whichever engine that
is. The record `keys/current` names the key that seals, for hubs that share the store.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import structlog

from hub.stores.keyring import Keyring, KeySource, key_of
from hub.stores.store import (
    Change,
    ChangeListener,
    Contents,
    Entry,
    Expect,
    Operation,
    PreconditionFailed,
    Put,
    Store,
    StoreError,
)

log = structlog.get_logger()

CURRENT: Final = "keys/current"
_SECRETS: Final = "secrets/"
_KEYS: Final = "keys/"


class SealedStore:
    """A `Store` around another one."""

    def __init__(self, engine: Store, source: KeySource) -> None:
        self._engine = engine
        self._source = source
        self._keyring: Keyring | None = None
        # The secrets as the engine holds them, to be sealed again with another key.
        self._sealed: dict[str, Entry] = {}
        # Those of another hub that no key opened: the listener does not have them.
        self._unopened: dict[str, Entry] = {}
        self._current: Entry | None = None
        self._listener: ChangeListener = lambda _: None

    @property
    def kind(self) -> str:
        """See `Store`."""
        return self._engine.kind

    @property
    def waiting(self) -> int:
        """See `Store`."""
        return self._engine.waiting

    @property
    def out_of_touch_s(self) -> float:
        """See `Store`."""
        return self._engine.out_of_touch_s

    async def open(self, listener: ChangeListener) -> Contents:
        """See `Store`. Also raises StoreError for what no key of the ring opens."""
        keyring = self._keyring = self._source.read()
        self._listener = listener
        contents = await self._engine.open(lambda change: listener(self._opened(change)))
        for entry in contents.entries:
            self._note(entry)
        needed = self._needed()
        is_here = needed is None or (keyring is not None and needed in keyring)
        # A copy of a file without secrets is of use to any hub. A shared store is another
        # hub's too, which would have no use for secrets that this one writes.
        if not is_here and (self._sealed or self.kind != "sqlite"):
            raise StoreError(
                f"the store's secrets are encrypted with the key {needed},"
                f" and {self._source.path} does not hold it: copy the key ring of the hub that"
                " wrote them, and name it in secrets.key_file"
            )
        if keyring is None:
            # Not before: a new ring in the place of a lost one would pass for it in backups.
            self._keyring = self._source.load()
        entries = tuple(
            self._plain(entry) for entry in contents.entries if not entry.key.startswith(_KEYS)
        )
        return replace(contents, entries=entries)

    async def commit(self, operations: Sequence[Operation], expect: Sequence[Expect] = ()) -> int:
        """See `Store`."""
        return await self._engine.commit([self._closed(each) for each in operations], expect)

    async def next_incarnation(self, at_least: int) -> int:
        """See `Store`."""
        return await self._engine.next_incarnation(at_least)

    async def close(self) -> None:
        """See `Store`."""
        await self._engine.close()

    def reload(self) -> None:
        """Reads the key ring again; raises StoreError if that fails, and then changes nothing.

        The listener gets the secrets that no key opened before, as one change at the revision
        of the newest of them.
        """
        keyring = self._source.read()
        if keyring is None or self._ring().current not in keyring:
            raise StoreError(
                f"{self._source.path} no longer holds the key {self._ring().current}, with which"
                " secrets are encrypted: put it back"
            )
        self._keyring = keyring
        if not self._unopened:
            return
        unopened, self._unopened = self._unopened, {}
        found = tuple(self._opened_puts(unopened.values()))
        if found:
            log.info("secrets can be used again", records=len(found))
            self._listener(Change(max(entry.revision for entry in found), found, ()))

    async def reseal(self) -> bool:
        """Seals with the current key what is not; returns whether anything was plain before.

        Called after `open` and after `reload`; does nothing if all is sealed so. A record that
        another hub changes meanwhile is left to that hub, and so is one that no key opens.
        Raises StoreError.
        """
        current = self._ring().current
        named = self._current.value.decode() if self._current is not None else None
        if named is not None and named not in self._ring() and self.kind != "sqlite":
            log.warning("another hub encrypts secrets with a key that is not here", key_id=named)
        elif named != current:
            revision = self._current.revision if self._current is not None else 0
            try:
                put = Put(CURRENT, current.encode())
                await self._engine.commit([put], [Expect(CURRENT, revision)])
            except PreconditionFailed:
                # Another hub has named its key. The next start checks that this one has it.
                log.warning("another hub has changed the key of the store's secrets")
        outdated = [
            entry
            for key, entry in self._sealed.items()
            if key_of(entry.value) != current and key not in self._unopened
        ]
        for entry in outdated:
            value = self._plain(entry).value
            put = Put(entry.key, self._ring().seal(entry.key, value))
            with contextlib.suppress(PreconditionFailed):
                await self._engine.commit([put], [Expect(entry.key, entry.revision)])
        if outdated:
            log.info("secrets encrypted", records=len(outdated), key_id=current)
        return any(key_of(entry.value) is None for entry in outdated)

    def _ring(self) -> Keyring:
        if self._keyring is None:
            raise StoreError("the store is not open")
        return self._keyring

    def _needed(self) -> str | None:
        """The id of the key that the store's secrets are encrypted with; None if there is none."""
        if self._current is not None:
            return self._current.value.decode()
        # The hub may have ended before it named its key.
        return next(filter(None, (key_of(entry.value) for entry in self._sealed.values())), None)

    def _note(self, entry: Entry) -> None:
        """Remembers what the engine holds."""
        if entry.key == CURRENT:
            self._current = entry
        elif entry.key.startswith(_SECRETS):
            self._sealed[entry.key] = entry

    def _closed(self, operation: Operation) -> Operation:
        if isinstance(operation, Put) and operation.key.startswith(_SECRETS):
            return Put(operation.key, self._ring().seal(operation.key, operation.value))
        return operation

    def _plain(self, entry: Entry) -> Entry:
        if not entry.key.startswith(_SECRETS):
            return entry
        return Entry(entry.key, self._ring().open(entry.key, entry.value), entry.revision)

    def _opened(self, change: Change) -> Change:
        for entry in change.puts:
            self._note(entry)
            self._unopened.pop(entry.key, None)
        for key in change.deletes:
            self._sealed.pop(key, None)
            self._unopened.pop(key, None)
        return Change(change.revision, tuple(self._opened_puts(change.puts)), change.deletes)

    def _opened_puts(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries with plain values; keeps those that no key opens for a later key ring."""
        for entry in entries:
            if entry.key.startswith(_KEYS):
                continue
            try:
                yield self._plain(entry)
            except StoreError as error:
                # Of another hub with another key. All else of the change is good.
                self._unopened[entry.key] = entry
                log.warning("a secret cannot be used until its key is here", why=str(error))
