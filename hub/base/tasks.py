"""Tasks of the event loop: their end is logged, and long work gives way to others.

Work that takes some microseconds per endpoint blocks every caller in a large fleet, and
the state that it reads belongs to the loop's thread. So such work is an iterator of
small pieces, done in slices (docs/decisions/0030-long-work-in-slices.md).
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

log = structlog.get_logger()


# Any: what the task returns is of no interest.
def tell_of_end(task: asyncio.Task[Any], on_end: Callable[[], None]) -> None:
    """Logs a task that ends without having been cancelled, and calls `on_end`."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            log.error("a task ended unforeseen", task=task.get_name(), exc_info=task.exception())
            on_end()

    task.add_done_callback(ended)


SLICE_S: Final = 0.005
"""How long the pieces of one slice may take together; only the last may exceed it."""


class Slices:
    """Runs jobs in slices, one slice in each turn of the loop, however many jobs there are.

    One job runs at a time, to its end. The jobs of one owner queue among themselves, so
    that each waits for at most one job of every other owner before its own turn.
    """

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._busy = asyncio.Lock()
        # An owner's lock lives as long as a task waits for it or holds it.
        self._owners: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, work: Callable[[], Iterator[None]], owner: str = "") -> None:
        """Calls `work` at the start of each slice and runs pieces of what it returns.

        Calling it again lets `work` include what others changed between two slices.
        Ends with the slice in which an iterator ends; the caller continues in the same
        turn of the loop, before anything changes. Raises what `work` and its pieces raise.
        """
        own = self._owners.setdefault(owner, asyncio.Lock())
        # The locks of asyncio are fair, so the owners take turns.
        async with own, self._busy:
            while True:
                if self._slice(work()):
                    return
                await asyncio.sleep(0)

    def _slice(self, pieces: Iterator[None]) -> bool:
        """Whether the pieces have ended."""
        end = time.perf_counter() + self._slice_s
        return all(time.perf_counter() < end for _ in pieces)
