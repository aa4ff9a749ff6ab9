"""The hub itself: its description, connected sidecars, metrics, and a copy of its store."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

import structlog

from hub.contract.errors import NotImplementedYet, SidecarNotFound, StoreUnavailable
from hub.service.access.caller import Caller
from hub.service.handlers.paging import Pager
from hub.service.metrics.exposition import Metrics
from hub.service.presence import Presence, disconnected
from hub.stores.store import StoreError
from llmhub.v1.admin_service_pb2 import (
    DisconnectSidecarRequest,
    DisconnectSidecarResponse,
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListSidecarsRequest,
    ListSidecarsResponse,
)


class ServerHandlers:
    """Lists and disconnects sidecars, and describes the hub."""

    def __init__(
        self, presence: Presence, server_info: Callable[[], GetServerInfoResponse]
    ) -> None:
        self._presence = presence
        self._server_info = server_info

    def list_sidecars(
        self, request: ListSidecarsRequest, _caller: Caller, _now_ms: int
    ) -> ListSidecarsResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        following = (each for each in self._presence.sidecars() if each.agent_id > pager.after)
        sidecars, token = pager.cut(following, attrgetter("agent_id"))
        return ListSidecarsResponse(
            sidecars=[each.info() for each in sidecars], next_page_token=token
        )

    def disconnect_sidecar(
        self, request: DisconnectSidecarRequest, _caller: Caller, _now_ms: int
    ) -> DisconnectSidecarResponse:
        """Raises SidecarNotFound."""
        sidecar = self._presence.get(request.agent_id)
        if sidecar is None:
            raise SidecarNotFound(
                f"no sidecar of the agent {request.agent_id} is connected",
                metadata={"agent_id": request.agent_id},
            )
        sidecar.connection.close(disconnected(request.reason))
        return DisconnectSidecarResponse()

    def get_server_info(
        self, _request: GetServerInfoRequest, _caller: Caller, _now_ms: int
    ) -> GetServerInfoResponse:
        """Describes the hub itself."""
        return self._server_info()


log = structlog.get_logger()

Backup = Callable[[Path], Awaitable[int]]
"""Copies the store to a new file and returns its size in bytes. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class StoreCopy:
    """A copy of the store, open for reading; the file is already unlinked."""

    file: BinaryIO
    size: int


class ObservationHandlers:
    """Renders the metrics and copies the store, one copy at a time."""

    def __init__(self, metrics: Metrics, backup: Backup | None, directory: Path) -> None:
        """`backup` is None for a store that has its own backup tool.

        The copy is written to `directory`, which only the hub's owner may read, because it
        contains the endpoints' API keys.
        """
        self._metrics = metrics
        self._backup = backup
        self._file = directory / "backup.tmp"
        self._one_at_a_time = asyncio.Lock()

    async def get_metrics(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        return await self._metrics.render()

    async def copy_store(self, _request: None, caller: Caller, _now_ms: int) -> StoreCopy:
        """Copies the store while the hub keeps running. The caller closes the file.

        Raises NotImplementedYet, StoreUnavailable.
        """
        if self._backup is None:
            raise NotImplementedYet("etcd has its own backups: etcdctl snapshot save FILE")
        async with self._one_at_a_time:
            # A hub that died during a copy left its file behind.
            self._file.unlink(missing_ok=True)
            try:
                size = await self._backup(self._file)
            except StoreError as error:
                raise StoreUnavailable(f"the store could not be copied: {error}") from error
            file = self._file.open("rb")
            self._file.unlink()
        log.info("store copied", by=caller.principal.token_id, bytes=size)
        return StoreCopy(file, size)
