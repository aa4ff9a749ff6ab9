"""When each endpoint is probed next, and which of the due ones may start now.

Pure: no loop, no clock; the time is an argument, in epoch milliseconds. One heap
orders what is to come. What is due queues in a lane, each with a limit of its own:

    ASKED     a caller waits for this one probe
    LIVE      the last probe succeeded
    DOUBTFUL  the last probe failed, or there was none

so that endpoints that hang queue among themselves and take no slot from those
that answer. Endpoints that were never asked come to their lane at a steady pace, at
which the whole fleet is asked within an interval: registering thousands at once
makes no burst of probes. An endpoint that begins to hang is noticed by the time its probe
takes: after `demote_after_ms` the probe is counted as DOUBTFUL.
"""

import heapq
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from random import Random


class Lane(Enum):
    """A queue of due probes with a limit of its own; in the order they are served."""

    ASKED = "asked"
    LIVE = "live"
    DOUBTFUL = "doubtful"


@dataclass(slots=True, eq=False)
class Run:
    """One probe in flight. It holds a slot of its lane until `Schedule.finish`."""

    id: str
    host: str
    lane: Lane
    due_ms: int
    started_ms: int
    ticket: int

    @property
    def lateness_ms(self) -> int:
        """How long after its time the probe started."""
        return max(0, self.started_ms - self.due_ms)


@dataclass(slots=True, eq=False)
class _Entry:
    host: str
    due_ms: int
    # The ticket of the one heap or queue item that counts; all others are stale.
    ticket: int
    proven: bool = False
    asked: bool = False
    run: Run | None = None


# So many that were never asked come at once, after a time without any.
_FRESH_AT_ONCE = 32
# More than the whole fleet in an interval, so that those who wait get fewer.
_FRESH_SURPLUS = 1.25


@dataclass(slots=True, eq=False)
class _Queue:
    limit: int
    running: int = 0
    ready: deque[tuple[int, str, str]] = field(default_factory=deque)
    host_running: dict[str, int] = field(default_factory=dict)
    # Due, but their host is at its limit: they wait apart, so that no scan meets them.
    parked: dict[str, deque[tuple[int, str, str]]] = field(default_factory=dict)


