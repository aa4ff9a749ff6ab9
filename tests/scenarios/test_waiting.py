"""Selections that wait, over real sockets and both gRPC engines."""

import asyncio
from pathlib import Path

import pytest

from hub.client import AsyncHub, CallFailed
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.registry_service_pb2 import Selection
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet

pytestmark = pytest.mark.usefixtures("grpc_engine")

MODEL = "llama3.2:3b"


async def test_a_release_serves_the_caller_that_waits_and_a_cancelled_one_leaves(
    tmp_path: Path,
) -> None:
    async with Fleet() as fleet, running_hub(tmp_path) as running:
        server = await fleet.add(FakeOllama(MODEL))
        await running.call(
            "RegisterEndpoint", RegisterEndpointRequest(host=server.host, port=server.port)
        )
        await wait_until(lambda: running.hub.info().healthy_count == 1)
        token = await running.token(ROLE_READER)
        async with AsyncHub(running.grpc_address, token, timeout_s=5) as hub:

            async def select(wait_s: float) -> Selection:
                return await hub.select(MODEL, max_in_flight=1, lease_ttl_s=60, wait_s=wait_s)

            counts = running.hub._fleet.selections.counts
            held = await select(0)
            with pytest.raises(CallFailed) as refused:
                await select(0.01)
            assert refused.value.reason == "NO_CAPACITY"
            assert refused.value.retry_after_s is not None
            leaving = asyncio.create_task(select(60))
            await wait_until(lambda: counts.waiting == 1)
            leaving.cancel()
            await wait_until(lambda: counts.waiting == 0)
            waiting = asyncio.create_task(select(60))
            await wait_until(lambda: counts.waiting == 1)
            await hub.release(held.lease_id)
            async with asyncio.timeout(5):
                selection = await waiting
            assert selection.endpoint.id == held.endpoint.id
            assert selection.HasField("waited")
            assert counts.waits == {"deadline": 1, "cancelled": 1, "place": 1}
