"""Process over real sockets, with each gRPC server; its streams under random messages."""

import asyncio
from contextlib import suppress
from random import Random

import grpc
import pytest

from hub.transports.grpc.picker.gateway_messages import PATH
from llmhub.gateway.v1 import processing_pb2 as pb
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.envoy import gateway_token
from tests.support.fleet import saw
from tests.support.fleet_of import loaded
from tests.support.hub import RunningHub, failure, running_hub
from tests.support.picking import body, destination, headers, response
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")

GATEWAY = {"enabled": True, "require_keys": False}


@pytest.fixture
async def hub(tmp_path):
    async with running_hub(tmp_path, gateway=GATEWAY) as running:
        request = RegisterEndpointRequest(host="127.0.0.1", port=9, name="one")
        await running.call("RegisterEndpoint", request)
        fleet = running.hub._fleet
        assert fleet is not None
        fleet.registry.observe("127.0.0.1:9", saw(models=(loaded("m"),)))
        yield running


def process(hub: RunningHub, token: str):
    method = hub.channel.stream_stream(
        PATH,
        request_serializer=lambda each: (
            each if isinstance(each, bytes) else each.SerializeToString()
        ),
        response_deserializer=pb.ProcessingResponse.FromString,
    )
    return method(metadata=hub.metadata(token), timeout=30)


def leases(hub: RunningHub) -> int:
    return len(hub.handlers_of(_SELECT).leases)


from hub.contract.rpcs import rpc  # noqa: E402

_SELECT = rpc("SelectEndpoint")


async def test_a_stream_holds_its_lease_until_it_ends(hub: RunningHub):
    token = await gateway_token(hub)
    call = process(hub, token)
    await call.write(headers())
    await call.write(body(b'{"model": "m"}'))
    assert destination(await call.read()) == "127.0.0.1:9"
    assert (await call.read()).WhichOneof("response") == "request_body"
    await call.write(response())
    assert (await call.read()).WhichOneof("response") == "response_headers"
    assert leases(hub) == 1
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    await wait_until(lambda: leases(hub) == 0)


async def test_a_reset_stream_releases_its_lease(hub: RunningHub):
    call = process(hub, await gateway_token(hub))
    await call.write(headers())
    await call.write(body(b'{"model": "m"}'))
    await call.read()
    assert leases(hub) == 1
    call.cancel()
    await wait_until(lambda: leases(hub) == 0)


async def test_streams_are_for_gateways_alone(hub: RunningHub):
    for token, reason in (
        (await hub.token(ROLE_READER), "ROLE_FORBIDDEN"),
        ("wrong", "INVALID_TOKEN"),
        ("", "INVALID_TOKEN"),
    ):
        call = process(hub, token)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert failure(refused.value).reason == reason


async def test_streams_are_counted(hub: RunningHub):
    traffic = hub.hub._observability.traffic
    call = process(hub, await gateway_token(hub))
    await call.write(headers())
    await wait_until(lambda: traffic.open_streams["Process"] == 1)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    await wait_until(lambda: traffic.streams["Process", "OK"] == 1)


@pytest.mark.parametrize("service", ["liveness", "readiness", PATH.split("/")[1]])
async def test_gateways_may_ask_for_health(hub: RunningHub, service: str):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(hub.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def any_message(rng: Random) -> pb.ProcessingRequest | bytes:
    if rng.random() < 0.03:
        return rng.randbytes(rng.randrange(40))
    kinds = [
        lambda: headers(
            path=rng.choice(["/v1/chat/completions", "/api/chat", "/v1/models", "/x"]),
            method=rng.choice(["POST", "POST", "GET"]),
            mode=rng.choice([None, 0, 1, 2, 3, 4, 4, 4, 9]),
            early=rng.random() < 0.5,
            ended=rng.random() < 0.1,
            subset=rng.choice([None, None, "", ["127.0.0.1:9"], "x"]),
        ),
        lambda: body(
            rng.choice([b'{"model": "m"}', b'{"model"', b': "m", ', b'"x": 1}', b"", b"]["]),
            ended=rng.random() < 0.5,
        ),
        lambda: response(rng.choice([200, 429, 503]), ended=rng.random() < 0.3),
        lambda: pb.ProcessingRequest(request_trailers=pb.HttpTrailers()),
        lambda: pb.ProcessingRequest(response_trailers=pb.HttpTrailers()),
        lambda: pb.ProcessingRequest(response_body=pb.HttpBody(body=b"x", end_of_stream=True)),
        lambda: pb.ProcessingRequest(observability_mode=True),
    ]
    # Mostly in the order in which a gateway sends them.
    return rng.choice([*kinds, kinds[0], kinds[1], kinds[1], kinds[2]])()


async def test_random_streams_neither_crash_nor_leak(hub: RunningHub):
    rng = Random(11)
    token = await gateway_token(hub)
    traffic = hub.hub._observability.traffic

    async def converse() -> None:
        call = process(hub, token)
        first = headers() if rng.random() < 0.8 else any_message(rng)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for message in (first, *(any_message(rng) for _ in range(rng.randrange(8)))):
                await call.write(message)
            if rng.random() < 0.3:
                call.cancel()
                return
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass

    for _ in range(40):
        await asyncio.gather(*(converse() for _ in range(10)))
    await wait_until(lambda: traffic.open_streams["Process"] == 0)
    assert leases(hub) == 0
    assert traffic.errors["grpc", "INTERNAL"] == 0
    assert traffic.streams["Process", "OK"] > 50
