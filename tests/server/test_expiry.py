import asyncio

from hub.base.clock import SystemClock
from hub.base.timestamps import to_timestamp
from hub.registry.state import Registry
from hub.server.expiry import Expiry
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Endpoint, Model
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from tests.support.fleet import saw

ID = "10.0.0.7:11434"


async def test_a_deadline_that_comes_before_the_one_it_sleeps_until_wakes_it():
    clock = SystemClock()
    registry = Registry(first_revision=1)
    expiry = asyncio.create_task(Expiry(registry, clock).run())
    try:
        await asyncio.sleep(0)
        registry.report_resources("a", ReportResourcesRequest(), clock.now_ms())
        await asyncio.sleep(0)
        registry.put_endpoint(Endpoint(id=ID))
        now_ms = clock.now_ms()
        model = Model(name="m", state=MODEL_STATE_LOADED, expires_at=to_timestamp(now_ms + 50))
        registry.observe(ID, saw(now_ms, models=(model,)))
        changed = asyncio.Event()
        registry.on_change(changed.set)
        async with asyncio.timeout(10):
            await changed.wait()
    finally:
        expiry.cancel()
    assert clock.now_ms() >= now_ms + 50
    assert registry.get(ID).message.models[0].state == MODEL_STATE_AVAILABLE
    assert registry.resources.get("a") is not None, "its time is not over"
