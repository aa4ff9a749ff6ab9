"""Drops what the registry keeps for a time only, at its deadline."""

import asyncio

from hub.base.clock import Clock
from hub.registry.state import Registry


class Expiry:
    """Sleeps until the registry's next deadline, and wakes if an earlier one appears."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._asleep_until_ms: int | None = None
        self._earlier = asyncio.Event()
        registry.on_change(self._changed)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            self._earlier.clear()
            now_ms = self._clock.now_ms()
            self._registry.expire(now_ms)
            until_ms = self._asleep_until_ms = self._registry.next_deadline_ms()
            sleep_s = None if until_ms is None else max(0, until_ms - now_ms) / 1000
            try:
                async with asyncio.timeout(sleep_s):
                    await self._earlier.wait()
            except TimeoutError:
                continue

    def _changed(self) -> None:
        deadline_ms = self._registry.next_deadline_ms()
        if deadline_ms is not None and (
            self._asleep_until_ms is None or deadline_ms < self._asleep_until_ms
        ):
            self._earlier.set()
