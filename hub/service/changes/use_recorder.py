"""Writes to the store when each token was used last, a bounded number of them at a time."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from hub.base.tasks import log_unexpected_end
from hub.service.access.token_uses import TokenUses
from hub.stores.store import Store, StoreError

log = structlog.get_logger()

BATCH: Final = 64
"""The most uses in one transaction; etcd takes 128 operations."""

BATCHES_AT_ONCE: Final = 16
"""The most transactions in a row. What is left waits for the next time."""

_EVERY_S: Final = 60.0
_LAST_S: Final = 1.0


class UseRecorder:
    """Writes what is due once per minute, and once at the end."""

    def __init__(self, store: Store, uses: TokenUses) -> None:
        self._store = store
        self._uses = uses
        self._writing: asyncio.Task[None] | None = None

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begins to write."""
        self._writing = asyncio.create_task(self._run(), name="token uses")
        log_unexpected_end(self._writing, on_failure)

    async def stop(self) -> None:
        """Writes what is due, for a second at most, and ends. Idempotent."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        writing.cancel()
        await asyncio.wait([writing])
        try:
            async with asyncio.timeout(_LAST_S):
                await self.write()
        except TimeoutError:
            log.warning("last uses of tokens not written", why="the store is slow")

    async def write(self) -> None:
        """Writes what is due, unless the store takes no changes now."""
        for _ in range(BATCHES_AT_ONCE):
            puts = self._uses.due(BATCH)
            if not puts:
                return
            try:
                await self._store.commit(puts)
            except StoreError as error:
                log.warning("last uses of tokens not written", why=str(error))
                return

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.write()
