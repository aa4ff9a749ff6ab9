import asyncio
import shutil
from pathlib import Path

import pytest

from hub import app
from hub.clock import SystemClock
from hub.registry.state import Registry
from tests.support.etcd import EtcdServer
from tests.support.hub import running_hub, settings_for
from tests.support.stores import answering
from tests.support.waiting import wait_until


async def test_a_hub_whose_reports_expire_no_more_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unforeseen(_self: Registry, _now_ms: int) -> None:
        raise ValueError("unforeseen")

    monkeypatch.setattr(Registry, "expire", unforeseen)
    failed = asyncio.Event()
    hub = app.Hub(settings_for(tmp_path), SystemClock(), failed.set)
    try:
        await hub.start()
        await asyncio.wait_for(failed.wait(), 10)
    finally:
        await hub.stop()


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")
async def test_a_hub_without_its_etcd_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_OUT_OF_TOUCH_S", 0.0)
    server = EtcdServer()
    try:
        await answering(server.target)
        async with running_hub(tmp_path, store={"etcd": server.target}) as hub:

            async def readiness(status: int) -> bool:
                answer = await hub.http("GET", "/readyz", token="")
                return answer.status == status and (
                    status == 200 or "etcd" in answer.json["reason"]
                )

            await wait_until(lambda: readiness(200), timeout_s=30)
            await asyncio.to_thread(server.kill)
            await wait_until(lambda: readiness(503), timeout_s=30)
            await asyncio.to_thread(server.start)
            await wait_until(lambda: readiness(200), timeout_s=30)
    finally:
        server.remove()
