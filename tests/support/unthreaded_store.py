"""The embedded store without its thread: its work runs in the loop, after a random delay."""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from hub.stores.sqlite import SqliteStore, _resolve
from hub.stores.sqlite_file import SqliteFile
from hub.stores.store import ChangeListener, Contents

LONGEST_COMMIT_S = 0.02


class WakingQueue:
    """The part of `SimpleQueue` that the store uses; calls `wake` for each item."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._items: deque[Any] = deque()

    def put(self, item: object) -> None:
        self._items.append(item)
        self._wake()

    def get(self) -> Any:
        return self._items.popleft()

    get_nowait = get

    def empty(self) -> bool:
        return not self._items


class UnthreadedStore(SqliteStore):
    """A `SqliteStore` whose file and grouping are the real ones, in an order that a seed gives."""

    def __init__(self, path: Path, random: Random) -> None:
        super().__init__(path)
        self._random = random

    async def open(self, listener: ChangeListener) -> Contents:
        loop = asyncio.get_running_loop()
        self._closed = loop.create_future()
        file = SqliteFile(self._path)
        turn: asyncio.TimerHandle | None = None

        def work() -> None:
            nonlocal turn
            turn = None
            assert self._closed is not None
            if not self._work(loop, listener, file):
                file.close()
                loop.call_soon_threadsafe(_resolve, self._closed, None)

        def wake() -> None:
            nonlocal turn
            # One turn at a time, like the thread: what comes meanwhile shares the next.
            if turn is None:
                turn = loop.call_later(self._random.uniform(0, LONGEST_COMMIT_S), work)

        queue: Any = WakingQueue(wake)
        self._queue = queue
        self._thread = _Joined()
        self._accepting = True
        return file.take_contents()


class _Joined:
    """A thread that has nothing left to do."""

    def join(self) -> None:
        """Returns at once."""
