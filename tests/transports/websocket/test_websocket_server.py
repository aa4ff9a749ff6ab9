import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from llmhub.v1.admin_service_pb2 import (
    DisconnectSidecarRequest,
    ListSidecarsRequest,
    RevokeTokenRequest,
)
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import running_hub
from tests.support.waiting import wait_until

CAPTURED = Path(__file__).parents[2] / "support" / "sidecar-frames.jsonl"


async def sidecars(hub):
    answer = await hub.call("ListSidecars", ListSidecarsRequest())
    return {each.agent_id: each for each in answer.sidecars}


async def test_a_sidecar_identifies_reports_and_pings(hub):
    async with hub.sidecar("node-1", name="rack", capabilities=["code"]) as socket:
        assert (await socket.ask({"type": "ping"}))["type"] == "pong"
        await socket.send({"type": "resource_report", "cpu_percent": 7})
        # No reply to the report: the next frame's answer is the next frame.
        assert (await socket.ask({"type": "ping"}))["type"] == "pong"
        assert (await hub.snapshot()).resources["node-1"].cpu_percent == 7
        info = (await sidecars(hub))["node-1"]
        assert (info.name, info.transport, info.remote_address) == ("rack", "ws", "127.0.0.1")
        assert info.frames_received == 4
    await wait_until(lambda: hub.hub.info().sidecar_count == 0)


async def test_frames_of_existing_sidecars_are_accepted(hub):
    token = await hub.token(ROLE_SIDECAR, "rack-7")
    async with hub.socket() as socket:
        for line in CAPTURED.read_text().splitlines():
            await socket.send(line.replace("TOKEN", token))
        assert await socket.receive() == {"type": "identified", "agent_id": "rack-7"}
        assert (await socket.receive())["type"] == "pong"
        assert (await socket.ask({"type": "ping"}))["type"] == "pong"
    snapshot = await hub.snapshot()
    assert [each.name for each in snapshot.endpoints] == ["rack-7-local"]
    assert snapshot.resources["rack-7"].cpu_percent == 39


async def test_the_connection_survives_errors(hub):
    async with hub.socket() as socket:
        assert await socket.ask("nope") == {"type": "error", "error": "invalid_json"}
        assert (await socket.ask(b"\x00"))["errors"][0]["detail"] == "expected JSON object"
        assert await socket.ask({"type": "ping"}) == {"type": "error", "error": "not_identified"}
        token = await hub.token(ROLE_SIDECAR, "node-1")
        identify = {"type": "identify", "agent_id": "node-1", "token": token}
        assert (await socket.ask(identify))["type"] == "identified"


async def test_a_connection_that_does_not_identify_is_closed(tmp_path):
    async with running_hub(tmp_path, ws={"identify_timeout_s": 0.05}) as hub:
        async with hub.socket() as silent:
            assert await silent.closed() == (1008, "identify timeout")
        async with hub.socket() as talking:
            # On a busy machine the time may be over before this is on its way.
            with suppress(ConnectionClosed):
                await talking.send({"type": "ping"})
            assert await talking.closed() == (1008, "identify timeout")


async def test_a_connection_identified_in_time_stays_open(tmp_path):
    async with running_hub(tmp_path, ws={"identify_timeout_s": 0.1}) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with hub.sidecar("node-1", token=token) as socket, hub.socket() as silent:
            # Opened after the first, so its deadline is the later one.
            await silent.closed()
            assert (await socket.ask({"type": "ping"}))["type"] == "pong"


@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_a_frame_that_is_too_long_closes_the_connection(hub, kind):
    frame = json.dumps({"type": "ping", "x": "y" * 65_536})
    async with hub.sidecar("node-1") as socket:
        await socket.send(frame if kind == "text" else frame.encode())
        code, _ = await socket.closed()
        assert code == 1009


async def test_a_frame_of_the_maximum_size_is_accepted(hub):
    frame = json.dumps({"type": "ping", "x": ""})
    frame = frame.replace('""', '"' + "y" * (65_536 - len(frame)) + '"')
    assert len(frame) == 65_536
    async with hub.sidecar("node-1") as socket:
        assert (await socket.ask(frame))["type"] == "pong"


async def test_text_that_is_not_utf_8_closes_the_connection(hub):
    async with hub.sidecar("node-1") as socket:
        await socket.connection.send(b'{"type":"p\xff"}', text=True)
        code, _ = await socket.closed()
        assert code == 1007


