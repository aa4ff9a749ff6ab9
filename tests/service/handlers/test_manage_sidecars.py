"""Sidecars and the hub itself through the real dispatcher."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import (
    InvalidPageToken,
    SidecarNotFound,
)
from hub.service.presence import disconnected
from llmhub.v1.admin_service_pb2 import (
    DisconnectSidecarRequest,
    ListSidecarsRequest,
)
from tests.support.core import Core, running_core
from tests.support.sidecars import sidecar


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


async def test_sidecars_in_pages(core: Core) -> None:
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


async def test_disconnecting(core: Core) -> None:
    one = sidecar("node-1")
    core.presence.join(one)
    await core.as_admin(
        "DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-1", reason="maintenance")
    )
    assert one.connection.closes == [disconnected("maintenance")]
    with pytest.raises(SidecarNotFound) as refused:
        await core.as_admin("DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-2"))
    assert refused.value.metadata == {"agent_id": "node-2"}


async def test_the_server_tells_about_itself(core: Core) -> None:
    assert (await core.as_admin("GetServerInfo")).version == "test"
