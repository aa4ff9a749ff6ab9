import json
from urllib.parse import quote

import pytest

from hub.contract.errors import FieldViolation, ValidationFailed
from hub.transports.http.endpoint_routes import in_terms_of_body, update_of
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import REGISTRY_PATH


async def register(hub, **body):
    answer = await hub.http("POST", REGISTRY_PATH, body=body)
    assert answer.status == 201, answer
    return answer.json


async def test_an_endpoint_is_registered(hub):
    shown = await register(hub, host="LocalHost", unknown_field=1)
    assert set(shown) == set(Endpoint.DESCRIPTOR.fields_by_name)
    assert shown["id"] == "localhost:11434"
    assert shown["name"] == "localhost:11434"
    assert (shown["port"], shown["scheme"], shown["source"]) == (11434, "http", "manual")
    assert (shown["status"], shown["admin_state"]) == ("unknown", "enabled")
    assert isinstance(shown["registered_at"], int)


async def test_registering_again_is_201_and_keeps_omitted_fields(hub):
    first = await register(
        hub, host="localhost", port=9, name="one", labels={"zone": "a"}, backend="vllm"
    )
    again = await register(hub, host="localhost", port=9, name="two")
    assert again["registered_at"] == first["registered_at"]
    assert (again["name"], again["labels"], again["backend"]) == ("two", {"zone": "a"}, "vllm")


async def test_an_api_key_is_never_shown(hub):
    shown = await register(hub, host="localhost", api_key="sk-hidden")
    listed = await hub.http("GET", REGISTRY_PATH)
    assert "sk-hidden" not in json.dumps([shown, listed.json])


async def test_endpoints_are_listed(hub):
    assert (await hub.http("GET", REGISTRY_PATH)).json == {"endpoints": []}
    for host in ("127.0.0.2", "127.0.0.1"):
        await register(hub, host=host)
    listed = await hub.http("GET", REGISTRY_PATH)
    assert listed.status == 200
    assert [each["id"] for each in listed.json["endpoints"]] == [
        "127.0.0.1:11434",
        "127.0.0.2:11434",
    ]


async def test_the_snapshot_is_served(hub):
    await register(hub, host="127.0.0.1", port=9)
    # Its first probe would count the revision up between the two that are compared.
    assert (await hub.http("POST", f"{REGISTRY_PATH}/127.0.0.1:9/check")).status == 200
    async with hub.sidecar("node-1") as socket:
        await socket.send({"type": "resource_report", "cpu_percent": 4})
        await socket.ask({"type": "ping"})
        answer = await hub.http("GET", f"{REGISTRY_PATH}/snapshot")
    assert answer.status == 200
    assert set(answer.json) == {"endpoints", "resources", "fleet_models", "vram", "revision"}
    assert answer.json["resources"]["node-1"]["cpu_percent"] == 4
    assert answer.json["revision"] == (await hub.snapshot()).revision


@pytest.mark.parametrize(
    ("host", "id_"), [("localhost", "localhost:11434"), ("::1", "[::1]:11434")]
)
@pytest.mark.parametrize("encode", [str, lambda id_: quote(id_, safe="")], ids=["plain", "percent"])
async def test_one_endpoint_is_served(hub, host, id_, encode):
    await register(hub, host=host)
    path = f"{REGISTRY_PATH}/{encode(id_)}"
    got = await hub.http("GET", path)
    assert (got.status, got.json["id"]) == (200, id_)
    removed = await hub.http("DELETE", path)
    assert (removed.status, removed.json) == (200, {"status": "removed", "id": id_})
    for method in ("GET", "DELETE"):
        missing = await hub.http(method, path)
        assert (missing.status, missing.json) == (404, {"error": "endpoint_not_found"})


async def test_an_id_that_is_too_long_is_refused(hub):
    answer = await hub.http("DELETE", f"{REGISTRY_PATH}/{'x' * 301}")
    assert answer.status == 422
    assert answer.json["errors"][0]["error"] == "too_long"


ONE = f"{REGISTRY_PATH}/h:1"


def test_the_bodys_keys_are_the_mask() -> None:
    assert update_of("h:1", {"labels": {"a": "b"}, "name": None, "etag": "7", "unknown": 1}) == {
        "endpoint": {"labels": {"a": "b"}, "name": None, "id": "h:1"},
        "update_mask": ["labels", "name"],
        "etag": "7",
    }