async def test_a_second_connection_replaces_the_first(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with (
        hub.sidecar("node-1", token=token, name="old") as old,
        hub.sidecar("node-1", token=token, name="new") as new,
    ):
        assert await old.closed() == (4001, "replaced")
        assert (await new.ask({"type": "ping"}))["type"] == "pong"
        assert (await sidecars(hub))["node-1"].name == "new"


async def test_too_many_violations_end_the_connection(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with hub.sidecar("node-1", token=token) as socket:
        # One burst, more than the ten: the rest is not even answered.
        for _ in range(30):
            await socket.connection.send("nope")
        for _ in range(10):
            assert (await socket.receive())["error"] == "invalid_json"
        assert await socket.closed() == (1008, "too many validation errors")
    async with hub.socket() as socket:
        await socket.send({"type": "identify", "agent_id": "node-1", "token": token})
        assert await socket.closed() == (1008, "cooldown active: retry in 30s")


async def test_a_revoked_token_ends_its_connections_at_once(hub):
    created = await hub.created_token(ROLE_SIDECAR, "node-1")
    async with hub.sidecar("node-1", token=created.token) as socket, hub.sidecar("node-2") as other:
        await hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
        assert await socket.closed() == (1008, "token revoked")
        assert (await other.ask({"type": "ping"}))["type"] == "pong"


async def test_an_admin_can_end_the_connection(hub):
    async with hub.sidecar("node-1") as socket:
        request = DisconnectSidecarRequest(agent_id="node-1", reason="maintenance")
        await hub.call("DisconnectSidecar", request)
        assert await socket.closed() == (1000, "maintenance")


async def test_a_long_reason_is_cut_to_what_a_close_frame_holds(hub):
    async with hub.sidecar("node-1") as socket:
        request = DisconnectSidecarRequest(agent_id="node-1", reason="ü" * 2000)
        await hub.call("DisconnectSidecar", request)
        assert await socket.closed() == (1000, "ü" * 61)


@pytest.mark.parametrize("path", ["/", "/ws/", "/wss", "/api/schemas"])
async def test_a_wrong_path_is_not_found(hub, path):
    with pytest.raises(InvalidStatus) as caught:
        async with hub.socket(path=path):
            pass
    assert caught.value.response.status_code == 404
    assert b"/ws" in caught.value.response.body


async def test_a_query_in_the_path_is_ignored(hub):
    async with hub.socket(path="/ws?v=1") as socket:
        assert (await socket.ask({"type": "ping"}))["error"] == "not_identified"


async def test_connections_beyond_the_limit_get_503(tmp_path):
    async with running_hub(tmp_path, ws={"max_connections": 1}) as hub, hub.socket() as first:
        await first.ask({"type": "ping"})
        with pytest.raises(InvalidStatus) as caught:
            async with hub.socket():
                pass
        assert caught.value.response.status_code == 503


async def test_websocket_pings_are_answered(hub):
    async with hub.socket() as socket, asyncio.timeout(30):
        await (await socket.connection.ping())


async def test_a_connection_without_pongs_is_closed(tmp_path):
    section = {"ping_interval_s": 0.05, "ping_timeout_s": 0.05}
    async with running_hub(tmp_path, ws=section) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with hub.sidecar("node-1", token=token) as socket:
            # Reads nothing from now on, so it answers nothing.
            socket.connection.transport.pause_reading()
            await wait_until(lambda: hub.hub.info().sidecar_count == 0)
            socket.connection.transport.abort()


async def test_compression_is_not_negotiated(hub):
    url = f"ws://{hub.ws_address}/ws"
    async with connect(url, compression="deflate", proxy=None) as connection:
        assert "Sec-WebSocket-Extensions" not in connection.response.headers


async def test_a_stop_closes_as_going_away(tmp_path):
    async with running_hub(tmp_path) as hub, hub.sidecar("node-1") as socket, hub.socket() as new:
        await new.ask({"type": "ping"})
        await hub.hub.stop()
        assert await socket.closed() == (1001, "hub is stopping")
        assert await new.closed() == (1001, "hub is stopping")


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        ("192.0.2.7", "192.0.2.7"),
        # Only the last address is the proxy's own word.
        ("198.51.100.1, 192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
        (None, "127.0.0.1"),
    ],
)
async def test_a_trusted_proxys_forwarded_address_is_used(tmp_path, forwarded, seen):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    async with running_hub(tmp_path, ws={"trusted_proxies": ["127.0.0.0/8"]}) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with hub.socket(headers=headers) as socket:
            await socket.ask({"type": "identify", "agent_id": "node-1", "token": token})
            assert (await sidecars(hub))["node-1"].remote_address == seen


async def test_localhost_behind_a_trusted_proxy_is_the_sidecars_host(tmp_path):
    headers = {"X-Forwarded-For": "192.0.2.7"}
    async with running_hub(tmp_path, ws={"trusted_proxies": ["127.0.0.1"]}) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with hub.socket(headers=headers) as socket:
            await socket.ask({"type": "identify", "agent_id": "node-1", "token": token})
            ack = await socket.ask({"type": "ollama_report", "ollama_url": "http://localhost:9"})
            # Not a host that a hub under test may connect to, which is how it shows.
            assert ack["error"] == "target_forbidden"
            assert "192.0.2.7" in ack["detail"]


async def test_a_forwarded_address_of_an_untrusted_peer_is_ignored(tmp_path):
    async with running_hub(tmp_path, ws={"trusted_proxies": ["10.0.0.0/8"]}) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with hub.socket(headers={"X-Forwarded-For": "192.0.2.7"}) as socket:
            await socket.ask({"type": "identify", "agent_id": "node-1", "token": token})
            assert (await sidecars(hub))["node-1"].remote_address == "127.0.0.1"


async def test_broken_connections_leave_nothing_behind(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    for _ in range(5):
        async with hub.sidecar("node-1", token=token) as socket:
            socket.connection.transport.abort()
            with pytest.raises(ConnectionClosed):
                await socket.receive()
    await wait_until(lambda: hub.hub.info().sidecar_count == 0)
