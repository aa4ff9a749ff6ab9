"""A bounded history: one ring, any number of readers. Pure.

A reader is only a number, the revision up to which it has read everything. So a slow
reader costs nothing. One that falls behind the ring gets Compacted, so it never misses
an item without noticing. Readers that maintain a copy of the state use a Follower, which
handles the case of a reader that is too slow.
"""

import sys
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

T = TypeVar("T")


class Compacted(Exception):
    """The history after the requested revision is gone or does not exist yet."""


class Ring(Generic[T]):
    """The last `capacity` items, each under its revision, with at most `max_bytes` in total.

    Revisions increase strictly from item to item; gaps are allowed.
    Invariant: everything that happened after `floor` is in the ring.
    """

    def __init__(self, capacity: int, floor: int, *, max_bytes: int) -> None:
        if capacity < 1:
            raise ValueError("the capacity of a ring must be at least 1")
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._floor = floor
        self._last = floor
        self._revisions: list[int] = []
        self._items: list[T | None] = []
        self._sizes: list[int] = []
        # The lists are cut only when more than half of them is history, so that an append
        # moves few elements on average.
        self._start = 0

    def __len__(self) -> int:
        return len(self._items) - self._start

    @property
    def floor(self) -> int:
        """The smallest revision from which a reader can continue."""
        return self._floor

    @property
    def capacity(self) -> int:
        """The maximum number of items."""
        return self._capacity

    def append(self, revision: int, item: T, size: int) -> None:
        """Adds an item of `size` bytes; a full ring drops its oldest items.

        The new item stays, however large it is. Raises ValueError if `revision` is not
        greater than the last one.
        """
        if revision <= self._last:
            raise ValueError(f"revision {revision} does not follow {self._last}")
        self._last = revision
        self._revisions.append(revision)
        self._items.append(item)
        self._sizes.append(size)
        self._bytes += size
        while len(self) > self._capacity or (self._bytes > self._max_bytes and len(self) > 1):
            self._forget_oldest()

    def clear(self, revision: int) -> None:
        """Drops all items. Only readers that have reached `revision` can continue."""
        for each in (self._revisions, self._items, self._sizes):
            each.clear()
        self._start = self._bytes = 0
        self._floor = self._last = revision

    def _forget_oldest(self) -> None:
        self._floor = self._revisions[self._start]
        self._bytes -= self._sizes[self._start]
        # The list is cut later; the memory of the item is freed now.
        self._items[self._start] = None
        self._start += 1
        if self._start * 2 > len(self._items):
            del self._revisions[: self._start]
            del self._items[: self._start]
            del self._sizes[: self._start]
            self._start = 0

    def after(self, revision: int, limit: int) -> list[T]:
        """At most `limit` items after `revision`, oldest first.

        Raises Compacted if the ring no longer has all of them.
        """
        if revision < self._floor:
            raise Compacted(f"revision {revision} is before {self._floor}")
        first = self._first_after(revision)
        return [item for item in self._items[first : first + limit] if item is not None]

    def count_after(self, revision: int) -> int:
        """The number of items after `revision` that the ring still has."""
        return len(self._revisions) - self._first_after(revision)

    def _first_after(self, revision: int) -> int:
        return bisect_right(self._revisions, revision, lo=self._start)


class Revised(Protocol):
    """An item of a history."""

    @property
    def revision(self) -> int:
        """The revision that made the item."""
        ...


R = TypeVar("R", bound=Revised)
R_co = TypeVar("R_co", bound=Revised, covariant=True)


class History(Protocol[R_co]):
    """A `Ring` of items that know their revision, or a `LatestLog`."""

    def after(self, revision: int, limit: int) -> Sequence[R_co]:
        """At most `limit` items after `revision`, oldest first. Raises Compacted."""
        ...


NOTHING_READ: Final = -1
"""The position before every history: such a follower must first read the whole state."""


class Follower(Generic[R]):
    """Reads the items of a history in order.

    `revision` is its position. It has no queue, so a slow follower costs nothing.
    """

    __slots__ = ("_history", "revision")

    def __init__(self, history: History[R], revision: int = NOTHING_READ) -> None:
        self._history = history
        self.revision = revision

    def take(self, limit: int = sys.maxsize) -> Sequence[R] | None:
        """The next items, oldest first; fewer than `limit` if there are no more.

        None if the history no longer has all of them. The reader must then read the whole
        state and call `go_to` with the state's revision. Until then each call returns None,
        so a reader that is interrupted while it reads the state starts again.
        """
        try:
            items = self._history.after(self.revision, limit)
        except Compacted:
            return None
        if items:
            self.revision = items[-1].revision
        return items

    def go_to(self, revision: int) -> None:
        """Continues from `revision` and skips what lies between."""
        self.revision = revision
