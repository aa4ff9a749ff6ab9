import asyncio
from pathlib import Path

from hub.base.clock import ManualClock
from hub.server.fleet import Fleet
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from tests.support.hub import settings_for
from tests.support.waiting import wait_until


async def test_a_report_is_dropped_at_its_deadline(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = settings_for(tmp_path).model_copy(update={"resources_ttl_s": 0.05})
    fleet = Fleet(settings, clock, first_revision=1_000)
    failed = asyncio.Event()
    await fleet.start(failed.set)
    try:
        report = ReportResourcesRequest(cpu_percent=5)
        fleet.registry.report_resources("node-1", report, clock.now_ms())
        clock.advance(1_000)
        await wait_until(lambda: fleet.registry.resources.get("node-1") is None)
    finally:
        await fleet.stop()
        await fleet.stop()
    assert not failed.is_set()
    assert fleet.why_mistrusted() is None
