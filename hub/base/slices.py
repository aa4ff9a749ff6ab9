"""Long work on the loop, done piece by piece between the others' turns.

What takes a large fleet's size times microseconds would hold up every caller for
as long, and the state it reads belongs to the loop's thread. So such work is an
iterator of small pieces (docs/decisions/0030-long-work-in-slices.md).
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final
from weakref import WeakValueDictionary

SLICE_S: Final = 0.005
"""How long the pieces of one turn take together, but for the last of them."""


class Slices:
    """Does work in slices, one in each turn of the loop, however many ask for some.

    One work is done at a time, to its end. An owner's works queue among themselves,
    so that each waits for at most one work of every other owner before its own turn.
    """

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._busy = asyncio.Lock()
        # An owner's lock lives as long as a task waits for it or holds it.
        self._owners: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, work: Callable[[], Iterator[None]], owner: str = "") -> None:
        """Calls `work` at the start of each slice and takes pieces of what it returns.

        It ends with the slice in which an iterator ended, and the caller goes on in
        the same turn: nothing has changed since. So `work` may take notice of what
        others changed between two slices. Raises whatever `work` and its pieces raise.
        """
        own = self._owners.setdefault(owner, asyncio.Lock())
        # asyncio's locks are fair, so the owners take turns.
        async with own, self._busy:
            while True:
                if self._slice(work()):
                    return
                await asyncio.sleep(0)

    def _slice(self, pieces: Iterator[None]) -> bool:
        """Whether the pieces came to their end."""
        end = time.perf_counter() + self._slice_s
        return all(time.perf_counter() < end for _ in pieces)