class Schedule:
    """The order of probes; see the module."""

    def __init__(
        self,
        *,
        interval_ms: int,
        jitter: float,
        limits: Mapping[Lane, int],
        per_host: int,
        demote_after_ms: int,
        random: Random,
        fresh_per_s: float,
    ) -> None:
        """`fresh_per_s` never probed endpoints start per second, or more in a large fleet."""
        self._interval_ms = interval_ms
        self._jitter = jitter
        self._per_host = per_host
        self._demote_after_ms = demote_after_ms
        self._random = random
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._queues = {lane: _Queue(limits[lane]) for lane in Lane}
        self._live_runs: dict[Run, None] = {}
        # Due and never asked: they come to the lane a few at a time.
        self._fresh: deque[tuple[int, str, str]] = deque()
        self._fresh_per_s = fresh_per_s
        self._fresh_credit = float(_FRESH_AT_ONCE)
        self._fresh_credited_ms = 0
        self._tickets = 0

    def __len__(self) -> int:
        """How many endpoints are scheduled."""
        return len(self._entries)

    def running(self, lane: Lane) -> int:
        """How many probes of the lane are in flight."""
        return self._queues[lane].running

    def queued(self, lane: Lane) -> int:
        """How many due probes wait for a slot of the lane or of their host.

        An upper bound: what was removed since may still be counted.
        """
        queue = self._queues[lane]
        fresh = len(self._fresh) if lane is Lane.DOUBTFUL else 0
        return fresh + len(queue.ready) + sum(map(len, queue.parked.values()))

    def add(self, id_: str, host: str, now_ms: int, *, spread: bool) -> None:
        """Schedules an endpoint again: now, or at a random time within the next interval.

        A run of it that is in flight is forgotten: its `finish` returns None.
        """
        delay_ms = int(self._random.random() * self._interval_ms) if spread else 0
        self._entries[id_] = _Entry(host, now_ms + delay_ms, ticket=0)
        self._push(id_)

    def remove(self, id_: str) -> None:
        """Forgets an endpoint; one in flight keeps its slot until `finish`."""
        self._entries.pop(id_, None)

    def ask(self, id_: str, now_ms: int) -> None:
        """Makes an endpoint due now on the ASKED lane, unless it is in flight."""
        entry = self._entries[id_]
        if entry.run is None:
            entry.due_ms = now_ms
            self._queues[Lane.ASKED].ready.append((self._new_ticket(entry), id_, entry.host))

    def start(self, now_ms: int, limit: int) -> list[Run]:
        """Returns the probes to start now, at most `limit`; each must be finished."""
        while self._heap and self._heap[0][0] <= now_ms:
            _, ticket, id_ = heapq.heappop(self._heap)
            if (entry := self._current(id_, ticket)) is not None:
                item = (ticket, id_, entry.host)
                if entry.asked:
                    lane = Lane.LIVE if entry.proven else Lane.DOUBTFUL
                    self._queues[lane].ready.append(item)
                else:
                    self._fresh.append(item)
        self._admit_fresh(now_ms)
        if self._queues[Lane.LIVE].ready or self._queues[Lane.LIVE].parked:
            self._demote(now_ms)
        started: list[Run] = []
        for lane, queue in self._queues.items():
            while queue.ready and queue.running < queue.limit and len(started) < limit:
                item = queue.ready.popleft()
                ticket, id_, host = item
                if (entry := self._current(id_, ticket)) is None:
                    # Another of its host may have been left parked for its sake.
                    self._unpark(queue, host)
                    continue
                if queue.host_running.get(host, 0) >= self._per_host:
                    queue.parked.setdefault(host, deque()).append(item)
                    continue
                entry.run = Run(id_, entry.host, lane, entry.due_ms, now_ms, ticket)
                self._occupy(entry.run, lane)
                started.append(entry.run)
        return started

    def finish(
        self,
        run: Run,
        now_ms: int,
        *,
        ok: bool,
        not_before_ms: int = 0,
        not_after_ms: int | None = None,
    ) -> int | None:
        """Frees the run's slot and returns when the endpoint is due next.

        None if the endpoint was removed or scheduled again meanwhile. The next
        time counts from the start of this run, so that slow answers do not
        stretch the interval; what is late is not caught up.
        """
        self._vacate(run)
        entry = self._entries.get(run.id)
        if entry is None or entry.run is not run:
            return None
        entry.run = None
        entry.proven = ok
        entry.asked = True
        factor = 1.0 + self._jitter * self._random.uniform(-1.0, 1.0)
        due_ms = run.started_ms + int(self._interval_ms * factor)
        if not_after_ms is not None:
            due_ms = min(due_ms, not_after_ms)
        entry.due_ms = max(due_ms, not_before_ms, now_ms)
        self._push(run.id)
        return entry.due_ms

    def next_wake_ms(self, now_ms: int) -> int | None:
        """When `start` may next have something to return, if nothing else happens.

        None: only after a `finish`, `add` or `ask`.
        """
        times = [self._heap[0][0]] if self._heap else []
        if self._fresh:
            missing = max(0.0, 1.0 - self._fresh_credit)
            times.append(max(now_ms, self._fresh_credited_ms + math.ceil(missing / self._pace())))
        live = self._queues[Lane.LIVE]
        if live.ready or live.parked:
            for run in self._live_runs:
                demotable_ms = run.started_ms + self._demote_after_ms
                if demotable_ms > now_ms:
                    times.append(demotable_ms)
                    break
        return min(times, default=None)

    def _pace(self) -> float:
        """How many endpoints that were never asked come in a millisecond."""
        whole_fleet = len(self._entries) / self._interval_ms * _FRESH_SURPLUS
        return max(self._fresh_per_s / 1000, whole_fleet)

    def _admit_fresh(self, now_ms: int) -> None:
        earned = max(0, now_ms - self._fresh_credited_ms) * self._pace()
        self._fresh_credit = min(_FRESH_AT_ONCE, self._fresh_credit + earned)
        self._fresh_credited_ms = now_ms
        while self._fresh and self._fresh_credit >= 1:
            item = self._fresh.popleft()
            if self._current(item[1], item[0]) is not None:
                self._queues[Lane.DOUBTFUL].ready.append(item)
                self._fresh_credit -= 1

    def _demote(self, now_ms: int) -> None:
        doubtful = self._queues[Lane.DOUBTFUL]
        for run in list(self._live_runs):
            if run.started_ms + self._demote_after_ms > now_ms:
                return
            if doubtful.running >= doubtful.limit:
                return
            if doubtful.host_running.get(run.host, 0) < self._per_host:
                self._vacate(run)
                self._occupy(run, Lane.DOUBTFUL)

    def _occupy(self, run: Run, lane: Lane) -> None:
        queue = self._queues[lane]
        run.lane = lane
        queue.running += 1
        queue.host_running[run.host] = queue.host_running.get(run.host, 0) + 1
        if lane is Lane.LIVE:
            self._live_runs[run] = None

    def _vacate(self, run: Run) -> None:
        queue = self._queues[run.lane]
        queue.running -= 1
        left = queue.host_running[run.host] - 1
        if left:
            queue.host_running[run.host] = left
        else:
            del queue.host_running[run.host]
        self._live_runs.pop(run, None)
        self._unpark(queue, run.host)

    def _unpark(self, queue: _Queue, host: str) -> None:
        parked = queue.parked.get(host)
        while parked:
            item = parked.popleft()
            if self._current(item[1], item[0]) is not None:
                queue.ready.appendleft(item)
                break
        if parked is not None and not parked:
            del queue.parked[host]

    def _current(self, id_: str, ticket: int) -> _Entry | None:
        entry = self._entries.get(id_)
        return entry if entry is not None and entry.ticket == ticket else None

    def _new_ticket(self, entry: _Entry) -> int:
        self._tickets += 1
        entry.ticket = self._tickets
        return entry.ticket

    def _push(self, id_: str) -> None:
        entry = self._entries[id_]
        heapq.heappush(self._heap, (entry.due_ms, self._new_ticket(entry), id_))
        # Stale items stay until their time comes; churn must not let them pile up.
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [item for item in self._heap if self._current(item[2], item[1])]
            heapq.heapify(self._heap)
