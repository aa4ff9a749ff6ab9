"""Stores for tests: the engines there are, and a listener that remembers."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from hub.stores.base import Change, Entry, Store
from hub.stores.sqlite import SqliteStore


class Feed:
    """A listener that keeps all it is told."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def __call__(self, change: Change) -> None:
        self.changes.append(change)

    def replayed(self) -> dict[str, Entry]:
        """What the changes amount to, applied in order to nothing."""
        entries: dict[str, Entry] = {}
        for change in self.changes:
            for key in change.deletes:
                del entries[key]
            entries.update((entry.key, entry) for entry in change.puts)
        return entries


@asynccontextmanager
async def sqlite_engine(directory: Path) -> AsyncIterator[Callable[[], Store]]:
    yield lambda: SqliteStore(directory / "hub.db")


ENGINES: dict[str, Callable[[Path], AbstractAsyncContextManager[Callable[[], Store]]]] = {
    "sqlite": sqlite_engine,
}
"""By `Store.kind`: makes stores that share one set of data, which starts empty."""
