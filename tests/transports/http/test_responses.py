import asyncio
import json
import sqlite3
import tracemalloc
from contextlib import closing

import aiohttp
import pytest
import uvloop
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub.base.data_dir import KEY_FILE, STORE_FILE
from hub.contract.errors import (
    EndpointNotFound,
    EtagMismatch,
    FieldViolation,
    HubError,
    InternalError,
    InvalidJson,
    InvalidToken,
    LimitReached,
    NotImplementedYet,
    RateLimited,
    RevisionCompacted,
    RoleForbidden,
    StoreUnavailable,
    TargetForbidden,
    TokenAgentMismatch,
    ValidationFailed,
)
from hub.stores.keyring import read_keys, write_keys
from hub.transports.http.responses import SharedBody, error_response
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import by_id, running_hub

BODY_BYTES = 8 << 20


async def unread_memory(readers: int) -> int:
    """How much memory it takes to send a body to readers that have read only its begin."""
    body = bytes(BODY_BYTES)
    app = web.Application()

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=SharedBody(body, "text/plain"))

    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    tracemalloc.start()
    writers = []
    try:
        for _ in range(readers):
            reader, writer = await asyncio.open_connection(host, port, limit=1024)
            writers.append(writer)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(1) == b"\0"
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        for writer in writers:
            writer.transport.abort()
        await runner.cleanup()


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_long_body_is_in_memory_once_for_all_who_read_it_slowly(new_loop):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(unread_memory(6)) < BODY_BYTES / 2


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_long_body_arrives_whole(new_loop):
    body = bytes(range(256)) * (BODY_BYTES // 256)

    async def get() -> bytes:
        app = web.Application()

        async def answer(_request: web.Request) -> web.Response:
            return web.Response(body=SharedBody(body, "text/plain"))

        app.router.add_get("/", answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            reply = await session.get(server.make_url("/"))
            assert reply.headers["Content-Length"] == str(BODY_BYTES)
            return await reply.read()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(get()) == body


def rendered(error: HubError) -> tuple[int, object]:
    response = error_response(error)
    assert response.content_type == "application/json"
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (
            InvalidToken("no"),
            401,
            {"error": "unauthorized", "hint": "provide Authorization: Bearer <token>"},
        ),
        (RoleForbidden("no"), 403, {"error": "forbidden"}),
        (TokenAgentMismatch("no"), 403, {"error": "forbidden"}),
        (EndpointNotFound("no"), 404, {"error": "endpoint_not_found"}),
        (InvalidJson("no"), 400, {"error": "invalid_json"}),
        (TargetForbidden("no"), 422, {"error": "target_forbidden", "detail": "no"}),
        (EtagMismatch("no"), 409, {"error": "etag_mismatch", "detail": "no"}),
        (RevisionCompacted("no"), 410, {"error": "revision_compacted", "detail": "no"}),
        (LimitReached("no"), 429, {"error": "limit_reached", "detail": "no"}),
        (NotImplementedYet("no"), 501, {"error": "not_implemented", "detail": "no"}),
        (StoreUnavailable("no"), 503, {"error": "store_unavailable", "detail": "no"}),
        (InternalError("no"), 500, {"error": "internal", "detail": "no"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HubError) else "",
)
def test_errors_become_json_responses(error, status, body):
    assert rendered(error) == (status, body)


def test_violations_show_a_value_only_if_there_is_one():
    violations = [
        FieldViolation("host", "required", "is required"),
        FieldViolation("port", "wrong_type", "expected integer, got string", "9"),
    ]
    assert rendered(ValidationFailed(violations)) == (
        422,
        {
            "error": "validation_failed",
            "errors": [
                {"field": "host", "error": "required", "detail": "is required"},
                {
                    "field": "port",
                    "error": "wrong_type",
                    "detail": "expected integer, got string",
                    "value": "9",
                },
            ],
        },
    )


@pytest.mark.parametrize(("retry_after_ms", "header"), [(1, "1"), (1000, "1"), (1001, "2")])
def test_a_rate_limit_says_when_to_retry(retry_after_ms, header):
    error = RateLimited("heavy", retry_after_ms)
    assert rendered(error) == (
        429,
        {"error": "rate_limited", "retry_after_ms": retry_after_ms, "tier": "heavy"},
    )
    assert error_response(error).headers["Retry-After"] == header


def test_401_names_its_scheme():
    assert error_response(InvalidToken("no")).headers["WWW-Authenticate"] == "Bearer"


def test_every_code_has_a_status():
    def leaves(kind):
        below = kind.__subclasses__()
        return [leaf for each in below for leaf in leaves(each)] if below else [kind]

    for kind in leaves(HubError):
        if kind not in (ValidationFailed, RateLimited):
            assert 400 <= rendered(kind("no"))[0] < 600


PATH = "/api/admin/backup"


async def copy_of(hub) -> bytes:
    headers = {"Authorization": f"Bearer {hub.admin_token}"}
    async with (
        asyncio.timeout(20),
        hub.session.get(f"http://{hub.http_address}{PATH}", headers=headers) as response,
    ):
        assert response.status == 200
        assert "hub.db" in response.headers["Content-Disposition"]
        return await response.read()


async def test_another_hub_can_start_from_a_store_copy(hub, tmp_path):
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="localhost", api_key="sk-1"))
    copies = await asyncio.gather(*(copy_of(hub) for _ in range(3)))
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="later"))
    assert {path.name for path in hub.settings.data_dir.iterdir()}.isdisjoint({"backup.tmp"})
    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    (restored / STORE_FILE).write_bytes(copies[0])
    (restored / STORE_FILE).chmod(0o600)
    (restored / "admin.token").write_text(hub.admin_token)
    # The copy holds an API key, so it needs the key ring of its hub.
    write_keys(restored / KEY_FILE, read_keys(hub.settings.data_dir / KEY_FILE))
    with closing(sqlite3.connect(restored / STORE_FILE)) as file:
        assert file.execute("PRAGMA quick_check").fetchone() == ("ok",)
    async with running_hub(restored) as second:
        assert set(by_id(await second.snapshot())) == {"localhost:11434"}


async def test_only_an_admin_may_copy_the_store(hub):
    reader = await hub.token(ROLE_READER)
    assert (await hub.http("GET", PATH, token=reader)).status == 403
    assert (await hub.http("GET", PATH, token="")).status == 401


async def test_an_unreadable_copy_closes_the_connection(hub, monkeypatch):
    from hub.transports.http import responses

    async def fail(*_):
        raise OSError("the disk is gone")

    class Broken:
        to_thread = staticmethod(fail)
        timeout = staticmethod(asyncio.timeout)

    monkeypatch.setattr(responses, "asyncio", Broken)
    with pytest.raises(aiohttp.ClientError):
        await copy_of(hub)
