"""Wakes watchers when there is something for them: the shell around `hub.registry.segments`.

The registry calls one listener however many watch. Resource reports may come
20,000 times a second, so the listener does next to nothing: it makes sure that
a wake-up is on its way. Watchers that are woken together read together, and
find what the first of them read in a small cache.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from hub.contract.errors import ShuttingDown
from hub.registry.segments import Interest, Segment, changes
from hub.registry.state import Registry

# A change after silence wakes at once; in a storm, watchers wake once in this time.
_GAP_S: Final = 0.01
# Reports and the bookkeeping of checks wait so long for others to join them.
_WINDOW_S: Final = 0.2
# How exactly timeouts are kept.
_TICK_S: Final = 0.1
_CACHED_SEGMENTS: Final = 16


@dataclass(slots=True, eq=False)
class _Waiter:
    woken: asyncio.Future[None]
    frequent: bool
    deadline: float


@dataclass(slots=True, eq=False)
class Cursor:
    """Where one watcher is.

    Everything up to `revision` was taken from it. `behind_since` is when it found
    that it had something to send, on the loop's clock; None while it has nothing.
    """

    revision: int
    behind_since: float | None


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the slowest watchers are behind; the two numbers may be of two watchers.

    `events` one has yet to be sent, for `seconds` one has had something to send.
    """

    events: int
    seconds: float


class ChangeFeed:
    """Where watchers wait for changes and read them. Needs a running event loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._waiters: set[_Waiter] = set()
        self._cursors: set[Cursor] = set()
        self._segments: OrderedDict[tuple[Interest, int, int], Segment] = OrderedDict()
        self._rung_at = 0.0
        self._rung_event_revision = registry.event_revision
        self._prompt: asyncio.Handle | None = None
        self._relaxed: asyncio.TimerHandle | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._closed = False
        registry.on_change(self._changed)

    def __len__(self) -> int:
        """How many watchers are waiting."""
        return len(self._waiters)

    def close(self) -> None:
        """Ends every watch with ShuttingDown, those that wait and those to come."""
        self._closed = True
        for timer in (self._prompt, self._relaxed, self._tick):
            if timer is not None:
                timer.cancel()
        self._wake(lambda _: True)

    @contextmanager
    def cursor(self, revision: int) -> Iterator[Cursor]:
        """The cursor of a watcher that has yet to be sent something; it counts in the `lag`."""
        cursor = Cursor(revision, asyncio.get_running_loop().time())
        self._cursors.add(cursor)
        try:
            yield cursor
        finally:
            self._cursors.discard(cursor)

    def lag(self) -> Lag:
        """How far the slowest watchers are behind, found by a look at every cursor.

        Nothing is counted as events pass by: each of them passes every watcher.
        """
        if not self._cursors:
            return Lag(0, 0.0)
        now = asyncio.get_running_loop().time()
        last = min(cursor.revision for cursor in self._cursors)
        since = min(
            (each.behind_since for each in self._cursors if each.behind_since is not None),
            default=now,
        )
        return Lag(self._registry.ring.count_after(last), now - since)

    async def next(self, interest: Interest, cursor: Cursor, timeout_s: float) -> None:
        """Waits as `wait` does, and keeps the cursor's time."""
        cursor.behind_since = None
        await self.wait(interest, cursor.revision, timeout_s)
        cursor.behind_since = asyncio.get_running_loop().time()

    def read(self, interest: Interest, after: int) -> Segment:
        """What happened after a revision. Raises Compacted, ShuttingDown."""
        if self._closed:
            raise ShuttingDown("the hub is stopping")
        key = (interest, after, self._registry.revision)
        segment = self._segments.get(key)
        if segment is None:
            segment = self._segments[key] = changes(self._registry, interest, after)
            if len(self._segments) > _CACHED_SEGMENTS:
                self._segments.popitem(last=False)
        return segment

    async def wait(self, interest: Interest, after: int, timeout_s: float) -> None:
        """Returns when there may be something after a revision, or after so many seconds."""
        registry = self._registry
        if self._closed or registry.event_revision > after:
            return
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), interest.frequent, loop.time() + timeout_s)
        self._waiters.add(waiter)
        if interest.frequent and registry.revision > after:
            self._ring_later()
        if self._tick is None:
            self._tick = loop.call_later(_TICK_S, self._wake_overdue)
        try:
            await waiter.woken
        finally:
            self._waiters.discard(waiter)

    def _changed(self) -> None:
        if not self._waiters or self._prompt is not None:
            return
        if self._registry.event_revision != self._rung_event_revision:
            loop = asyncio.get_running_loop()
            due = max(loop.time(), self._rung_at + _GAP_S)
            self._prompt = loop.call_at(due, self._ring_promptly)
        else:
            self._ring_later()

    def _ring_later(self) -> None:
        if self._relaxed is None:
            loop = asyncio.get_running_loop()
            self._relaxed = loop.call_later(_WINDOW_S, self._ring_relaxed)

    def _ring_promptly(self) -> None:
        self._prompt = None
        self._rung_at = asyncio.get_running_loop().time()
        self._rung_event_revision = self._registry.event_revision
        self._wake(lambda _: True)

    def _ring_relaxed(self) -> None:
        self._relaxed = None
        self._wake(lambda waiter: waiter.frequent)

    def _wake_overdue(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._wake(lambda waiter: waiter.deadline <= now)
        self._tick = loop.call_later(_TICK_S, self._wake_overdue) if self._waiters else None

    def _wake(self, concerns: Callable[[_Waiter], bool]) -> None:
        for waiter in self._waiters:
            if concerns(waiter) and not waiter.woken.done():
                waiter.woken.set_result(None)
