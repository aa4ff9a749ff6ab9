"""Wakes watchers when the registry has changed; the asyncio side of `hub.registry.segments`.

The registry calls one listener, however many watchers there are. Resource reports may
arrive 20,000 times per second, so the listener only makes sure that a wake-up is
scheduled. Watchers that wake together read the same segment, which the first of them
puts into a small cache.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hub.contract.errors import RevisionCompacted, ShuttingDown
from hub.registry.history.ring import Compacted
from hub.registry.segments import Interest, Segment, changes
from hub.registry.state import Registry

# The first change wakes watchers at once; in a storm they wake at most once in this time.
_GAP_S: Final = 0.01
# Reports and records of checks are collected for this long before they wake watchers.
_WINDOW_S: Final = 0.2
# The precision of timeouts.
_TICK_S: Final = 0.1
_CACHED_SEGMENTS: Final = 16
_SHARED_INTERESTS: Final = 1_024


@dataclass(slots=True, eq=False)
class _Waiter:
    woken: asyncio.Future[None]
    frequent: bool
    deadline: float


@dataclass(slots=True, eq=False)
class Watcher:
    """One watcher of a feed.

    Everything up to `revision` has been sent to it; the caller advances `revision`.
    `behind_since` is the loop's time since when there has been something to send, or None.
    """

    feed: "ChangeFeed"
    interest: Interest
    revision: int
    behind_since: float | None

    def __enter__(self) -> "Watcher":
        self.feed.add(self)
        return self

    def __exit__(self, *_error: object) -> None:
        self.feed.discard(self)

    def read(self) -> Segment:
        """See `ChangeFeed.read`."""
        return self.feed.read(self.interest, self.revision)

    async def wait(self, timeout_s: float) -> None:
        """See `ChangeFeed.wait`; the watcher is not behind meanwhile."""
        self.behind_since = None
        await self.feed.wait(self.interest, self.revision, timeout_s)
        self.behind_since = asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the slowest watchers are behind; the numbers may come from different watchers.

    One watcher has yet to be sent `events` events, one has been behind for `seconds`.
    """

    events: int
    seconds: float


class ChangeFeed:
    """Where watchers wait for changes and read them. Needs a running event loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._waiters: set[_Waiter] = set()
        self._watchers: set[Watcher] = set()
        self._segments: OrderedDict[tuple[Interest, int, int], Segment] = OrderedDict()
        # The last read, for watchers with the same object as their interest: comparing and
        # hashing interests would cost more than all else that is done for a watcher.
        self._latest: tuple[Interest, int, int, Segment] | None = None
        self._interests: dict[Interest, Interest] = {}
        self._woken_at = 0.0
        self._woken_event_revision = registry.event_revision
        self._prompt: asyncio.Handle | None = None
        self._relaxed: asyncio.TimerHandle | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._closed = False
        self._slowness = 1.0
        registry.on_change(self._changed)

    def __len__(self) -> int:
        """The number of watchers that wait."""
        return len(self._waiters)

    def slow_down(self, factor: float) -> None:
        """Collects changes for that many times as long as usual before watchers wake."""
        self._slowness = factor

    def close(self) -> None:
        """Ends every open watch, and every later one, with ShuttingDown."""
        self._closed = True
        for timer in (self._prompt, self._relaxed, self._tick):
            if timer is not None:
                timer.cancel()
        self._wake(lambda _: True)

    def watching(self, interest: Interest, revision: int) -> Watcher:
        """A watcher that starts at a revision; it counts for `lag` inside its `with` block."""
        if len(self._interests) >= _SHARED_INTERESTS:
            self._interests.clear()
        interest = self._interests.setdefault(interest, interest)
        return Watcher(self, interest, revision, asyncio.get_running_loop().time())

    def add(self, watcher: Watcher) -> None:
        """Counts a watcher for `lag`."""
        self._watchers.add(watcher)

    def discard(self, watcher: Watcher) -> None:
        """Uncounts a watcher that has ended."""
        self._watchers.discard(watcher)
        if not self._watchers:
            self._interests.clear()

    def lag(self) -> Lag:
        """How far the slowest watchers are behind; looks at every watcher.

        Counting at each event would cost more, because each event affects every watcher.
        """
        if not self._watchers:
            return Lag(0, 0.0)
        now = asyncio.get_running_loop().time()
        last = min(each.revision for each in self._watchers)
        since = min(
            (each.behind_since for each in self._watchers if each.behind_since is not None),
            default=now,
        )
        return Lag(self._registry.ring.count_after(last), now - since)

    def read(self, interest: Interest, after: int) -> Segment:
        """The changes after a revision. Raises RevisionCompacted, ShuttingDown."""
        if self._closed:
            raise ShuttingDown("the hub is stopping")
        revision, latest = self._registry.revision, self._latest
        if (
            latest is not None
            and latest[0] is interest
            and latest[1] == after
            and latest[2] == revision
        ):
            return latest[3]
        key = (interest, after, revision)
        segment = self._segments.get(key)
        if segment is None:
            try:
                segment = changes(self._registry, interest, after)
            except Compacted as error:
                raise self._compacted(after, error) from error
            self._segments[key] = segment
            if len(self._segments) > _CACHED_SEGMENTS:
                self._segments.popitem(last=False)
        self._latest = interest, after, revision, segment
        return segment

    def _compacted(self, after: int, error: Compacted) -> RevisionCompacted:
        registry = self._registry
        return RevisionCompacted(
            f"{error}; list again",
            metadata={
                "after_revision": str(after),
                "first_revision": str(registry.first_revision),
                "floor": str(registry.ring.floor),
                "revision": str(registry.revision),
            },
        )

    async def wait(self, interest: Interest, after: int, timeout_s: float) -> None:
        """Returns when there may be a change after a revision, or after `timeout_s` seconds."""
        registry = self._registry
        if self._closed or registry.event_revision > after:
            return
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), interest.frequent, loop.time() + timeout_s)
        self._waiters.add(waiter)
        if interest.frequent and registry.revision > after:
            self._wake_later()
        if self._tick is None:
            self._tick = loop.call_later(_TICK_S, self._wake_overdue)
        try:
            await waiter.woken
        finally:
            self._waiters.discard(waiter)

    def _changed(self) -> None:
        if not self._waiters or self._prompt is not None:
            return
        if self._registry.event_revision != self._woken_event_revision:
            loop = asyncio.get_running_loop()
            due = max(loop.time(), self._woken_at + _GAP_S * self._slowness)
            self._prompt = loop.call_at(due, self._wake_all)
        else:
            self._wake_later()

    def _wake_later(self) -> None:
        if self._relaxed is None:
            loop = asyncio.get_running_loop()
            self._relaxed = loop.call_later(_WINDOW_S * self._slowness, self._wake_frequent)

    def _wake_all(self) -> None:
        self._prompt = None
        self._woken_at = asyncio.get_running_loop().time()
        self._woken_event_revision = self._registry.event_revision
        self._wake(lambda _: True)

    def _wake_frequent(self) -> None:
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
