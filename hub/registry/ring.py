"""A bounded history: one ring, any number of cursors.

A watcher is nothing but a number, the revision up to which it has seen
everything. A slow watcher therefore costs nothing, and one that falls behind
the ring is told so instead of missing something in silence.
"""

from bisect import bisect_right
from typing import Generic, TypeVar

T = TypeVar("T")


class Compacted(Exception):
    """The history after the asked revision is no longer, or not yet, there."""


class Ring(Generic[T]):
    """The last `capacity` items, each under its revision.

    Revisions grow strictly from item to item but need not be contiguous.
    Invariant: everything that happened after `floor` is in the ring.
    """

    def __init__(self, capacity: int, floor: int) -> None:
        if capacity < 1:
            raise ValueError("a ring needs room for one item at least")
        self._capacity = capacity
        self._floor = floor
        self._last = floor
        self._revisions: list[int] = []
        self._items: list[T] = []
        # The lists are cut only when half of them is history, so that an
        # append moves no more than one element on average.
        self._start = 0

    def __len__(self) -> int:
        return len(self._items) - self._start

    @property
    def floor(self) -> int:
        """The smallest revision that a cursor may have."""
        return self._floor

    def append(self, revision: int, item: T) -> None:
        """Adds an item; the oldest goes when the ring is full.

        Raises ValueError when `revision` is not greater than the last one.
        """
        if revision <= self._last:
            raise ValueError(f"revision {revision} does not follow {self._last}")
        self._last = revision
        self._revisions.append(revision)
        self._items.append(item)
        if len(self) > self._capacity:
            self._floor = self._revisions[self._start]
            self._start += 1
            if self._start >= self._capacity:
                del self._revisions[: self._start]
                del self._items[: self._start]
                self._start = 0

    def after(self, revision: int, limit: int) -> list[T]:
        """At most `limit` items after `revision`, oldest first.

        Raises Compacted when the ring no longer has all of them.
        """
        if revision < self._floor:
            raise Compacted(f"revision {revision} is before {self._floor}")
        first = bisect_right(self._revisions, revision, lo=self._start)
        return self._items[first : first + limit]
