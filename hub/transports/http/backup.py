"""A copy of the embedded store, sent to an admin while the hub goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from hub.contract.errors import NotImplementedYet, StoreUnavailable
from hub.stores.store import StoreError

Backup = Callable[[Path], Awaitable[int]]
"""Copies the store to a new file and returns its size in bytes. Raises StoreError."""

_CHUNK_BYTES = 256 * 1024
_CHUNK_S = 30.0


class BackupSender:
    """Sends copies of the store, one after the other.

    The copy lies in the data directory, which is the hub's owner's alone: it
    holds the endpoints' API keys.
    """

    def __init__(self, backup: Backup | None, directory: Path) -> None:
        """`backup` is None for a store that has means of its own."""
        self._backup = backup
        self._file = directory / "backup.tmp"
        self._one_at_a_time = asyncio.Lock()

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Answers with the copy. Raises NotImplementedYet, StoreUnavailable."""
        if self._backup is None:
            raise NotImplementedYet("etcd makes copies of itself: etcdctl snapshot save FILE")
        async with self._one_at_a_time:
            # What a hub that died in here has left.
            self._file.unlink(missing_ok=True)
            try:
                size = await self._backup(self._file)
            except StoreError as error:
                raise StoreUnavailable(f"the store was not copied: {error}") from error
            source = self._file.open("rb")
            self._file.unlink()
        with source:
            response = web.StreamResponse(
                headers={"Content-Disposition": 'attachment; filename="hub.db"'}
            )
            response.content_type = "application/vnd.sqlite3"
            response.content_length = size
            await response.prepare(request)
            try:
                while chunk := await asyncio.to_thread(source.read, _CHUNK_BYTES):
                    async with asyncio.timeout(_CHUNK_S):
                        await response.write(chunk)
                await response.write_eof()
            except (OSError, TimeoutError):
                # The head is sent, so a cut connection is all that can still say "failed".
                if request.transport is not None:
                    request.transport.abort()
        return response
