import asyncio
import json

import pytest

from hub.contract.descriptors import descriptor_set
from hub.contract.dialect.frames import KNOWN_TYPES
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.hub import REGISTRY_PATH, running_hub

UNAUTHORIZED = {"error": "unauthorized", "hint": "provide Authorization: Bearer <token>"}


async def register(hub, **body):
    answer = await hub.http("POST", REGISTRY_PATH, body=body)
    assert answer.status == 201, answer
    return answer.json


# The routes.


async def test_schemas_are_served(hub):
    answer = await hub.http("GET", "/api/schemas")
    assert answer.status == 200
    assert answer.json["version"] == answer.json["schemas"]["version"] == "1.0"
    websocket = {each["type"]: each for each in answer.json["schemas"]["websocket"]}
    assert list(websocket) == list(KNOWN_TYPES)
    assert [each["name"] for each in websocket["identify"]["required_fields"]] == [
        "agent_id",
        "token",
    ]
    (registration,) = answer.json["schemas"]["http"]
    assert registration["key"] == "llm_registry.register"
    assert registration["json_schema"]["required"] == ["host"]
    assert set(registration["json_schema"]["properties"]) == set(
        RegisterEndpointRequest.DESCRIPTOR.fields_by_name
    )


async def test_the_contract_as_a_descriptor_set(hub):
    url = f"http://{hub.http_address}/api/descriptors"
    headers = {"Authorization": f"Bearer {await hub.token(ROLE_READER)}"}
    async with hub.session.get(url, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/protobuf")
        assert await answer.read() == descriptor_set()
    assert (await hub.http("GET", "/api/descriptors", token="")).status == 401


async def test_health_needs_no_token(tmp_path):
    async with running_hub(tmp_path) as hub:
        for path, body in (("/healthz", {"status": "ok"}), ("/readyz", {"status": "ready"})):
            answer = await hub.http("GET", path, token="")
            assert (answer.status, answer.json) == (200, body)
        hub.hub._ready = False
        answer = await hub.http("GET", "/readyz", token="")
        assert (answer.status, answer.json["status"]) == (503, "not_ready")
        assert (await hub.http("GET", "/healthz", token="")).status == 200


# Who may ask.

PROTECTED = [
    ("GET", REGISTRY_PATH),
    ("POST", REGISTRY_PATH),
    ("GET", f"{REGISTRY_PATH}/snapshot"),
    ("GET", f"{REGISTRY_PATH}/localhost:1"),
    ("DELETE", f"{REGISTRY_PATH}/localhost:1"),
    ("GET", "/api/schemas"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_a_missing_or_invalid_token_is_refused(hub, method, path):
    for authorization in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}):
        answer = await hub.http(method, path, token="", headers=authorization)
        assert (answer.status, answer.json) == (401, UNAUTHORIZED)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_roles_are_enforced(hub, method, path):
    reader, sidecar = await hub.token(ROLE_READER), await hub.token(ROLE_SIDECAR, "node-1")
    refused = await hub.http(method, path, token=sidecar)
    assert (refused.status, refused.json) == (403, {"error": "forbidden"})
    answer = await hub.http(method, path, token=reader)
    if method == "GET":
        assert answer.status in (200, 404)
    else:
        assert (answer.status, answer.json) == (403, {"error": "forbidden"})


async def test_permission_comes_before_existence_and_validity(hub):
    reader = await hub.token(ROLE_READER)
    await register(hub, host="localhost", port=1)
    for path in (f"{REGISTRY_PATH}/localhost:1", f"{REGISTRY_PATH}/localhost:2"):
        assert (await hub.http("DELETE", path, token=reader)).status == 403
    assert (await hub.http("POST", REGISTRY_PATH, token=reader, data=b"{")).status == 403


# What is wrong with a request.


@pytest.mark.parametrize("data", [b"", b"{", b"nope", b"\xff", b'{"host":"h"} x'])
async def test_invalid_json_is_refused(hub, data):
    answer = await hub.http("POST", REGISTRY_PATH, data=data)
    assert (answer.status, answer.json) == (400, {"error": "invalid_json"})


@pytest.mark.parametrize(
    ("body", "field", "error"),
    [
        ({}, "host", "required"),
        ({"host": None}, "host", "required"),
        ({"host": "h", "port": "9"}, "port", "wrong_type"),
        ({"host": "h", "port": 99999}, "port", "out_of_range"),
        ({"host": "h", "port": 9.5}, "port", "wrong_type"),
        ({"host": "h", "port": True}, "port", "wrong_type"),
        ({"host": "h", "port": -1}, "port", "out_of_range"),
        ({"host": "h/path"}, "host", "invalid"),
        ({"host": "http://h"}, "host", "invalid"),
        ({"host": {"a": 1}}, "host", "wrong_type"),
        ({"host": "h", "backend": "nope"}, "backend", "invalid"),
        ({"host": "h", "labels": {"a": 1}}, 'labels["a"]', "wrong_type"),
        ([], "message", "wrong_type"),
        (1, "message", "wrong_type"),
    ],
    ids=json.dumps,
)
async def test_a_wrong_field_is_named(hub, body, field, error):
    answer = await hub.http("POST", REGISTRY_PATH, body=body)
    assert (answer.status, answer.json["error"]) == (422, "validation_failed")
    (violation,) = answer.json["errors"]
    assert (violation["field"], violation["error"]) == (field, error)
    assert violation["detail"]
    # Only a scalar is shown again.
    shown = isinstance(body, dict) and error != "required" and not isinstance(body["host"], dict)
    assert ("value" in violation) == shown
    assert (await hub.http("GET", REGISTRY_PATH)).json == {"endpoints": []}


async def test_a_repeated_invalid_body_gets_the_same_error(hub):
    for _ in range(20):
        answer = await hub.http("POST", REGISTRY_PATH, body={"host": {"a": 1}})
        assert answer.status == 422
    assert (await hub.http("GET", "/readyz")).status == 200


async def test_a_forbidden_probe_target_is_refused(hub):
    answer = await hub.http("POST", REGISTRY_PATH, body={"host": "169.254.169.254"})
    assert (answer.status, answer.json["error"]) == (422, "target_forbidden")


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api", 404, "not_found"),
        ("GET", f"{REGISTRY_PATH}/", 404, "not_found"),
        ("GET", "/api/admin/llm-registry-x", 404, "not_found"),
        ("PUT", REGISTRY_PATH, 405, "method_not_allowed"),
        ("POST", f"{REGISTRY_PATH}/localhost:1", 405, "method_not_allowed"),
        ("PUT", f"{REGISTRY_PATH}/localhost:1", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("DELETE", "/api/schemas", 405, "method_not_allowed"),
    ],
)
async def test_other_errors_are_json_too(hub, method, path, status, error):
    answer = await hub.http(method, path)
    assert (answer.status, answer.json) == (status, {"error": error})
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "path", [f"{REGISTRY_PATH}/%FF", f"{REGISTRY_PATH}/%00", "/%", "//", "/%2e%2e/"]
)
async def test_strange_paths_are_not_found(hub, path):
    answer = await hub.http("GET", path)
    assert answer.status in (400, 404, 422)
    assert set(answer.json) >= {"error"}


