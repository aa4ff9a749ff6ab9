"""Rate limits: a token bucket per caller and tier, with time as an argument.

Buckets are stored as in GCRA (ITU-T I.371, annex A): one integer per bucket, the time
at which it will be full again. The unit of time is 1/capacity of a millisecond, so that
every bucket's arithmetic is exact.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hub.contract.rpcs import Tier

DEFAULT_MAX_KEYS: Final = 100_000

_MINUTE_MS: Final = 60_000


DEFAULT_PER_MINUTE: Final[Mapping[Tier, int]] = MappingProxyType(
    {Tier.LIGHT: 120, Tier.NORMAL: 60, Tier.HEAVY: 10}
)


@dataclass(frozen=True, slots=True)
class RateDecision:
    """The decision on one call.

    `warn`: the call is allowed, and at most a fifth of the bucket is left:
    `remaining` of `capacity` calls. `retry_after_ms` is set if the call is not
    allowed; one call is allowed after that time.
    """

    allowed: bool
    warn: bool = False
    remaining: int = 0
    capacity: int = 0
    retry_after_ms: int = 0


ALLOWED: Final = RateDecision(allowed=True)


class RateLimiter:
    """Token buckets by key and tier.

    A bucket holds the calls of one minute and refills evenly. `per_minute` replaces the
    defaults of the tiers that it names (each at least 1). At most `max_keys` buckets per
    tier are kept: full ones are dropped first, then the least recently used, so that a
    caller that invents keys cannot fill the hub's memory. `refused` counts refused calls.
    """

    def __init__(
        self,
        per_minute: Mapping[Tier, int] = DEFAULT_PER_MINUTE,
        *,
        enabled: bool = True,
        max_keys: int = DEFAULT_MAX_KEYS,
    ) -> None:
        if max_keys < 1:
            raise ValueError("a rate limit must be at least 1")
        self._max_keys = max_keys
        self.refused = dict.fromkeys(Tier, 0)
        # By tier: its capacity, the same in units of a bucket's time, and its buckets, the
        # least recently used first.
        self._tiers: tuple[tuple[int, int, OrderedDict[str, int]], ...] = ()
        self.configure(per_minute, enabled=enabled)

    def configure(self, per_minute: Mapping[Tier, int], *, enabled: bool) -> None:
        """Replaces the limits. A tier whose limit changes starts with full buckets."""
        if any(calls < 1 for calls in per_minute.values()):
            raise ValueError("a rate limit must be at least 1")
        self._enabled = enabled
        capacities = [per_minute.get(tier, DEFAULT_PER_MINUTE[tier]) for tier in Tier]
        nothing: OrderedDict[str, int] = OrderedDict()
        before = self._tiers or tuple((0, 0, nothing) for _ in Tier)
        # A bucket counts in units of its capacity, so only one of the same size is kept.
        self._tiers = tuple(
            (calls, calls * _MINUTE_MS, buckets if calls == capacity else OrderedDict())
            for calls, (capacity, _, buckets) in zip(capacities, before, strict=True)
        )

    def __len__(self) -> int:
        return sum(len(buckets) for _, _, buckets in self._tiers)

    def take(self, key: str, tier: Tier, now_ms: int) -> RateDecision:
        """Takes one call from the caller's bucket, if there is one left."""
        if not self._enabled:
            return ALLOWED
        capacity, whole, buckets = self._tiers[tier]
        now = now_ms * capacity
        full_at = buckets.get(key)
        if full_at is None:
            self._make_room(buckets, now)
            full_at = now
        elif full_at < now:
            full_at = now
        full_at += _MINUTE_MS
        room = whole - (full_at - now)
        if room < 0:
            self.refused[tier] += 1
            return RateDecision(
                allowed=False, capacity=capacity, retry_after_ms=-(room // capacity)
            )
        buckets[key] = full_at
        buckets.move_to_end(key)
        remaining = room // _MINUTE_MS
        if remaining * 5 > capacity:
            return ALLOWED
        return RateDecision(allowed=True, warn=True, remaining=remaining, capacity=capacity)

    def _make_room(self, buckets: OrderedDict[str, int], now: int) -> None:
        # Two for each new one, so that full buckets go faster than new ones come.
        for _ in range(2):
            if not buckets:
                return
            oldest = next(iter(buckets))
            if buckets[oldest] > now and len(buckets) < self._max_keys:
                return
            del buckets[oldest]
