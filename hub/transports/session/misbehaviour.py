"""Penalties for sidecars that keep sending invalid frames; time is an argument."""

from collections import OrderedDict, deque
from typing import Final

DEFAULT_LIMIT: Final = 10
DEFAULT_WINDOW_MS: Final = 60_000
DEFAULT_STEPS_S: Final = (30, 60, 300)
DEFAULT_FORGET_MS: Final = 3_600_000
DEFAULT_MAX_AGENTS: Final = 10_000

# Frames over the rate limit, per connection: see docs/decisions/0037.
REFUSED_BURST: Final = 1_000
"""refused frames at once that are only answered"""
REFUSED_EACH_MS: Final = 50
"""milliseconds until one more of them is only answered"""
REFUSED_PAUSE_MS: Final = 1_000
"""milliseconds for which reading pauses after one beyond that"""


class ViolationWindow:
    """The violations of one connection, which is closed after too many in a window.

    Keeps at most `limit` times, and nothing for a connection without violations.
    """

    __slots__ = ("_limit", "_times", "_window_ms")

    def __init__(self, limit: int = DEFAULT_LIMIT, window_ms: int = DEFAULT_WINDOW_MS) -> None:
        self._limit = limit
        self._window_ms = window_ms
        self._times: deque[int] | None = None

    def add(self, now_ms: int) -> bool:
        """Counts a violation; returns True if the connection must be closed now."""
        if self._times is None:
            self._times = deque(maxlen=self._limit)
        times = self._times
        times.append(now_ms)
        return len(times) == self._limit and now_ms - times[0] < self._window_ms


class Allowance:
    """What a peer may do again and again: `burst` times at once, and once more each `each_ms`."""

    __slots__ = ("_burst_ms", "_each_ms", "_used_until_ms")

    def __init__(self, burst: int, each_ms: int) -> None:
        self._burst_ms = burst * each_ms
        self._each_ms = each_ms
        self._used_until_ms = 0

    def spend(self, now_ms: int) -> bool:
        """Takes one; returns whether it was there to take."""
        used_until_ms = max(self._used_until_ms, now_ms) + self._each_ms
        if used_until_ms > now_ms + self._burst_ms:
            return False
        self._used_until_ms = used_until_ms
        return True


class Cooldowns:
    """How long agents that misbehaved must wait before they may identify again.

    Each penalty takes the next of `steps_s` seconds, and then the last one repeatedly;
    `forget_ms` after its last penalty ended, an agent starts again at the first. At most
    `max_agents` are remembered, those with the latest penalties.

    Never penalise an agent_id that is only claimed: otherwise a stranger could keep a
    sidecar out.
    """

    def __init__(
        self,
        steps_s: tuple[int, ...] = DEFAULT_STEPS_S,
        *,
        forget_ms: int = DEFAULT_FORGET_MS,
        max_agents: int = DEFAULT_MAX_AGENTS,
    ) -> None:
        if not steps_s:
            raise ValueError("there must be at least one step")
        self._steps_s = steps_s
        self._forget_ms = forget_ms
        self._max_agents = max_agents
        # By agent: its number of penalties, and the end of the last. The latest is last.
        self._agents: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._agents)

    def penalise(self, agent_id: str, now_ms: int) -> int:
        """Keeps the agent out from now on; returns for how many seconds."""
        times, until_ms = self._agents.pop(agent_id, (0, now_ms))
        if now_ms - until_ms >= self._forget_ms:
            times = 0
        seconds = self._steps_s[min(times, len(self._steps_s) - 1)]
        self._agents[agent_id] = (times + 1, now_ms + seconds * 1000)
        self._forget(now_ms)
        return seconds

    def remaining_ms(self, agent_id: str, now_ms: int) -> int:
        """How long the agent still has to wait; 0 if it may identify."""
        agent = self._agents.get(agent_id)
        return 0 if agent is None else max(agent[1] - now_ms, 0)

    def _forget(self, now_ms: int) -> None:
        while self._agents:
            oldest, (_, until_ms) = next(iter(self._agents.items()))
            if len(self._agents) <= self._max_agents and now_ms - until_ms < self._forget_ms:
                return
            del self._agents[oldest]
