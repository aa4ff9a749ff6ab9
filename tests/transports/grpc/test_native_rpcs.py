"""What the RPCs do only on the native server; the rest is in test_grpc_server.py."""

import grpc
import pytest

from hub.contract import rpcs
from hub.transports.grpc import native_rpcs
from llmhub.v1.admin_service_pb2 import GetServerInfoRequest
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest
from tests.support.hub import failure, running_hub

NATIVE = {"engine": "native"}


async def test_the_streams_of_one_token_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(native_rpcs, "_MAX_STREAMS_PER_TOKEN", 2)
    async with running_hub(tmp_path, grpc=NATIVE) as hub:
        watch = hub.channel.unary_stream(rpcs.rpc("WatchRegistry").path)
        request = WatchRegistryRequest().SerializeToString()
        open_watches = [watch(request, metadata=hub.metadata(None)) for _ in range(2)]
        for each in open_watches:
            await each.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch(request, metadata=hub.metadata(None), timeout=30).read()
        assert failure(caught.value).reason == "LIMIT_REACHED"
        assert await hub.call("GetServerInfo", GetServerInfoRequest())
        for each in open_watches:
            each.cancel()
