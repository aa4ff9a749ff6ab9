"""The native server below the hub; what both servers do is in test_grpc_server.py."""

import grpc
import pytest

from hub.contract import rpcs
from llmhub.v1.admin_service_pb2 import GetServerInfoRequest
from tests.support.hub import running_hub


async def test_the_bounds_come_from_the_settings(tmp_path):
    native = {"engine": "native", "max_message_bytes": 1_024}
    async with running_hub(tmp_path, grpc=native) as hub:
        call = hub.channel.unary_unary(rpcs.rpc("GetServerInfo").path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(bytes(1_025), metadata=hub.metadata(None), timeout=30)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await hub.call("GetServerInfo", GetServerInfoRequest())


async def test_the_native_server_stops_with_the_hub(tmp_path):
    async with running_hub(tmp_path, grpc={"engine": "native"}) as hub:
        assert await hub.call("GetServerInfo", GetServerInfoRequest())
        connections = hub.hub._listeners._grpc._server.connections
    assert len(connections) == 0
