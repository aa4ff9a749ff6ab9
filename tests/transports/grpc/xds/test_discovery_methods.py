"""Discovery over real sockets, with each gRPC server."""

import asyncio

import grpc
import pytest

from hub.transports.envoy_resources import ASSIGNMENT_TYPE
from llmhub.gateway.v1 import discovery_pb2 as pb
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest, RemoveEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import RunningHub, failure, running_hub

pytestmark = pytest.mark.usefixtures("grpc_engine")

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
EDS = "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"


@pytest.fixture
async def hub(tmp_path):
    async with running_hub(tmp_path, gateway={"enabled": True}) as running:
        yield running


def stream(hub: RunningHub, path: str, token: str, *requests: pb.DiscoveryRequest):
    method = hub.channel.stream_stream(
        path,
        request_serializer=pb.DiscoveryRequest.SerializeToString,
        response_deserializer=pb.DiscoveryResponse.FromString,
    )
    given = iter(requests) if requests else None
    return method(given, metadata=hub.metadata(token), timeout=30)


def ports(response: pb.DiscoveryResponse) -> list[int]:
    (resource,) = response.resources
    groups = pb.ClusterLoadAssignment.FromString(resource.value).endpoints
    return [
        each.endpoint.address.socket_address.port_value
        for group in groups
        for each in group.lb_endpoints
    ]


@pytest.mark.parametrize("path", [ADS, EDS])
async def test_a_reader_follows_the_set(hub: RunningHub, path: str):
    call = stream(hub, path, await hub.token(ROLE_READER))
    await call.write(pb.DiscoveryRequest(type_url=ASSIGNMENT_TYPE, resource_names=["c"]))
    async with asyncio.timeout(30):
        response = await call.read()
        assert ports(response) == []
        for port in (9, 10):
            request = RegisterEndpointRequest(host="127.0.0.1", port=port)
            await hub.call("RegisterEndpoint", request)
        while ports(response) != [10, 9]:
            response = await call.read()
        await hub.call("RemoveEndpoint", RemoveEndpointRequest(id="127.0.0.1:9"))
        while ports(response) != [10]:
            response = await call.read()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def refusal(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(aiter(call))
    return failure(refused.value).reason


async def test_a_stream_needs_a_token_and_a_type_that_is_served(hub: RunningHub):
    assert await refusal(stream(hub, ADS, "")) == "INVALID_TOKEN"
    unknown = pb.DiscoveryRequest(type_url="x")
    token = await hub.token(ROLE_READER)
    assert await refusal(stream(hub, ADS, token, unknown)) == "VALIDATION_FAILED"
