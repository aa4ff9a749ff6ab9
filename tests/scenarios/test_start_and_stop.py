"""How the process starts and stops: what it prints, what it refuses, and how it exits."""

import asyncio
import signal
import socket
import stat
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hub.base.data_dir import ADMIN_TOKEN_FILE, STORE_FILE
from hub.contract import rpcs
from llmhub.v1.admin_service_pb2 import CheckEndpointRequest, RegisterEndpointRequest
from llmhub.v1.frame_pb2 import HubFrame, IdentifyRequest, SidecarFrame
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_SIDECAR
from tests.support.hub import HubProcess, by_id, hub_process
from tools.fleetsim import Behaviour, FakeOllama

pytestmark = pytest.mark.usefixtures("grpc_engine")

# A stop takes at most 5 s. The rest is for a busy machine to schedule and end the process.
_STOP_S = 15.0


async def require_transports(process: HubProcess) -> None:
    """Checks that the three addresses of the `ready` line answer."""
    assert process.banner[-1] == "ready " + " ".join(
        f"{transport}={address}" for transport, address in process.addresses.items()
    )
    assert list(process.addresses) == ["ws", "grpc", "http"]
    async with process.client() as hub, hub.socket() as sidecar:
        assert (await sidecar.ask({"type": "ping"}))["error"] == "not_identified"
        info = await hub.call("GetServerInfo")
        assert process.addresses == {
            "ws": info.ws_address,
            "grpc": info.grpc_address,
            "http": info.http_address,
        }
        assert (await hub.http("GET", "/readyz", token="")).status == 200


async def test_the_first_run_creates_an_admin_token_and_shows_it_to_no_pipe(process):
    file = process.data_dir / ADMIN_TOKEN_FILE
    token = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(process.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((process.data_dir / STORE_FILE).stat().st_mode) == 0o600
    assert not any(token in line for line in process.banner)
    await require_transports(process)
    process.send(signal.SIGTERM)
    code, errors = await process.exited()
    assert code == 0
    assert token not in errors
    await process.start()
    assert not any(token in line for line in process.banner)
    await require_transports(process)
    assert file.read_text().strip() == token


@pytest.mark.parametrize("transport", ["ws", "grpc", "http"])
async def test_only_a_successful_start_creates_the_token(tmp_path, transport):
    file = tmp_path / ADMIN_TOKEN_FILE
    with socket.create_server(("127.0.0.1", 0)) as taken:
        failing = HubProcess(tmp_path, f"--{transport}", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(RuntimeError, match=f"{transport}: cannot listen on"):
            await failing.start()
    assert not file.exists()
    async with hub_process(tmp_path) as process:
        assert any(line.endswith(f"admin token in {file}") for line in process.banner)
        async with process.client() as hub:
            assert [each.role for each in (await hub.call("ListTokens")).tokens] == [ROLE_ADMIN]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
async def test_a_signal_stops_the_hub_under_load(process, fleet, number):
    fake = await fleet.add(FakeOllama(), Behaviour.HANGING)
    async with process.client() as hub, AsyncExitStack() as stack:
        request = RegisterEndpointRequest(host=fake.host, port=fake.port)
        await hub.call("RegisterEndpoint", request)
        sidecars = [await stack.enter_async_context(hub.sidecar(f"node-{n}")) for n in range(5)]
        stranger = await stack.enter_async_context(hub.socket())
        connect = hub.channel.stream_stream(
            rpcs.rpc("Connect").path, SidecarFrame.SerializeToString, HubFrame.FromString
        )
        stream = connect()
        identify = IdentifyRequest(agent_id="g", token=await hub.token(ROLE_SIDECAR, "g"))
        await stream.write(SidecarFrame(identify=identify))
        await stream.read()
        health = health_pb2_grpc.HealthStub(hub.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        check = asyncio.ensure_future(
            hub.call("CheckEndpoint", CheckEndpointRequest(id=fake.id), timeout_s=30)
        )
        await fake.wait_until(lambda: fake.open_connections >= 1)

        process.send(number)
        code, errors = await process.exited(timeout_s=_STOP_S)
        assert code == 0
        assert "Traceback" not in errors
        for each in (*sidecars, stranger):
            assert await each.closed() == (1001, "hub is stopping")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.read()
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError):
            await check
        watch.cancel()


async def test_calls_in_flight_at_the_stop_are_answered_or_have_no_effect(process):
    """A registration that the hub acknowledges while it stops is on disk."""
    async with process.client() as hub:
        calls = [
            asyncio.ensure_future(
                hub.call("RegisterEndpoint", RegisterEndpointRequest(host=f"127.9.9.{n}", port=9))
            )
            for n in range(1, 100)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        process.send(signal.SIGTERM)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        code, _ = await process.exited(timeout_s=_STOP_S)
        assert code == 0
    acknowledged = {each.endpoint.id for each in answers if not isinstance(each, Exception)}
    assert acknowledged
    await process.start()
    async with process.client() as hub:
        assert acknowledged <= set(by_id(await hub.snapshot()))