async def test_a_body_that_is_too_long_is_refused(tmp_path):
    async with running_hub(tmp_path, http={"max_body_bytes": 1024}) as hub:
        answer = await hub.http("POST", REGISTRY_PATH, body={"host": "h", "name": "n" * 2000})
        assert (answer.status, answer.json) == (413, {"error": "body_too_large"})
        assert (await hub.http("GET", REGISTRY_PATH)).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_another_media_type_is_refused(hub, content_type):
    headers = {"Content-Type": content_type}
    answer = await hub.http("POST", REGISTRY_PATH, data=b'{"host":"h"}', headers=headers)
    assert (answer.status, answer.json) == (415, {"error": "unsupported_media_type"})


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8"])
async def test_the_media_type_may_be_left_out_or_have_parameters(hub, content_type):
    headers = {"Content-Type": content_type} if content_type else None
    answer = await hub.http("POST", REGISTRY_PATH, data=b'{"host":"h"}', headers=headers)
    assert answer.status == 201


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=["garbage", "long header", "wrong length", "tls"],
)
async def test_malformed_http_gets_a_json_error(hub, caplog, raw):
    host, _, port = hub.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"application/json" in head
    assert body == b'{"error":"bad_request"}'
    writer.close()
    await writer.wait_closed()
    # A stranger must not be able to fill the log with tracebacks.
    assert not [record for record in caplog.records if record.exc_info]
    assert (await hub.http("GET", REGISTRY_PATH)).status == 200


async def test_exceeding_a_rate_limit_is_refused(tmp_path):
    limits = {"admin": {"light": 1, "normal": 2, "heavy": 1}}
    async with running_hub(tmp_path, rate_limits=limits) as hub:
        assert (await hub.http("POST", REGISTRY_PATH, body={"host": "h"})).status == 201
        limited = await hub.http("POST", REGISTRY_PATH, body={"host": "h"})
        assert limited.status == 429
        assert limited.json["error"] == "rate_limited"
        assert limited.json["tier"] == "heavy"
        assert 0 < limited.json["retry_after_ms"] <= 60_000
        assert 0 < int(limited.headers["Retry-After"]) <= 60
        # The other tiers have buckets of their own.
        assert (await hub.http("GET", REGISTRY_PATH)).status == 200


async def test_an_internal_error_has_a_request_id(hub, monkeypatch):
    def explode():
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(hub.hub._fleet.registry, "fleet_models", explode)
    answer = await hub.http("GET", f"{REGISTRY_PATH}/snapshot")
    assert (answer.status, answer.json["error"]) == (500, "internal")
    assert "request id" in answer.json["detail"]
    assert "secret" not in answer.json["detail"]
