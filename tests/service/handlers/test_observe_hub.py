import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hub.contract.errors import (
    InvalidPageToken,
    NotImplementedYet,
    SidecarNotFound,
    StoreUnavailable,
)
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.handlers.observe_hub import Backup, ObservationHandlers
from hub.service.metrics.exposition import Metrics
from hub.service.metrics.fleet_counts import FleetCounts
from hub.service.presence import disconnected
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Put, StoreError
from llmhub.v1.admin_service_pb2 import (
    DisconnectSidecarRequest,
    ListSidecarsRequest,
)
from llmhub.v1.resources_pb2 import ROLE_ADMIN
from tests.support.core import Core, running_core
from tests.support.sidecars import sidecar

ADMIN = Caller(Principal(ROLE_ADMIN, "", "t-1"), "10.0.0.9", "http")
NOW = 1_800_000_000_000


def handlers(directory: Path, backup: Backup | None) -> ObservationHandlers:
    metrics = Metrics(FleetCounts(Registry(first_revision=1)), [])
    return ObservationHandlers(metrics, backup, directory)


async def test_a_store_copy_is_a_database_and_leaves_no_file_behind(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.db")
    await store.open(lambda _change: None)
    try:
        await store.commit([Put("endpoints/a:1", b"x")])
        # What a hub that died while it copied has left is no obstacle.
        (tmp_path / "backup.tmp").write_bytes(b"half a copy")
        observing = handlers(tmp_path, store.backup)
        with capture_logs() as logged:
            copies = await asyncio.gather(
                *(observing.copy_store(None, ADMIN, NOW) for _ in range(3))
            )
    finally:
        await store.close()
    assert not (tmp_path / "backup.tmp").exists()
    for copy in copies:
        with copy.file as file:
            content = file.read()
        assert len(content) == copy.size
        restored = tmp_path / "restored.db"
        restored.write_bytes(content)
        with closing(sqlite3.connect(restored)) as database:
            assert database.execute("PRAGMA quick_check").fetchone() == ("ok",)
    assert {(each["event"], each["by"]) for each in logged} == {("store copied", "t-1")}


async def test_a_failed_copy_gives_the_reason(tmp_path: Path) -> None:
    async def fail(_target: Path) -> int:
        raise StoreError("the disk is full")

    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await handlers(tmp_path, fail).copy_store(None, ADMIN, NOW)


async def test_a_store_with_its_own_backups_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedYet, match="etcdctl"):
        await handlers(tmp_path, None).copy_store(None, ADMIN, NOW)


async def test_metrics_are_in_text_format(tmp_path: Path) -> None:
    rendered = await handlers(tmp_path, None).get_metrics(None, ADMIN, NOW)
    assert b"llmhub_endpoints" in rendered


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


async def test_sidecars_are_listed_in_pages(core: Core) -> None:
    for agent_id in ("c", "a", "b"):
        core.presence.join(sidecar(agent_id))
    first = await core.as_admin("ListSidecars", ListSidecarsRequest(page_size=2))
    assert [info.agent_id for info in first.sidecars] == ["a", "b"]
    core.presence.join(sidecar("aa"))
    request = ListSidecarsRequest(page_size=2, page_token=first.next_page_token)
    second = await core.as_admin("ListSidecars", request)
    assert [info.agent_id for info in second.sidecars] == ["c"]
    assert second.next_page_token == ""
    with pytest.raises(InvalidPageToken):
        await core.as_admin("ListSidecars", ListSidecarsRequest(page_token="x"))


async def test_an_admin_can_disconnect_a_sidecar(core: Core) -> None:
    one = sidecar("node-1")
    core.presence.join(one)
    await core.as_admin(
        "DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-1", reason="maintenance")
    )
    assert one.connection.closes == [disconnected("maintenance")]
    with pytest.raises(SidecarNotFound) as refused:
        await core.as_admin("DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-2"))
    assert refused.value.metadata == {"agent_id": "node-2"}


async def test_server_info_describes_the_hub(core: Core) -> None:
    assert (await core.as_admin("GetServerInfo")).version == "test"
