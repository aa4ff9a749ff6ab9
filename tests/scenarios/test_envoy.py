"""A real Envoy, set up as `llm-hub envoy config` does, asks the picker where requests go."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator

import grpc
import pytest
from aiohttp import web

from hub.cli.output.envoy_bootstrap import Bootstrap
from hub.contract.rpcs import rpc
from llmhub.v1.admin_service_pb2 import SetModelAliasRequest, UpdateEndpointRequest
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DRAINING, Endpoint
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.authority import Authority
from tests.support.envoy import (
    Gateway,
    InferenceServer,
    envoy,
    gateway_before,
    gateway_token,
    inference_servers,
    register,
)
from tests.support.hub import RunningHub, running_hub
from tests.support.ports import lasting_address
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")

OPEN = {"enabled": True, "require_keys": False}
CHAT = {"messages": [{"role": "user", "content": "hello"}], "model": "m"}
MIB = 2**20


def leases(hub: RunningHub) -> int:
    return len(hub.handlers_of(rpc("SelectEndpoint")).leases)


@pytest.fixture
async def hub(tmp_path) -> AsyncIterator[RunningHub]:
    async with running_hub(tmp_path / "hub", gateway=OPEN) as running:
        yield running


@pytest.fixture
async def servers() -> AsyncIterator[tuple[InferenceServer, InferenceServer]]:
    one, two = InferenceServer("one", ["m"]), InferenceServer("two", ["m"])
    async with inference_servers(one, two):
        yield one, two


@pytest.fixture
async def gateway(hub, servers, tmp_path) -> AsyncIterator[Gateway]:
    async with gateway_before(hub, tmp_path) as running:
        await register(hub, running, *servers)
        yield running


async def test_a_request_reaches_a_server_that_has_its_model(tmp_path):
    one, two = InferenceServer("one", ["m"]), InferenceServer("two", ["n"])
    async with (
        running_hub(tmp_path / "hub", gateway={"enabled": True}) as hub,
        inference_servers(one, two),
        gateway_before(hub, tmp_path) as gateway,
    ):
        await register(hub, gateway, one, two)
        token = await hub.token(ROLE_READER)
        spoofed = {"x-gateway-destination-endpoint": one.address}
        for model, server in (("m", one), ("n", two)):
            asked = CHAT | {"model": model}
            status, answer, _ = await gateway.post(json=asked, token=token, headers=spoofed)
            assert (status, answer["served_by"]) == (200, server.name)
            (arrived,) = server.arrived
            assert json.loads(arrived.body) == asked
            assert "Authorization" not in arrived.headers
            assert arrived.headers["x-gateway-destination-endpoint"] == server.address
        status, answer, _ = await gateway.post(json=CHAT | {"model": "none"}, token=token)
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        status, answer, _ = await gateway.post(json=CHAT)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        for path, key in (("/v1/models", "data"), ("/v1/models/m", "id"), ("/api/tags", "models")):
            status, answer, _ = await gateway.post(path, method="GET", token=token)
            assert status == 200
            assert key in answer
        assert leases(hub) == 0


async def test_aliases_keys_and_base_paths_are_translated(hub, tmp_path):
    server = InferenceServer("one", ["m"])
    async with inference_servers(server), gateway_before(hub, tmp_path) as gateway:
        await register(hub, gateway, server, api_key="server-secret")
        alias = ModelAlias(name="best", targets=[AliasTarget(model="m")])
        await hub.call("SetModelAlias", SetModelAliasRequest(alias=alias))

        async def echo(request: web.Request) -> web.Response:
            return web.json_response({}, headers={"x-echo": request.headers["Authorization"]})

        server.behave = echo
        sent = {"authorization": "Bearer of-the-client"}
        status, _, headers = await gateway.post(json=CHAT | {"model": "best"}, headers=sent)
        assert status == 200
        (arrived,) = server.arrived
        assert arrived.headers["Authorization"] == "Bearer server-secret"
        assert json.loads(arrived.body) == CHAT
        assert "server-secret" not in str(headers)


@pytest.mark.parametrize("fault", ["reset", "503", "stopped"])
async def test_a_request_is_repeated_on_the_next_server(hub, servers, gateway, fault):
    async def fail(request: web.Request) -> web.Response:
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({}, status=503)

    one, two = servers
    one.behave = fail
    if fault == "stopped":
        await one.stop()
    for _ in range(10):
        status, answer, _ = await gateway.post(json=CHAT)
        assert (status, answer["served_by"]) == (200, "two")
    assert len(two.arrived) == 10
    await wait_until(lambda: leases(hub) == 0)


@pytest.mark.parametrize("first", ["model", "input"])
async def test_a_body_of_8_mib_arrives_whole(hub, servers, gateway, first):
    """With the model first nothing is held; with the model last, all of it."""
    fields = {"model": "m", "input": "x" * (8 * MIB)}
    body = json.dumps({first: fields.pop(first), **fields}).encode()
    for _ in range(3):
        status, answer, _ = await gateway.post("/v1/embeddings", data=io.BytesIO(body))
        assert (status, answer["length"]) == (200, len(body))
    arrived = [each.body == body for server in servers for each in server.arrived]
    assert arrived == [True] * 3


async def test_a_large_body_is_repeated_too(hub, servers, gateway):
    async def reset(request: web.Request) -> None:
        assert request.transport is not None
        request.transport.abort()

    one, two = servers
    one.behave = reset
    body = json.dumps({"input": "x" * (8 * MIB), "model": "m"}).encode()
    for _ in range(2):
        status, answer, _ = await gateway.post("/v1/embeddings", data=io.BytesIO(body))
        assert (status, answer["served_by"]) == (200, "two")
    assert [each.body == body for each in two.arrived] == [True, True]


async def test_a_slow_body_with_trailers_arrives_whole(hub, servers, gateway):
    host, _, port = gateway.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"transfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n"
    )
    for chunk in (b'{"mess', b'ages": [], "mod', b'el": ', b'"m", "x": ', b"1}"):
        writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await writer.drain()
        await asyncio.sleep(0.02)
    writer.write(b"0\r\nx-end: yes\r\n\r\n")
    async with asyncio.timeout(30):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    (arrived,) = [each for server in servers for each in server.arrived]
    assert json.loads(arrived.body) == {"messages": [], "model": "m", "x": 1}
    writer.close()


async def test_a_streamed_response_holds_its_lease_until_it_ends(hub, servers, gateway):
    going, ended = asyncio.Event(), asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: one\n\n")
        going.set()
        await ended.wait()
        await response.write(b"data: two\n\n")
        await response.write_eof()
        return response

    for server in servers:
        server.behave = stream
    async with gateway.session.post(gateway.url("/v1/chat/completions"), json=CHAT) as response:
        assert await response.content.readline() == b"data: one\n"
        await going.wait()
        assert leases(hub) == 1
        ended.set()
        assert b"two" in await response.read()
    await wait_until(lambda: leases(hub) == 0)


@pytest.mark.parametrize("when", ["in the body", "before the response", "in the response"])
async def test_a_client_that_leaves_releases_its_lease(hub, servers, gateway, when):
    arrived = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if when == "in the response":
            await response.prepare(request)
            await response.write(b"x")
        arrived.set()
        await asyncio.Event().wait()
        return response

    for server in servers:
        server.behave = hang
    host, _, port = gateway.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    body = b'{"model": "m", "x": 1}'
    length = 1000 if when == "in the body" else len(body)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % length + body)
    await wait_until(lambda: leases(hub) == 1)
    if when != "in the body":
        await arrived.wait()
    writer.close()
    await wait_until(lambda: leases(hub) == 0)


async def test_a_draining_server_gets_no_new_requests(hub, servers, gateway):
    one, two = servers
    draining = Endpoint(id=one.address, admin_state=ADMIN_STATE_DRAINING)
    request = UpdateEndpointRequest(endpoint=draining)
    request.update_mask.paths.append("admin_state")
    await hub.call("UpdateEndpoint", request)
    for _ in range(6):
        status, answer, _ = await gateway.post(json=CHAT)
        assert (status, answer["served_by"]) == (200, "two")
    assert not one.arrived
    assert len(two.arrived) == 6


@pytest.mark.parametrize("allows_failure", ["false", "true"])
async def test_without_the_hub_requests_are_refused_and_go_on_when_it_is_back(
    tmp_path, servers, allows_failure
):
    """`failure_mode_allow` changes nothing: bodies are streamed, so Envoy cannot go on."""

    def allowing(text: str) -> str:
        assert "failure_mode_allow: false" in text
        return text.replace("mode_allow: false", f"mode_allow: {allows_failure}")

    listen = {"address": lasting_address()}
    async with running_hub(tmp_path / "hub", gateway=OPEN, grpc=listen) as hub:
        starting = gateway_before(hub, tmp_path, allowing)
        gateway = await starting.__aenter__()
        await register(hub, gateway, *servers)
        assert (await gateway.post(json=CHAT))[0] == 200
    try:
        assert (await gateway.post(json=CHAT))[0] == 500
        async with running_hub(tmp_path / "hub", gateway=OPEN, grpc=listen):

            async def served() -> bool:
                return (await gateway.post(json=CHAT))[0] == 200

            await wait_until(served)
    finally:
        await starting.__aexit__(None, None, None)


async def test_a_buffered_body_works_too(hub, servers, tmp_path):
    def buffered(text: str) -> str:
        modes = "request_body_mode: BUFFERED\n"
        return text.replace("request_body_mode: FULL_DUPLEX_STREAMED\n", modes)

    async with gateway_before(hub, tmp_path, buffered) as gateway:
        await register(hub, gateway, *servers)
        status, answer, _ = await gateway.post(json=CHAT)
        assert (status, answer["length"]) == (200, len(json.dumps(CHAT)))


async def test_many_requests_at_once_spread_over_the_servers(hub, servers, gateway):
    async def slowly(_request: web.Request) -> None:
        await asyncio.sleep(0.02)

    for server in servers:
        server.behave = slowly
    answers = await asyncio.gather(*(gateway.post(json=CHAT) for _ in range(100)))
    assert {status for status, _, _ in answers} == {200}
    counts = [len(server.arrived) for server in servers]
    assert min(counts) >= 35
    await wait_until(lambda: leases(hub) == 0)


async def test_clients_reach_a_gateway_with_tls_before_a_hub_with_tls(tmp_path, servers):
    """Envoy checks the hub's certificate, and clients check Envoy's."""
    authority = Authority(tmp_path)
    tls = authority.settings()
    own = {"cert_file": tls["cert_file"], "key_file": tls["key_file"]}
    async with running_hub(tmp_path / "hub", gateway=OPEN, tls=own) as hub:
        await hub.channel.close()
        credentials = grpc.ssl_channel_credentials(authority.ca.read_bytes())
        hub.channel = grpc.aio.secure_channel(hub.grpc_address, credentials)
        bootstrap = Bootstrap(
            hub=hub.grpc_address,
            token=await gateway_token(hub),
            listen=lasting_address(),
            admin=lasting_address(),
            hub_ca=str(authority.ca),
            cert=own["cert_file"],
            key=own["key_file"],
        )
        trusting = ssl.create_default_context(cafile=str(authority.ca))
        async with envoy(tmp_path, bootstrap, tls=trusting) as gateway:
            await register(hub, gateway, *servers)
            status, answer, _ = await gateway.post(json=CHAT, ssl=trusting)
            assert (status, answer["served_by"] in ("one", "two")) == (200, True)


async def test_a_request_that_no_client_ends_is_ended_by_the_gateway(hub, servers, tmp_path):
    async def hang(_request: web.Request) -> None:
        await asyncio.Event().wait()

    async with gateway_before(hub, tmp_path, idle_s=1) as gateway:
        await register(hub, gateway, *servers)
        for server in servers:
            server.behave = hang
        status, _, _ = await gateway.post(json=CHAT)
        assert status in (408, 504)
        await wait_until(lambda: leases(hub) == 0)
