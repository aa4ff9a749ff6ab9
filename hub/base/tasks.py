"""Tasks of the event loop: logs those that end unexpectedly, and slices long work.

Work that takes a few microseconds per endpoint blocks every caller in a large fleet, and
it cannot leave the loop's thread, which owns the state that it reads. So such work is an
iterator of small pieces, run in slices (docs/decisions/0030-long-work-in-slices.md).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

log = structlog.get_logger()


# Any: the result of the task is not used.
def log_unexpected_end(task: asyncio.Task[Any], on_end: Callable[[], None]) -> None:
    """Logs `task` if it ends without having been cancelled, and then calls `on_end`."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            log.error("a task ended unforeseen", task=task.get_name(), exc_info=task.exception())
            on_end()

    task.add_done_callback(ended)


SLICE_S: Final = 0.005
"""The maximum duration of one slice; only its last piece may exceed it."""


class Slices:
    """Runs jobs in slices, one slice per turn of the event loop, however many jobs there are.

    One job runs at a time, until it ends. Each owner has a queue of jobs, and the owners
    take turns: the first job in a queue waits for at most one job of every other owner.
    """

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._busy = asyncio.Lock()
        # An owner's lock lives as long as a task waits for it or holds it.
        self._owners: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, work: Callable[[], Iterator[None]], owner: str = "") -> None:
        """Calls `work` at the start of each slice and runs pieces of the iterator it returns.

        A new iterator for each slice lets `work` include what changed since the last one.
        Returns when an iterator ends, and the caller continues in the same turn of the
        loop, before anything changes. Raises what `work` and its pieces raise.
        """
        own = self._owners.setdefault(owner, asyncio.Lock())
        # The locks of asyncio are fair, so the owners take turns.
        async with own, self._busy:
            while True:
                if self._slice(work()):
                    return
                await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def turn(self, owner: str = "") -> AsyncIterator[None]:
        """Waits for a turn of the loop in which no other block or job of these slices runs."""
        own = self._owners.setdefault(owner, asyncio.Lock())
        async with own, self._busy:
            await asyncio.sleep(0)
            yield

    def _slice(self, pieces: Iterator[None]) -> bool:
        """Runs pieces for one slice. Returns whether the iterator ended."""
        end = time.perf_counter() + self._slice_s
        return all(time.perf_counter() < end for _ in pieces)
