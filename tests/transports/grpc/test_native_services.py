"""Health and reflection on the native server; what both servers do is in their own tests."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hub.contract import rpcs
from tests.support.hub import failure, running_hub
from tests.support.scrape import scrape, value
from tests.support.waiting import wait_until


async def test_a_check_is_answered_when_there_is_no_room_for_calls(tmp_path):
    native = {"engine": "native", "max_concurrent_rpcs": 1}
    async with running_hub(tmp_path, grpc=native) as hub:
        silent = hub.channel.stream_stream(rpcs.rpc("GetSnapshot").path)(
            metadata=hub.metadata(None), timeout=60
        )
        await wait_until(lambda: hub.hub._listeners._grpc._server.ledger.calls.total == 1)
        check = health_pb2_grpc.HealthStub(hub.channel).Check
        answer = await check(health_pb2.HealthCheckRequest(), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await hub.call("GetServerInfo", timeout_s=30)
        assert failure(refused.value).reason == "LIMIT_REACHED"
        families = await scrape(hub)
        assert value(families, "llmhub_refused_total", transport="grpc", bound="calls") == 1
        silent.cancel()


async def test_an_unknown_service_is_not_found(tmp_path):
    async with running_hub(tmp_path, grpc={"engine": "native"}) as hub:
        check = health_pb2_grpc.HealthStub(hub.channel).Check
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(health_pb2.HealthCheckRequest(service="no.such"), timeout=30)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