def test_a_patch_may_not_contain_read_only_fields() -> None:
    with pytest.raises(ValidationFailed) as refused:
        update_of("h:1", {"id": "h:1", "status": "healthy", "host": "x", "name": "n"})
    assert [each.field for each in refused.value.violations] == ["status", "host"]


def test_violations_name_the_fields_of_the_body() -> None:
    error = ValidationFailed([FieldViolation("endpoint.labels.a", "invalid", "no", "v")])
    assert in_terms_of_body(error).violations == [FieldViolation("labels.a", "invalid", "no", "v")]


async def test_patch_changes_the_given_fields(hub):
    path = f"{REGISTRY_PATH}/127.0.0.1:9"
    body = {"host": "127.0.0.1", "port": 9, "labels": {"zone": "a"}}
    await hub.http("POST", REGISTRY_PATH, body=body)
    # Its first probe would change what is read back.
    assert (await hub.http("POST", f"{path}/check")).status == 200
    drained = await hub.http("PATCH", path, body={"admin_state": "draining"})
    assert drained.status == 200
    assert (drained.json["admin_state"], drained.json["labels"]) == ("draining", {"zone": "a"})
    named = await hub.http("PATCH", path, body={"name": "n", "labels": {}})
    assert (named.json["name"], named.json["labels"]) == ("n", {})
    cleared = await hub.http("PATCH", path, body={"name": None})
    assert cleared.json["name"] == "127.0.0.1:9"
    assert (await hub.http("GET", path)).json == cleared.json
    assert (await hub.http("PATCH", path, body={})).json == cleared.json


async def test_patch_with_an_etag_is_conditional(hub):
    registered = await hub.http("POST", REGISTRY_PATH, body={"host": "h", "port": 1})
    etag = registered.json["etag"]
    first = await hub.http("PATCH", ONE, body={"name": "first", "etag": etag})
    assert first.json["name"] == "first"
    second = await hub.http("PATCH", ONE, body={"name": "second", "etag": etag})
    assert (second.status, second.json["error"]) == (409, "etag_mismatch")


@pytest.mark.parametrize(
    ("body", "field", "error"),
    [
        ([], "message", "wrong_type"),
        ({"labels": []}, "labels", "wrong_type"),
        ({"labels": {"a": 1}}, 'labels["a"]', "wrong_type"),
        ({"admin_state": "asleep"}, "admin_state", "invalid"),
        ({"name": "x" * 300}, "name", "too_long"),
        ({"host": "other"}, "host", "invalid"),
        ({"id": "other:1"}, "id", "invalid"),
        ({"etag": 7}, "etag", "wrong_type"),
    ],
)
async def test_a_wrong_patch_names_its_field(hub, body, field, error):
    await hub.http("POST", REGISTRY_PATH, body={"host": "h", "port": 1})
    before = await hub.http("GET", ONE)
    answer = await hub.http("PATCH", ONE, body=body)
    assert (answer.status, answer.json["error"]) == (422, "validation_failed")
    assert (answer.json["errors"][0]["field"], answer.json["errors"][0]["error"]) == (field, error)
    assert (await hub.http("GET", ONE)).json["etag"] == before.json["etag"]


async def test_patch_and_check_of_missing_or_forbidden_endpoints(hub):
    for method, path in (("PATCH", ONE), ("POST", f"{ONE}/check")):
        answer = await hub.http(method, path, body={})
        assert (answer.status, answer.json) == (404, {"error": "endpoint_not_found"})
        reader = await hub.token(ROLE_READER)
        refused = await hub.http(method, path, body={}, token=reader)
        assert (refused.status, refused.json) == (403, {"error": "forbidden"})


async def test_check_returns_the_result_of_the_probe(hub):
    # Nobody listens on the discard port, so the check fails, and says so.
    await hub.http("POST", REGISTRY_PATH, body={"host": "127.0.0.1", "port": 9})
    checked = await hub.http("POST", f"{REGISTRY_PATH}/127.0.0.1:9/check")
    assert checked.status == 200
    assert checked.json["last_error"]
    assert checked.json["last_checked_at"] is not None
