"""What the RPCs do only on the native server; the rest is in test_grpc_server.py."""

from functools import partial

import grpc
import pytest

from hub.contract import rpcs
from hub.transports.grpc import native_grpc_server, native_rpcs
from hub.transports.grpc.native.limits import Limits
from llmhub.v1.admin_service_pb2 import (
    GetServerInfoRequest,
    RegisterEndpointRequest,
    RevokeTokenRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    SelectEndpointRequest,
    WatchRegistryRequest,
)
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import failure, running_hub
from tests.support.scrape import scrape, value

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
        counted = await scrape(hub)
        labels = {"transport": "grpc", "bound": "streams_per_token"}
        assert value(counted, "llmhub_refused_total", **labels) == 1
        # Of this token, other calls have room; so have the streams of another one.
        assert await hub.call("GetServerInfo", GetServerInfoRequest())
        other = hub.metadata(await hub.token(ROLE_READER))
        open_watches.append(watch(request, metadata=other))
        await open_watches[-1].read()
        for each in open_watches:
            each.cancel()


async def test_the_same_request_is_answered_as_of_now(tmp_path, monkeypatch):
    monkeypatch.setattr(native_rpcs, "_REMEMBERED", 2)
    async with running_hub(tmp_path, grpc=NATIVE) as hub:
        for port in (1, 2, 3):
            await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=port))
        for name in ("first", "second"):
            for port in (1, 2, 3):
                update = Endpoint(id=f"127.0.0.1:{port}", name=f"{name} {port}")
                await hub.call("UpdateEndpoint", UpdateEndpointRequest(endpoint=update))
            for port in (1, 2, 3):
                request = GetEndpointRequest(id=f"127.0.0.1:{port}")
                answer = await hub.call("GetEndpoint", request)
                assert answer.endpoint.name == f"{name} {port}"


async def test_a_repeated_call_is_refused_once_its_token_is_revoked(tmp_path):
    async with running_hub(tmp_path, grpc=NATIVE) as hub:
        token = await hub.token(ROLE_READER)
        request = SelectEndpointRequest(model="none")

        async def reason() -> str:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await hub.call("SelectEndpoint", request, token=token)
            return failure(caught.value).reason

        assert [await reason() for _ in range(2)] == ["MODEL_UNKNOWN"] * 2
        await hub.call("RevokeToken", RevokeTokenRequest(id=token.split("_")[1]))
        assert await reason() == "INVALID_TOKEN"
