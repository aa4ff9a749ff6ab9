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
    """The last `capacity` items, each under its revision, and of `max_bytes` together.

    Revisions grow strictly from item to item but need not be contiguous.
    Invariant: everything that happened after `floor` is in the ring.
    """

    def __init__(self, capacity: int, floor: int, *, max_bytes: int) -> None:
        if capacity < 1:
            raise ValueError("a ring needs room for one item at least")
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._floor = floor
        self._last = floor
        self._revisions: list[int] = []
        self._items: list[T | None] = []
        self._sizes: list[int] = []
        # The lists are cut only when half of them is history, so that an
        # append moves few elements on average.
        self._start = 0

    def __len__(self) -> int:
        return len(self._items) - self._start

    @property
    def floor(self) -> int:
        """The smallest revision that a cursor may have."""
        return self._floor

    @property
    def capacity(self) -> int:
        """The most items it keeps."""
        return self._capacity

    def append(self, revision: int, item: T, size: int) -> None:
        """Adds an item of `size` bytes; the oldest go when the ring is full.

        The item itself stays, however large. Raises ValueError when `revision` is
        not greater than the last one.
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

    def _forget_oldest(self) -> None:
        self._floor = self._revisions[self._start]
        self._bytes -= self._sizes[self._start]
        # Its place is cut off later, its memory is wanted now.
        self._items[self._start] = None
        self._start += 1
        if self._start * 2 > len(self._items):
            del self._revisions[: self._start]
            del self._items[: self._start]
            del self._sizes[: self._start]
            self._start = 0

    def after(self, revision: int, limit: int) -> list[T]:
        """At most `limit` items after `revision`, oldest first.

        Raises Compacted when the ring no longer has all of them.
        """
        if revision < self._floor:
            raise Compacted(f"revision {revision} is before {self._floor}")
        first = self._first_after(revision)
        return [item for item in self._items[first : first + limit] if item is not None]

    def count_after(self, revision: int) -> int:
        """How many items after `revision` it has, whether or not others are gone already."""
        return len(self._revisions) - self._first_after(revision)

    def _first_after(self, revision: int) -> int:
        return bisect_right(self._revisions, revision, lo=self._start)
