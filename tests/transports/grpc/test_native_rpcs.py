"""What the RPCs do only on the native server; the rest is in test_grpc_server.py."""

from functools import partial

import grpc
import pytest

from hub.contract import rpcs
from hub.transports.grpc import native_grpc_server
from hub.transports.grpc.native.limits import Limits
from llmhub.v1.admin_service_pb2 import GetServerInfoRequest
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import failure, running_hub

NATIVE = {"engine": "native"}


async def test_the_streams_of_one_token_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(native_grpc_server, "Limits", partial(Limits, streams_per_token=2))
    async with running_hub(tmp_path, grpc=NATIVE) as hub:
        watch = hub.channel.unary_stream(rpcs.rpc("WatchRegistry").path)
        request = WatchRegistryRequest().SerializeToString()
        open_watches = [watch(request, metadata=hub.metadata(None)) for _ in range(2)]
        for each in open_watches:
            await each.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch(request, metadata=hub.metadata(None), timeout=30).read()
        refused = failure(caught.value)
        assert (refused.reason, refused.retry_after_ms) == ("LIMIT_REACHED", 1_000)
        assert hub.admin_token not in refused.message
        # Of this token, other calls have room; so have the streams of another one.
        assert await hub.call("GetServerInfo", GetServerInfoRequest())
        other = hub.metadata(await hub.token(ROLE_READER))
        open_watches.append(watch(request, metadata=other))
        await open_watches[-1].read()
        for each in open_watches:
            each.cancel()
