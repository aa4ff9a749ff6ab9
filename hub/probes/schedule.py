"""When each endpoint is probed next, and which of the due ones may start now.

Pure: no loop, no clock; the time is an argument, in epoch milliseconds. A heap orders
future probes. Due probes queue in lanes, each with a limit of its own:

    ASKED     a caller waits for this probe
    CONFIRM   the last probe failed and is repeated, or a sidecar reports a change
    LIVE      the last probe succeeded
    DOUBTFUL  the last probe failed, or there was none

Endpoints that hang queue among themselves and take no slots from those that answer.
Endpoints that were never probed enter their lane at a steady pace, at which the whole
fleet is probed within an interval: registering thousands at once causes no burst of
probes. An endpoint that begins to hang shows by the duration of its probe: after
`demote_after_ms` the probe counts as DOUBTFUL.

A failed probe is repeated after 1 to 1.5 s until the endpoint has failed often enough to
be unhealthy. The repeats of the whole fleet have a pace of their own, at most a quarter of
its regular probes: if everything fails at once, most endpoints wait for their regular
time. In a small fleet a first failure also brings some other endpoints forward, called
witnesses: only their answers show whether the server is down or the hub's own network is.
"""

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from hub.probes.lanes import Lane, LaneQueue, Run, Waiting
from hub.probes.pace import Pace


@dataclass(slots=True, eq=False)
class _Entry:
    host: str
    due_ms: int
    # The ticket of its only valid item in the heap or a queue; all others are stale.
    ticket: int
    # Its next probe comes at a random time, because it was first probed with many others.
    spread: bool
    proven: bool = False
    asked: bool = False
    # Failed probes since the last success.
    misses: int = 0
    confirming: bool = False
    # A sidecar has reported a change while the probe was in flight.
    hastened: bool = False
    # When a witness would have been due; its later probes keep to that rhythm.
    resume_ms: int = 0
    started_ms: int = 0
    run: Run | None = None


# The maximum burst of endpoints that were never probed, after a pause.
_FRESH_AT_ONCE = 32
# More than the whole fleet per interval, so that the number of waiting endpoints shrinks.
_FRESH_SURPLUS = 1.25
# An endpoint that waited longer than this for its first probe was added with many others.
_HAS_WAITED_MS = 100

_REPEAT_AFTER_MS = 1_000
_REPEAT_JITTER_MS = 500
_REPEATS_AT_ONCE = 32
# The pace of repeats: a share of the fleet's regular probes, or this many per second.
_REPEAT_SHARE = 0.25
_REPEATS_PER_S = 8

# A round of witnesses is probed after the failure and before its repeat.
_WITNESSES = 4
_WITNESS_WITHIN_MS = 250
_WITNESS_ROUND_MS = 500


