"""Health as gRPC's own checkers ask for it, over real sockets."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from hub.base.clock import SystemClock
from hub.contract import rpcs
from hub.server.hub_server import HubServer
from hub.transports.grpc import grpc_server, health_service
from hub.transports.grpc.health_service import Health
from tests.support.http2 import END_STREAM, RawConnection
from tests.support.hub import failure, running_hub, settings_for
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")

NAMES = [service.full_name for service in rpcs.SERVICES]
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
NEEDING_THE_STORE = {"", "llmhub.v1.AdminService"}


def statuses(health: Health) -> dict[str, int]:
    return {name: health.status(name) for name in ("", *NAMES)}


async def test_services_that_need_the_store_follow_readiness():
    reason = None
    health = Health(NAMES, lambda: reason)
    assert set(statuses(health).values()) == {SERVING}
    reason = "the store does not answer"
    assert {name for name, status in statuses(health).items() if status == NOT_SERVING} == (
        NEEDING_THE_STORE
    )
    reason = None
    health.stop()
    assert set(statuses(health).values()) == {NOT_SERVING}
    assert health.status("nope") == HealthCheckResponse.SERVICE_UNKNOWN


async def test_a_health_watch_sends_changes_and_ends_with_the_hub():
    reason = None
    health = Health(NAMES, lambda: reason)
    reported = []

    async def watch(name):
        async for response in health.watch(name):
            status = response.status
            reported.append((name, status))

    watching = [asyncio.create_task(watch(name)) for name in ("", "llmhub.v1.RegistryService")]
    await wait_until(lambda: len(reported) == 2)
    reason = "the store does not answer"
    await wait_until(lambda: len(reported) == 3)
    reason = None
    await wait_until(lambda: len(reported) == 4)
    assert [status for name, status in reported if not name] == [SERVING, NOT_SERVING, SERVING]
    health.stop()
    async with asyncio.timeout(60):
        await asyncio.gather(*watching)
    assert len(reported) == 6
    assert {status for _, status in reported[4:]} == {NOT_SERVING}


async def test_a_stop_while_a_status_is_sent_is_reported():
    health = Health(NAMES, lambda: None)
    reported = []
    async for response in health.watch(""):
        reported.append(response.status)
        health.stop()
    assert reported == [SERVING, NOT_SERVING]


async def test_an_unknown_service_may_be_watched(hub):
    health = health_pb2_grpc.HealthStub(hub.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=60)
    assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_malformed_message_bytes_are_refused(hub):
    for method in ("Check", "Watch"):
        call = hub.channel.unary_stream(f"/grpc.health.v1.Health/{method}")(b"\xff", timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert failure(caught.value).reason == "VALIDATION_FAILED"


async def test_watchers_that_do_not_read_do_not_delay_the_stop(tmp_path):
    hub = HubServer(settings_for(tmp_path), SystemClock())
    await hub.start()
    connection = await RawConnection.open(hub.info().grpc_address, window=0)
    try:
        for name in ("", *NAMES):
            request = health_pb2.HealthCheckRequest(service=name).SerializeToString()
            data = b"\0" + len(request).to_bytes(4) + request
            await connection.call("/grpc.health.v1.Health/Watch", data, flags=END_STREAM)
        await wait_until(lambda: len(hub._listeners._grpc._open) == 1 + len(NAMES))
    finally:
        async with asyncio.timeout(60):
            await hub.stop()
        await connection.close()


@pytest.mark.parametrize("grpc_engine", ["grpcio"], indirect=True)
async def test_silent_checks_make_room_for_complete_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(grpc_server, "_MAX_CHECKS_WAITING_PER_PEER", 2)
    monkeypatch.setattr(health_service, "CHECK_MESSAGE_S", 600.0)
    async with running_hub(tmp_path) as hub:
        silent = hub.channel.stream_stream("/grpc.health.v1.Health/Check")
        calls = [silent(timeout=60) for _ in range(2)]
        await wait_until(lambda: len(hub.hub._listeners._grpc._checks._waiting) == 2)
        health = health_pb2_grpc.HealthStub(hub.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert answer.status == SERVING
        # Which of the two came first is up to the network.
        await wait_until(lambda: any(call.done() for call in calls))
        (ended,) = [call for call in calls if call.done()]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ended.read()
        assert failure(caught.value).reason == "LIMIT_REACHED"
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("grpc_engine", ["grpcio"], indirect=True)
async def test_unread_replies_delay_no_other_check(tmp_path, monkeypatch):
    monkeypatch.setattr(grpc_server, "_MAX_CHECK_REPLIES", 2)
    async with running_hub(tmp_path) as hub:
        deaf = await RawConnection.open(hub.grpc_address, window=0)
        try:
            path, empty = "/grpc.health.v1.Health/Check", bytes(5)
            for _ in range(2):
                await deaf.call(path, empty, flags=END_STREAM)
            await wait_until(lambda: hub.hub._listeners._grpc._checks._replies.total() == 2)
            await deaf.ended(await deaf.call(path, empty, flags=END_STREAM))
            health = health_pb2_grpc.HealthStub(hub.channel)
            assert await health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        finally:
            await deaf.close()
        await wait_until(lambda: not hub.hub._listeners._grpc._checks._replies)
