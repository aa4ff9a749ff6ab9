"""The latest value of each key, in the order of changes, each with a deadline.

Host resources change far more often than they are read. A reader asks for the changes
after a revision and gets the newest value of each key, however often the key changed in
between.
"""

import sys
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from hub.registry.history.ring import Compacted

V = TypeVar("V")

FOREVER_MS: Final = 2**62
"""The `ttl_ms` of values that do not expire."""


class Latest(NamedTuple, Generic[V]):
    """The newest state of a key; `value` is None after its deletion."""

    key: str
    revision: int
    value: V | None


class LatestLog(Generic[V]):
    """Live values and a bounded number of tombstones, both oldest first.

    Every value lives for `ttl_ms` after its last `put`. So the order of changes is also the
    order of expiry, and no timer or sweep is needed: readers call `pop_expired` first.
    """

    def __init__(self, *, ttl_ms: int, tombstones: int, floor: int) -> None:
        self._ttl_ms = ttl_ms
        self._max_tombstones = tombstones
        self._floor = floor
        self._live: OrderedDict[str, tuple[int, int, V]] = OrderedDict()
        self._dead: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def put(self, key: str, value: V, revision: int, now_ms: int) -> None:
        """Sets the value of a key and restarts its time to live."""
        self._dead.pop(key, None)
        self._live[key] = (revision, now_ms + self._ttl_ms, value)
        self._live.move_to_end(key)

    def get(self, key: str) -> V | None:
        """The value of a key, or None."""
        entry = self._live.get(key)
        return entry[2] if entry is not None else None

    def items(self) -> Iterator[tuple[str, V]]:
        """All keys with their values, oldest change first."""
        return ((key, entry[2]) for key, entry in self._live.items())

    def next_deadline_ms(self) -> int | None:
        """When the next value expires, or None."""
        for _, deadline, _ in self._live.values():
            return deadline
        return None

    def pop_expired(self, now_ms: int) -> str | None:
        """Removes and returns one expired key, or None.

        The caller must then record the removal with `bury`.
        """
        for key, (_, deadline, _) in self._live.items():
            if deadline > now_ms:
                return None
            del self._live[key]
            return key
        return None

    def remove(self, key: str, revision: int) -> bool:
        """Removes a key at a revision; False if it was not there."""
        if self._live.pop(key, None) is None:
            return False
        self.bury(key, revision)
        return True

    def drop(self, key: str) -> bool:
        """Removes a key without a tombstone, unseen by readers. False if it was not there."""
        return self._live.pop(key, None) is not None

    def bury(self, key: str, revision: int) -> None:
        """Records that a key was removed at a revision."""
        self._dead[key] = revision
        if len(self._dead) > self._max_tombstones:
            self._floor = self._dead.popitem(last=False)[1]

    def after(self, revision: int, limit: int = sys.maxsize) -> list[Latest[V]]:
        """The newest state of each key that changed after `revision`, oldest first.

        Returns at most the `limit` oldest of them. Raises Compacted if a removal after
        `revision` is already forgotten.
        """
        if revision < self._floor:
            raise Compacted(f"revision {revision} is before {self._floor}")
        changed: list[Latest[V]] = []
        for key in reversed(self._live):
            changed_at, _, value = self._live[key]
            if changed_at <= revision:
                break
            changed.append(Latest(key, changed_at, value))
        changed.reverse()
        live = len(changed)
        for key in reversed(self._dead):
            removed_at = self._dead[key]
            if removed_at <= revision:
                break
            changed.append(Latest(key, removed_at, None))
        if len(changed) > live:
            changed.sort(key=lambda latest: latest.revision)
        del changed[limit:]
        return changed
