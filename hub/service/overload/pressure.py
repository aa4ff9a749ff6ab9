"""How overloaded the hub is, decided from readings of itself. Pure: time is an argument.

Each reading is divided by its budget; the greatest quotient is the pressure. A level begins at
its pressure, one level per reading, so that the cheaper steps have time to help. It ends only
after the pressure was well below that for a while, or just below it for longer, one level at a
time. So the hub does not alternate between two levels, and it recovers by itself.

Memory is different: a large fleet takes much of the budget for good, and to refuse work would
not give it back. What counts is growth. The memory that the hub has held for a minute is its
floor, and the pressure is what it takes above that, as a share of the room that is left. So
0.80 means that at the last minute's rate the budget is used up in 15 s, and a hub whose memory
stays the same is calm, however close to the budget that is. At the budget, growth or not, the
pressure is 1.
"""

from collections import deque
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Final

FALL_MS: Final = 5_000
"""A level ends after the pressure was low for so long, in milliseconds."""

MARGIN: Final = 0.1
"""The pressure counts as low if it is so much below the one at which the level begins."""

SLOW_FALL_MS: Final = 60_000
"""A level also ends after the pressure was below its beginning at all for so long."""

FLOOR_MS: Final = 60_000
"""The memory that the hub took at least for so long is its floor."""

LAG_READINGS: Final = 4
"""The lag of the loop counts if that many readings in a row show it: one long step is no load."""


class Level(IntEnum):
    """What the hub refuses. Each level includes the ones below."""

    CALM = 0
    CONNECTIONS = 1
    SNAPSHOTS = 2
    REPORTS = 3
    WATCHES = 4
    READS = 5

    @property
    def word(self) -> str:
        """The name for people and in JSON, such as "snapshots"."""
        return self.name.lower()


_BEGINS: Final = {
    Level.CONNECTIONS: 0.80,
    Level.SNAPSHOTS: 0.85,
    Level.REPORTS: 0.90,
    Level.WATCHES: 0.95,
    Level.READS: 1.00,
}


@dataclass(frozen=True, slots=True)
class Load:
    """What the hub takes of each resource, or its budget for each.

    `loop_lag` is how late the event loop is, in seconds; `memory` is resident memory, in
    bytes; `descriptors` is the number of open files and sockets; `store_queue` the number of
    changes that wait for the store.
    """

    loop_lag: float = 0.0
    memory: float = 0.0
    descriptors: float = 0.0
    store_queue: float = 0.0


RESOURCES: Final = tuple(asdict(Load()))
"""The names of the resources."""

NO_BUDGET: Final = Load(*[float("inf")] * len(RESOURCES))
"""Budgets that no load exceeds."""


class Pressure:
    """The level, and why."""

    def __init__(self, budgets: Load = NO_BUDGET) -> None:
        self._budgets = asdict(budgets)
        self._lags: deque[float] = deque([0.0] * LAG_READINGS, maxlen=LAG_READINGS)
        self._low_since_ms: int | None = None
        self._below_since_ms: int | None = None
        # The readings that are lower than every later one, with their times.
        self._lows: deque[tuple[int, float]] = deque()
        self.level = Level.CALM
        self.since_ms: int | None = None
        self.by_resource = dict.fromkeys(RESOURCES, 0.0)
        """The pressure of each resource: its reading as a share of its budget, or of the room."""

    @property
    def cause(self) -> str:
        """The resource that is shortest of all."""
        return max(self.by_resource, key=lambda name: self.by_resource[name])

    def update(self, load: Load, now_ms: int) -> Level:
        """Takes a reading; returns the level from now on."""
        self._lags.append(load.loop_lag)
        readings = asdict(load) | {"loop_lag": min(self._lags)}
        self.by_resource = {name: readings[name] / self._budgets[name] for name in RESOURCES}
        self.by_resource["memory"] = self._memory_pressure(load.memory, now_ms)
        pressure = max(self.by_resource.values())
        reached = _level_at(pressure)
        if reached > self.level:
            self._move(Level(self.level + 1), now_ms)
        if reached >= self.level:
            self._below_since_ms = None
        elif self._below_since_ms is None:
            self._below_since_ms = now_ms
        if _level_at(pressure + MARGIN) >= self.level:
            self._low_since_ms = None
        elif self._low_since_ms is None:
            self._low_since_ms = now_ms
        if self.level and (
            _has_lasted(self._low_since_ms, FALL_MS, now_ms)
            or _has_lasted(self._below_since_ms, SLOW_FALL_MS, now_ms)
        ):
            self._move(Level(self.level - 1), now_ms)
            self._low_since_ms = self._below_since_ms = now_ms
        return self.level

    def _memory_pressure(self, taken: float, now_ms: int) -> float:
        # Until the hub has run for so long it has no floor.
        lows = self._lows or deque([(now_ms, 0.0)])
        while lows and lows[-1][1] >= taken:
            lows.pop()
        lows.append((now_ms, taken))
        while now_ms - lows[0][0] > FLOOR_MS:
            lows.popleft()
        self._lows = lows
        floor = lows[0][1]
        budget: float = self._budgets["memory"]
        return taken / budget if taken >= budget else (taken - floor) / (budget - floor)

    def _move(self, level: Level, now_ms: int) -> None:
        self.level, self.since_ms = level, now_ms
        self._low_since_ms = self._below_since_ms = None


def _has_lasted(since_ms: int | None, for_ms: int, now_ms: int) -> bool:
    return since_ms is not None and now_ms - since_ms >= for_ms


def _level_at(pressure: float) -> Level:
    """The highest level that begins at that pressure or below it."""
    begun = (level for level, begins in _BEGINS.items() if pressure >= begins)
    return max(begun, default=Level.CALM)
