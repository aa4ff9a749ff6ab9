"""Tests of both gRPC servers are in picker/test_process_method.py and xds/."""

from functools import partial

import grpc
import pytest

from hub.transports.grpc import native_grpc_server
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.picker.gateway_messages import PATH
from llmhub.gateway.v1 import processing_pb2 as pb
from tests.support.envoy import gateway_token
from tests.support.hub import failure, running_hub
from tests.support.picking import headers
from tests.support.waiting import wait_until


async def test_streams_count_against_the_gateways_token(tmp_path, monkeypatch):
    monkeypatch.setattr(native_grpc_server, "Limits", partial(Limits, streams_per_token=2))
    async with running_hub(tmp_path, gateway={"enabled": True}, grpc={"engine": "native"}) as hub:
        metadata = hub.metadata(await gateway_token(hub))
        method = hub.channel.stream_stream(PATH, pb.ProcessingRequest.SerializeToString)
        traffic = hub.hub._observability.traffic
        calls = [method(metadata=metadata, timeout=30) for _ in range(2)]
        for call in calls:
            await call.write(headers())
        await wait_until(lambda: traffic.open_streams["Process"] == 2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(metadata=metadata, timeout=30).read()
        assert failure(refused.value).reason == "LIMIT_REACHED"
        for call in calls:
            call.cancel()
        await wait_until(lambda: traffic.open_streams["Process"] == 0)


async def test_a_hub_that_serves_no_gateways_does_not_know_the_method(tmp_path):
    async with running_hub(tmp_path, grpc={"engine": "native"}) as hub:
        method = hub.channel.stream_stream(PATH, pb.ProcessingRequest.SerializeToString)
        call = method(metadata=hub.metadata(None), timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