class Schedule:
    """The order of probes; see the docstring of the module."""

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
        start_per_s: float,
        unhealthy_after: int,
    ) -> None:
        """`fresh_per_s` never-probed endpoints start per second, or more in a large fleet.

        `start_per_s` is the pace of those that were added with `spread`.
        `unhealthy_after` is the number of failures in a row that make an endpoint unhealthy.
        """
        self._interval_ms = interval_ms
        self._jitter = jitter
        self._demote_after_ms = demote_after_ms
        self._random = random
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._queues = {lane: LaneQueue(limits[lane], per_host) for lane in Lane}
        self._live_runs: dict[Run, None] = {}
        # Due but never probed: they enter the lane a few at a time.
        self._fresh: deque[Waiting] = deque()
        self._fresh_per_s = fresh_per_s
        self._start_per_s = start_per_s
        self._fresh_pace = Pace(_FRESH_AT_ONCE)
        self._unhealthy_after = unhealthy_after
        self._repeat_pace = Pace(_REPEATS_AT_ONCE)
        self._witnessed_ms = 0
        self._witnesses_wanted = False
        self._tickets = 0

    def __len__(self) -> int:
        """The number of scheduled endpoints."""
        return len(self._entries)

    def running(self, lane: Lane) -> int:
        """The number of the lane's probes in flight."""
        return self._queues[lane].running

    def queued(self, lane: Lane) -> int:
        """The number of due probes that wait for a slot of the lane or of their host.

        It is an upper bound: removed endpoints may still be counted.
        """
        fresh = len(self._fresh) if lane is Lane.DOUBTFUL else 0
        return fresh + self._queues[lane].waiting()

    def add(self, id_: str, host: str, now_ms: int, *, spread: bool) -> None:
        """Schedules an endpoint, or schedules it again, at the pace of those never probed.

        With `spread`, the probe after its first success comes at a random time within the
        interval, so that endpoints that were added together are spread out. Its probe in
        flight, if any, is forgotten: `finish` then returns None.
        """
        self._entries[id_] = _Entry(host, now_ms, ticket=0, spread=spread)
        self._push(id_)

    def remove(self, id_: str) -> None:
        """Forgets an endpoint; its probe in flight keeps the slot until `finish`."""
        self._entries.pop(id_, None)

    def ask(self, id_: str, now_ms: int) -> None:
        """Makes an endpoint due now in the ASKED lane, unless it is in flight."""
        entry = self._entries[id_]
        if entry.run is None:
            entry.due_ms = now_ms
            self._queues[Lane.ASKED].ready.append((self._new_ticket(entry), id_, entry.host))

    def hasten(self, id_: str, now_ms: int) -> None:
        """Makes an endpoint due now in the CONFIRM lane.

        If it is in flight, it is probed once more afterwards: the probe may have begun
        before the change that a sidecar reports.
        """
        entry = self._entries[id_]
        if not entry.asked:
            # It is about to be probed anyway, at the pace of those never probed.
            return
        if entry.run is not None:
            entry.hastened = True
        elif not (entry.confirming and entry.due_ms <= now_ms):
            entry.due_ms = now_ms
            entry.confirming = True
            self._push(id_)

    def start(self, now_ms: int, limit: int) -> list[Run]:
        """Returns the probes to start now, at most `limit`; each must be finished."""
        if self._witnesses_wanted and now_ms >= self._witnessed_ms + _WITNESS_ROUND_MS:
            self._call_witnesses(now_ms)
        while self._heap and self._heap[0][0] <= now_ms:
            _, ticket, id_ = heapq.heappop(self._heap)
            if (entry := self._current(id_, ticket)) is not None:
                item = (ticket, id_, entry.host)
                if entry.confirming:
                    self._queues[Lane.CONFIRM].ready.append(item)
                elif entry.asked:
                    lane = Lane.LIVE if entry.proven else Lane.DOUBTFUL
                    self._queues[lane].ready.append(item)
                else:
                    self._fresh.append(item)
        self._admit_fresh(now_ms)
        if self._queues[Lane.LIVE].is_waited_for:
            self._demote(now_ms)
        started: list[Run] = []
        for lane, queue in self._queues.items():
            while queue.ready and not queue.is_full and len(started) < limit:
                item = queue.ready.popleft()
                ticket, id_, host = item
                if (entry := self._current(id_, ticket)) is None:
                    # Another endpoint of the host may be parked because of this one.
                    queue.unpark(host, self._is_current)
                    continue
                if not queue.has_room_for(host):
                    queue.park(item)
                    continue
                entry.run = Run(id_, entry.host, lane, entry.due_ms, now_ms, ticket)
                entry.started_ms = now_ms
                self._occupy(entry.run, lane)
                started.append(entry.run)
        return started

    def finish(
        self,
        run: Run,
        now_ms: int,
        *,
        ok: bool | None,
        repeat: bool = True,
        not_before_ms: int = 0,
        not_after_ms: int | None = None,
    ) -> int | None:
        """Frees the run's slot and returns when the endpoint is due next.

        `ok` is None if the probe could not be made, and then nothing else changes. A failed
        probe is repeated soon if `repeat` and the pace allow it. Returns None if the
        endpoint was removed or scheduled again meanwhile. The interval counts from the
        start of this run, so that slow answers do not stretch it. Late probes are not
        made up for.
        """
        self._vacate(run)
        entry = self._entries.get(run.id)
        if entry is None or entry.run is not run:
            return None
        entry.run = None
        due_ms = self._regular_ms(entry)
        if ok and entry.spread:
            entry.spread = False
            due_ms = run.started_ms + int(self._interval_ms * self._random.random())
        if ok is not None:
            if entry.proven and not ok:
                self._witnesses_wanted = not self._has_many_probes()
            entry.proven = ok
            entry.asked = True
            entry.misses = 0 if ok else entry.misses + 1
        entry.confirming = (
            ok is False
            and repeat
            and entry.misses < self._unhealthy_after
            and self._may_repeat(now_ms)
        )
        if entry.confirming:
            wait_ms = _REPEAT_AFTER_MS + int(_REPEAT_JITTER_MS * self._random.random())
            due_ms = min(due_ms, now_ms + wait_ms)
        if entry.hastened:
            entry.hastened, entry.confirming = False, True
            due_ms = now_ms
        if not_after_ms is not None:
            due_ms = min(due_ms, not_after_ms)
        entry.due_ms = max(due_ms, not_before_ms, now_ms)
        self._push(run.id)
        return entry.due_ms

    def next_wake_ms(self, now_ms: int) -> int | None:
        """When `start` may next return something, if nothing else happens.

        None: only after a `finish`, `add` or `ask`.
        """
        times = [self._heap[0][0]] if self._heap else []
        if self._witnesses_wanted:
            times.append(max(now_ms, self._witnessed_ms + _WITNESS_ROUND_MS))
        if self._fresh:
            times.append(max(now_ms, self._fresh_pace.ready_ms(self._fresh_per_ms())))
        if self._queues[Lane.LIVE].is_waited_for:
            for run in self._live_runs:
                demotable_ms = run.started_ms + self._demote_after_ms
                if demotable_ms > now_ms:
                    times.append(demotable_ms)
                    break
        return min(times, default=None)

    def _regular_ms(self, entry: _Entry) -> int:
        factor = 1.0 + self._jitter * self._random.uniform(-1.0, 1.0)
        regular_ms = entry.started_ms + int(self._interval_ms * factor)
        if entry.resume_ms > entry.started_ms:
            regular_ms = min(regular_ms, entry.resume_ms)
        entry.resume_ms = 0
        return regular_ms

    def _may_repeat(self, now_ms: int) -> bool:
        whole_fleet = len(self._entries) / self._interval_ms
        self._repeat_pace.earn(now_ms, max(_REPEATS_PER_S / 1000, whole_fleet * _REPEAT_SHARE))
        return self._repeat_pace.take()

    def _has_many_probes(self) -> bool:
        """Whether as many probes are due within a round anyway."""
        return len(self._entries) * _WITNESS_ROUND_MS >= _WITNESSES * self._interval_ms

    def _call_witnesses(self, now_ms: int) -> None:
        """Brings forward some endpoints that answered."""
        self._witnesses_wanted = False
        self._witnessed_ms = now_ms
        able = [
            id_
            for id_, entry in self._entries.items()
            if entry.proven
            and entry.run is None
            and entry.started_ms <= now_ms - _WITNESS_ROUND_MS
            and entry.due_ms > now_ms + _WITNESS_WITHIN_MS
        ]
        for id_ in self._random.sample(able, min(len(able), _WITNESSES)):
            entry = self._entries[id_]
            entry.resume_ms = entry.due_ms
            entry.due_ms = now_ms + int(_WITNESS_WITHIN_MS * self._random.random())
            self._push(id_)

    def _fresh_per_ms(self) -> float:
        """How many never-probed endpoints start per millisecond."""
        whole_fleet = len(self._entries) / self._interval_ms * _FRESH_SURPLUS
        first = self._entries.get(self._fresh[0][1]) if self._fresh else None
        is_start = first is not None and first.spread
        per_s = self._start_per_s if is_start else self._fresh_per_s
        return max(per_s / 1000, whole_fleet)

    def _admit_fresh(self, now_ms: int) -> None:
        self._fresh_pace.earn(now_ms, self._fresh_per_ms())
        while self._fresh and self._fresh_pace.is_ready:
            item = self._fresh.popleft()
            if (entry := self._current(item[1], item[0])) is not None:
                self._fresh_pace.take()
                entry.spread = entry.spread or now_ms > entry.due_ms + _HAS_WAITED_MS
                self._queues[Lane.DOUBTFUL].ready.append(item)

    def _demote(self, now_ms: int) -> None:
        doubtful = self._queues[Lane.DOUBTFUL]
        for run in list(self._live_runs):
            if run.started_ms + self._demote_after_ms > now_ms:
                return
            if doubtful.is_full:
                return
            if doubtful.has_room_for(run.host):
                self._vacate(run)
                self._occupy(run, Lane.DOUBTFUL)

    def _occupy(self, run: Run, lane: Lane) -> None:
        run.lane = lane
        self._queues[lane].occupy(run.host)
        if lane is Lane.LIVE:
            self._live_runs[run] = None

    def _vacate(self, run: Run) -> None:
        self._live_runs.pop(run, None)
        self._queues[run.lane].vacate(run.host, self._is_current)

    def _is_current(self, item: Waiting) -> bool:
        return self._current(item[1], item[0]) is not None

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
        # Stale items stay until their time comes, so frequent changes could accumulate them.
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [item for item in self._heap if self._current(item[2], item[1])]
            heapq.heapify(self._heap)
