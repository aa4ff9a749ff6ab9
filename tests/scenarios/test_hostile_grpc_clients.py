"""What hostile gRPC clients try on a hub, each with an honest client that is served meanwhile."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from hub.contract import rpcs
from hub.transports.grpc import native_grpc_server
from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.limits import Limits
from llmhub.v1.admin_service_pb2 import GetServerInfoRequest, RegisterEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.http2_peer import REQUEST, SocketPeer, message
from tests.support.hub import RunningHub, running_hub
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.usefixtures("grpc_engine"),
    pytest.mark.parametrize("grpc_engine", ["native"], indirect=True),
]

_INITIAL_WINDOW_SIZE = 4


@asynccontextmanager
async def _attacked(tmp_path, monkeypatch, **limits: float) -> AsyncIterator[RunningHub]:
    """A hub with narrower bounds; an honest client calls it all the while."""
    monkeypatch.setattr(native_grpc_server, "Limits", partial(Limits, **limits))
    async with running_hub(tmp_path) as hub:
        answered, over = 0, asyncio.Event()

        async def call() -> None:
            nonlocal answered
            while not over.is_set():
                assert await hub.call("GetServerInfo", GetServerInfoRequest(), timeout_s=30)
                answered += 1

        honest = asyncio.create_task(call())
        await wait_until(lambda: answered >= 3)
        try:
            yield hub
            so_far = answered
            await wait_until(lambda: answered >= so_far + 3 or honest.done())
        finally:
            over.set()
            await honest


async def _peer(hub: RunningHub, window: int | None = None) -> SocketPeer:
    port = int(hub.grpc_address.rpartition(":")[2])
    return await SocketPeer.connect(
        port, None if window is None else {_INITIAL_WINDOW_SIZE: window}
    )


def _call(peer: SocketPeer, stream: int, path: str, token: str = "", body: bytes = b"") -> bytes:
    fields = tuple((name, path if name == ":path" else value) for name, value in REQUEST)
    if token:
        fields = (*fields, ("authorization", f"Bearer {token}"))
    return peer.headers(stream, fields) + peer.data(stream, message(body))


def _status(fields: dict[str, str]) -> status_pb2.Status:
    found = fields["grpc-status-details-bin"]
    return status_pb2.Status.FromString(b64decode(found + "=="))


async def test_snapshots_that_are_left_unread(tmp_path, monkeypatch):
    """One reader's token, windows of 0, and a fleet that changes: what waits is bounded."""
    bound = 3_000_000
    async with _attacked(tmp_path, monkeypatch, unsent_bytes_per_token=bound) as hub:
        for number in range(300):
            labels = {f"key-{n}": "v" * 60 for n in range(10)}
            await hub.call(
                "RegisterEndpoint",
                RegisterEndpointRequest(host="127.0.0.1", port=20_000 + number, labels=labels),
            )
        token = await hub.token(ROLE_READER)
        size = (await hub.snapshot()).ByteSize()
        assert size > 100_000
        path = rpcs.rpc("GetSnapshot").path
        refused, server = [], hub.hub._listeners._grpc._server
        peers = []
        for number in range(2 * bound // size):
            # Another snapshot each time, so that readers cannot share it.
            await hub.call(
                "RegisterEndpoint",
                RegisterEndpointRequest(host="127.0.0.1", port=20_000, name=f"name-{number}"),
            )
            peer = await _peer(hub, 0)
            peers.append(peer)
            await peer.send(_call(peer, 1, path, token))
            head = await peer.wait_for(frames.HEADERS, 1)
            if head.flags & frames.END_STREAM:
                refused.append(peer.fields(head))
            assert server.ledger.unsent.total <= bound + 2 * size
        assert len(refused) >= bound // size // 2
        status = _status(refused[0])
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in status.details)
        assert retry.retry_delay.ToMilliseconds() > 0
        # Another token has its own room.
        assert (await hub.snapshot()).ByteSize() >= size
        for peer in peers:
            peer.close()


async def test_rapid_reset_without_a_token(tmp_path, monkeypatch):
    async with _attacked(tmp_path, monkeypatch) as hub:

        async def attack() -> None:
            peer = await _peer(hub)
            for start in range(0, 20_000, 100):
                numbers = range(2 * start + 1, 2 * start + 201, 2)
                await peer.send(
                    b"".join(
                        peer.headers(number) + frames.rst_stream(number, 8) for number in numbers
                    )
                )
            last = (await peer.wait_closed())[-1]
            assert last.kind == frames.GOAWAY
            peer.close()

        await asyncio.gather(*(attack() for _ in range(4)))


async def test_a_prober_finds_the_hub_healthy_though_strangers_hold_every_connection(
    tmp_path, monkeypatch
):
    async with _attacked(tmp_path, monkeypatch, connections_per_address=20) as hub:
        strangers = [await _peer(hub) for _ in range(100)]
        prober = await _peer(hub)
        body = HealthCheckRequest().SerializeToString()
        await prober.send(_call(prober, 1, "/grpc.health.v1.Health/Check", body=body))
        answer = HealthCheckResponse.FromString((await prober.wait_for(frames.DATA, 1)).payload[5:])
        assert answer.status == HealthCheckResponse.SERVING
        for each in (*strangers, prober):
            each.close()


@pytest.mark.parametrize("idle", [True, False])
async def test_strangers_that_answer_pings_leave_in_the_end(tmp_path, monkeypatch, idle):
    limits = {"stranger_idle_s": 0.3, "drain_ping_s": 0.1}
    async with _attacked(tmp_path, monkeypatch, **limits) as hub:
        stranger = await _peer(hub)
        if not idle:
            await stranger.send(_call(stranger, 1, rpcs.rpc("GetSnapshot").path, "no token"))
        last = [one for one in await stranger.wait_closed() if one.kind == frames.GOAWAY][-1]
        assert last.code == 0
        stranger.close()
