import asyncio
import json
from contextlib import closing, suppress

import pytest
from structlog.testing import capture_logs

from hub.service.handlers.read_registry import JsonHandlers
from hub.transports.http import authentication, connections
from tests.support.hub import REGISTRY_PATH, running_hub
from tests.support.waiting import wait_until

SIGN_IN = (
    "POST /api/dashboard/session HTTP/1.1\r\nHost: h\r\n"
    "X-LLM-Hub: d\r\nSec-Fetch-Site: same-origin\r\n"
)


async def opened(hub, sent=b""):
    reader, writer = await asyncio.open_connection(*hub.http_address.split(":"))
    writer.write(sent)
    return reader, writer


async def rest(reader):
    async with asyncio.timeout(10):
        return await reader.read()


async def test_a_connection_without_a_complete_head_is_closed(hub, monkeypatch):
    monkeypatch.setattr(connections, "_HEAD_S", 0.05)
    for sent in (b"", b"GET /heal"):
        reader, writer = await opened(hub, sent)
        assert await rest(reader) == b""
        writer.close()


async def test_an_idle_connection_is_closed(hub, monkeypatch):
    monkeypatch.setattr(connections, "_KEEPALIVE_S", 0.05)
    reader, writer = await opened(hub, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await rest(reader)).endswith(b'{"status":"ok"}')
    writer.close()


async def test_a_body_that_does_not_arrive_times_out(hub, monkeypatch):
    monkeypatch.setattr(authentication, "_BODY_S", 0.05)
    reader, writer = await opened(hub, f"{SIGN_IN}Content-Length: 9\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readuntil(b"}")
    assert b" 408 " in head
    assert b"Connection: close" in head
    assert body == b'{"error":"request_timeout"}'
    writer.close()


async def test_connections_beyond_the_limit_are_closed_at_once(tmp_path):
    async with running_hub(tmp_path, http={"max_connections": 1}) as hub:
        traffic = hub.hub._observability.traffic
        reader, writer = await opened(hub, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"}")
        other, second = await opened(hub)
        with suppress(ConnectionResetError):
            assert await rest(other) == b""
        second.close()
        assert traffic.http_turned_away == 1
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(10):
            while True:
                reader, writer = await opened(hub, b"GET /healthz HTTP/1.0\r\nHost: h\r\n\r\n")
                with closing(writer), suppress(ConnectionResetError):
                    if b" 200 " in await reader.read():
                        break


@pytest.mark.parametrize("path", ["/snapshot", ""])
async def test_a_stalled_reader_is_disconnected(hub, monkeypatch, path):
    monkeypatch.setattr(connections, "_STALL_S", 0.05)
    body = b'{"endpoints":[]}' + b" " * 16_000_000
    monkeypatch.setattr(JsonHandlers, "_list_endpoints", lambda _self: body)
    monkeypatch.setattr(JsonHandlers, "_join_snapshot", lambda _self: body)
    _, writer = await opened(
        hub,
        f"GET {REGISTRY_PATH}{path} HTTP/1.1\r\nHost: h\r\n"
        f"Authorization: Bearer {hub.admin_token}\r\n\r\n".encode(),
    )
    site = hub.hub._listeners._http._runner.server
    await wait_until(lambda: site.connections)
    await wait_until(lambda: not site.connections)
    writer.close()


async def test_a_long_body_arrives_complete(hub, monkeypatch):
    value = {"endpoints": ["x" * 300_000]}
    encoded = json.dumps(value).encode()
    monkeypatch.setattr(JsonHandlers, "_list_endpoints", lambda _self: encoded)
    answer = await hub.http("GET", REGISTRY_PATH)
    assert answer.json == value
    assert int(answer.headers["Content-Length"]) > 300_000


async def test_malformed_requests_are_not_internal_errors(hub):
    traffic = hub.hub._observability.traffic
    with capture_logs() as logged:
        _, writer = await opened(hub, f"{SIGN_IN}Content-Length: 9\r\n\r\n{{".encode())
        await wait_until(lambda: hub.hub._listeners._http._runner.server.requests_count)
        writer.close()
        await writer.wait_closed()
        gone = ("POST", "/api/dashboard/session", "gone")
        await wait_until(lambda: gone in dict(traffic.requests.items()))

        chunked = f"{SIGN_IN}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
        reader, writer = await opened(hub, chunked)
        assert b" 400 " in await reader.readline()
        writer.close()

        zipped = await hub.http(
            "POST", REGISTRY_PATH, body={"host": "h"}, headers={"Content-Encoding": "deflate"}
        )
        assert (zipped.status, zipped.json) == (415, {"error": "unsupported_media_type"})
    assert not [each for each in logged if each["log_level"] == "error"]
    assert not traffic.errors
