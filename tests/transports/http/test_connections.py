import asyncio
import json

import pytest
from structlog.testing import capture_logs

from hub.service.handlers.read_registry import JsonHandlers
from hub.transports.http import authentication, connections
from llmhub.v1.resources_pb2 import ROLE_READER
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


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_address"])
async def test_a_connection_too_many_answers_health_checks_alone(tmp_path, bound):
    """L7: a liveness probe must not restart a hub because strangers hold its connections."""
    async with running_hub(tmp_path, http={bound: 3}) as hub:
        traffic = hub.hub._observability.traffic
        strangers = [await opened(hub) for _ in range(3)]
        for path, status in (("/healthz", b" 200 "), ("/readyz", b" 200 "), ("/metrics", b" 503 ")):
            reader, writer = await opened(hub, get(path))
            answer = await rest(reader)
            writer.close()
            assert status in answer.splitlines()[0]
            assert b"\r\nConnection: close\r\n" in answer
            assert (b"\r\nRetry-After: 1\r\n" in answer) == (path == "/metrics")
        assert traffic.http_turned_away == 3
        assert traffic.refusals.counts == {("http", bound.removeprefix("max_")): 3}
        for _, writer in strangers:
            writer.close()
            await writer.wait_closed()
        site = hub.hub._listeners._http._runner.server
        await wait_until(lambda: not site.connections)
        assert (await hub.http("GET", "/api/schemas")).status == 200


async def _from(hub, address, sent=b""):
    host, _, port = hub.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(address, 0))
    writer.write(sent)
    return reader, writer


async def test_a_few_addresses_cannot_keep_the_clients_of_others_out(tmp_path):
    async with running_hub(tmp_path, http={"max_connections": 8}) as hub:
        site = hub.hub._listeners._http._runner.server
        token = await hub.token(ROLE_READER)
        asking = get(REGISTRY_PATH).replace(
            b"Host", f"Authorization: Bearer {token}\r\nHost".encode()
        )
        known = [await _from(hub, "127.0.0.2", asking) for _ in range(4)]
        for reader, _ in known:
            assert b" 200 " in await reader.readline()
        strangers = [await _from(hub, "127.0.0.3") for _ in range(4)]
        await wait_until(lambda: len(site.connections) == 8)
        assert (await hub.http("GET", REGISTRY_PATH)).status == 200
        assert await rest(strangers[0][0]) == b""
        # The address with the most strangers gives way; those who are known keep their place.
        reader, writer = await _from(hub, "127.0.0.3", get("/metrics"))
        assert b" 503 " in await rest(reader)
        writer.close()
        for _, each in known:
            each.write(asking)
        for reader, _ in known:
            async with asyncio.timeout(10):
                assert await reader.readuntil(b" 200 OK")
        for _, each in (*known, *strangers):
            each.close()
            await each.wait_closed()
    assert hub.hub._observability.traffic.refusals.counts["http", "connections"] == 2


async def test_strangers_cannot_hold_the_connections_of_health_checks(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "HTTP_HEALTH_CONNECTIONS", 4)
    async with running_hub(tmp_path, http={"max_connections": 1}) as hub:
        strangers = [await opened(hub) for _ in range(9)]
        reader, writer = await opened(hub, get("/healthz"))
        assert b" 200 " in await rest(reader)
        writer.close()
        assert len(hub.hub._listeners._http._runner.server.connections) <= 5
        for _, writer in strangers:
            writer.close()


async def test_a_connection_too_many_must_ask_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "HTTP_HEALTH_HEAD_S", 0.05)
    async with running_hub(tmp_path, http={"max_connections": 1}) as hub:
        _, first = await opened(hub)
        reader, writer = await opened(hub)
        assert await rest(reader) == b""
        writer.close()
        first.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_half_a_sign_in_is_not_kept(hub, chunked):
    """L8: callers without a token send sign-ins, of which the hub would keep a MiB each."""
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1048576"
    half = b"2000\r\n" + b"x" * 8192 if chunked else b"x" * 8192
    reader, writer = await opened(hub, f"{SIGN_IN}{framing}\r\n\r\n".encode() + half)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"}") == b'{"error":"body_too_large"}'
    assert b" 413 " in head
    writer.close()
    assert hub.hub._observability.traffic.refusals.counts["http", "body"] == 1


async def test_many_half_sign_ins_beside_an_honest_caller(hub):
    held = []
    for _ in range(200):
        reader, writer = await opened(
            hub, f"{SIGN_IN}Content-Length: 1048576\r\n\r\n".encode() + b"x" * 65_536
        )
        held.append((reader, writer))
        assert (await hub.http("GET", REGISTRY_PATH)).status == 200
    for reader, writer in held:
        assert b" 413 " in await reader.readline()
        writer.close()


async def test_no_answer_names_versions(hub):
    for sent in (get("/healthz"), get("/nothing"), b"no HTTP\r\n\r\n"):
        reader, writer = await opened(hub, sent)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nServer: llm-hub\r\n" in head
        writer.close()


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
