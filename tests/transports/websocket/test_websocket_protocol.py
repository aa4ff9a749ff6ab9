"""The shell over real sockets: order, deadlines, back-pressure, and what a lost peer leaves."""

import asyncio
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from hub.transports.websocket.websocket_protocol import Hold, WebSocketProtocol
from llmhub.v1.admin_service_pb2 import DisconnectSidecarRequest
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import running_hub
from tests.support.raw_websocket import CLOSE, PING, PONG, TEXT, identified, opened, tcp
from tests.support.scrape import scrape, value
from tests.support.waiting import wait_until
from tests.support.websocket_fuzz import HANDSHAKE, frame

NO_LIMITS = {"enabled": False}
A_PING = frame(TEXT, b'{"type":"ping"}')


def connections(hub) -> set[WebSocketProtocol]:
    return hub.hub._listeners._websocket._shared.connections


async def test_frames_behind_one_that_waits_for_the_disk_keep_their_order(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with opened(hub) as raw:
        identify = (
            f'{{"type":"identify","agent_id":"node-1","token":"{token}",'
            '"ollama_url":"http://127.0.0.1:9"}'
        )
        late = b'{"type":"ollama_report","ollama_url":"http://127.0.0.1:7"}'
        # More than may wait, a binary one and two that wait again among them.
        await raw.send(
            frame(TEXT, identify.encode())
            + A_PING * 20
            + frame(2, b"\x00")
            + frame(TEXT, late) * 2
            + A_PING
            + frame(PING, b"end")
        )
        # The ping is a control frame, which no frame keeps waiting unless reading pauses.
        received = await raw.read_until(b"\x8a\x03end")
        while received.count(b'"pong"') < 21:
            await raw._read()
            received = raw.received
    kinds = [part.split(b'"', 1)[0] for part in received.split(b'{"type":"')[1:]]
    expected = [b"identified"] + [b"pong"] * 20 + [b"error"] + [b"ollama_report_ack"] * 2
    assert [kind for kind in kinds if kind != b"rate_limit_warning"] == [*expected, b"pong"]


async def test_a_sidecar_that_leaves_while_its_answer_waits_leaves_nothing(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with opened(hub) as raw:
        (connection,) = connections(hub)
        identify = (
            f'{{"type":"identify","agent_id":"node-1","token":"{token}",'
            '"ollama_url":"http://127.0.0.1:9"}'
        )
        await raw.send(frame(TEXT, identify.encode()) + A_PING)
        await wait_until(lambda: connection._waiting is not None or connection._session.identified)
    await wait_until(lambda: not connections(hub))
    assert hub.hub.info().sidecar_count == 0
    # What it asked for is done all the same.
    assert [each.id for each in (await hub.snapshot()).endpoints] == ["127.0.0.1:9"]


async def test_a_peer_that_does_not_read_is_not_read(tmp_path):
    async with running_hub(tmp_path, rate_limits=NO_LIMITS) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with identified(hub, "node-1", token) as raw:
            (connection,) = connections(hub)
            transport = connection._transport
            sending = transport.get_extra_info("socket")
            sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            asked = raw.fill(A_PING * 20_000) // len(A_PING)
            await wait_until(lambda: connection._holds & Hold.UNSENT)
            taken = connection._session._sidecar.frames
            assert taken < asked
            # The buffer holds at most its bound and the answers of one turn.
            assert transport.get_write_buffer_size() < 32_768 + 16 * 200
            # It goes on as soon as the peer reads, and nothing is lost.
            while raw.received.count(b'"pong"') < asked:
                assert await raw._read()


async def test_a_peer_that_does_not_answer_a_close_is_cut(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with identified(hub, "node-1", token) as raw:
        (connection,) = connections(hub)
        await hub.call("DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-1"))
        await raw.read_until(b"\x88")
        timer = connection._timer
        # Neither pings nor pongs put the end off.
        await raw.send(frame(PING, b"x") + frame(PONG, b"x") * 3 + A_PING)
        await raw.read_until(b"\x8a\x01x")
        assert connection._timer is timer
        await raw.read_all()
    await wait_until(lambda: not connections(hub))


async def test_what_a_peer_that_has_left_does_not_read_has_a_deadline(hub):
    """asyncio closes the socket at the peer's end only once all is written."""
    async with opened(hub) as raw:
        (connection,) = connections(hub)
        connection.eof_received()
        await raw.read_all()
    await wait_until(lambda: not connections(hub))


async def test_a_handshake_that_never_comes_is_cut(tmp_path):
    section = {"identify_timeout_s": 0.1}
    async with running_hub(tmp_path, ws=section) as hub, tcp(hub) as raw:
        await raw.send(HANDSHAKE[:40])
        assert await raw.read_all() == b""
        assert not connections(hub)


async def test_a_request_that_is_refused_is_answered_and_cut(hub):
    async with tcp(hub) as raw:
        await raw.send(HANDSHAKE.replace(b"/ws", b"/other"))
        received = await raw.read_all()
    assert received.startswith(b"HTTP/1.1 404 ")
    assert received.endswith(b"sidecars connect to /ws\n")


async def test_a_plain_http_request_is_told_to_upgrade(hub):
    async with tcp(hub) as raw:
        await raw.send(b"GET /ws HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert (await raw.read_all()).startswith(b"HTTP/1.1 426 ")
    await wait_until(lambda: not connections(hub))
    assert hub.hub._observability.traffic.websockets == 0


async def test_a_stop_answers_a_handshake_that_is_under_way(tmp_path):
    async with running_hub(tmp_path) as hub, tcp(hub) as raw:
        await wait_until(lambda: len(connections(hub)) == 1)
        stopping = asyncio.create_task(hub.hub.stop())
        assert (await raw.read_all()).startswith(b"HTTP/1.1 503 ")
        raw.connection.close()
        await stopping


@pytest.mark.parametrize("bound", ["max_unidentified_per_address", "max_connections_per_address"])
async def test_one_address_has_its_bounds(tmp_path, bound):
    async with running_hub(tmp_path, ws={bound: 2}) as hub:
        async with hub.socket(), hub.socket():
            with pytest.raises(InvalidStatus) as caught:
                await connect(f"ws://{hub.ws_address}/ws", proxy=None)
            assert caught.value.response.status_code == 503
            assert caught.value.response.headers["Retry-After"] == "5"
            seen = await scrape(hub)
            name = bound.removeprefix("max_")
            assert value(seen, "llmhub_websocket_refusals_total", bound=name) == 1
            assert value(seen, "llmhub_websocket_turned_away_total") == 1
        async with hub.socket() as again:
            assert (await again.ask({"type": "ping"}))["error"] == "not_identified"


async def test_an_identified_sidecar_makes_room_for_strangers(tmp_path):
    async with running_hub(tmp_path, ws={"max_unidentified_per_address": 1}) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with hub.sidecar("node-1", token=token), hub.socket():
            with pytest.raises(InvalidStatus, match="503"):
                await connect(f"ws://{hub.ws_address}/ws", proxy=None)


async def test_the_server_closes_tcp_after_the_peers_close(hub):
    async with opened(hub) as raw:
        await raw.send(frame(CLOSE, b"\x03\xe8"))
        assert await raw.read_all() == b"\x88\x02\x03\xe8"
    await wait_until(lambda: not connections(hub))
