"""Stores for tests: the available engines, and a listener that records changes."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from aetcd import rpc

from hub.stores.etcd import EtcdStore
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Change, Entry, Store
from tests.support.etcd import shared_server


class Feed:
    """A listener that records all changes."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def __call__(self, change: Change) -> None:
        self.changes.append(change)

    def replayed(self) -> dict[str, Entry]:
        """The entries after all changes, applied in order to an empty store."""
        entries: dict[str, Entry] = {}
        for change in self.changes:
            for key in change.deletes:
                del entries[key]
            entries.update((entry.key, entry) for entry in change.puts)
        return entries


@asynccontextmanager
async def sqlite_engine(directory: Path) -> AsyncIterator[Callable[[], Store]]:
    yield lambda: SqliteStore(directory / "hub.db")


@asynccontextmanager
async def etcd_engine(directory: Path) -> AsyncIterator[Callable[[], Store]]:
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed")
    server = await asyncio.to_thread(shared_server)
    await answering(server.target)
    yield lambda: EtcdStore(server.target, prefix=f"{directory}/", timeout_s=30)


async def answering(target: str) -> None:
    """Waits until an etcd server answers."""
    async with grpc.aio.insecure_channel(target) as channel, asyncio.timeout(30):
        await rpc.KVStub(channel).Range(rpc.RangeRequest(key=b"x"), wait_for_ready=True)


ENGINES: dict[str, Callable[[Path], AbstractAsyncContextManager[Callable[[], Store]]]] = {
    "etcd": etcd_engine,
    "sqlite": sqlite_engine,
}
"""Factories by `Store.kind`, of stores that share one set of data, which starts empty."""
