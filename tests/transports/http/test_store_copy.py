import asyncio
import sqlite3
from contextlib import closing

import aiohttp
import pytest

from hub.base.settings import STORE_FILE
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import by_id, running_hub

PATH = "/api/admin/backup"


async def copy_of(hub) -> bytes:
    headers = {"Authorization": f"Bearer {hub.admin_token}"}
    async with (
        asyncio.timeout(20),
        hub.session.get(f"http://{hub.http_address}{PATH}", headers=headers) as response,
    ):
        assert response.status == 200
        assert "hub.db" in response.headers["Content-Disposition"]
        return await response.read()


async def test_a_copy_is_a_store_that_another_hub_starts_from(hub, tmp_path):
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="localhost", api_key="sk-1"))
    copies = await asyncio.gather(*(copy_of(hub) for _ in range(3)))
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="later"))
    assert {path.name for path in hub.settings.data_dir.iterdir()}.isdisjoint({"backup.tmp"})
    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    (restored / STORE_FILE).write_bytes(copies[0])
    (restored / STORE_FILE).chmod(0o600)
    (restored / "admin.token").write_text(hub.admin_token)
    with closing(sqlite3.connect(restored / STORE_FILE)) as file:
        assert file.execute("PRAGMA quick_check").fetchone() == ("ok",)
    async with running_hub(restored) as second:
        assert set(by_id(await second.snapshot())) == {"localhost:11434"}


async def test_it_is_the_admins_alone(hub):
    reader = await hub.token(ROLE_READER)
    assert (await hub.http("GET", PATH, token=reader)).status == 403
    assert (await hub.http("GET", PATH, token="")).status == 401


async def test_a_connection_is_cut_where_the_copy_cannot_be_read(hub, monkeypatch):
    from hub.transports.http import store_copy

    async def fail(*_):
        raise OSError("the disk is gone")

    class Broken:
        to_thread = staticmethod(fail)
        timeout = staticmethod(asyncio.timeout)

    monkeypatch.setattr(store_copy, "asyncio", Broken)
    with pytest.raises(aiohttp.ClientError):
        await copy_of(hub)
