import json
from urllib.parse import quote

import pytest

from llmhub.v1.endpoint_pb2 import Endpoint
from tests.support.hub import REGISTRY_PATH


async def register(hub, **body):
    answer = await hub.http("POST", REGISTRY_PATH, body=body)
    assert answer.status == 201, answer
    return answer.json


async def test_register(hub):
    shown = await register(hub, host="LocalHost", unknown_field=1)
    assert set(shown) == set(Endpoint.DESCRIPTOR.fields_by_name)
    assert shown["id"] == "localhost:11434"
    assert shown["name"] == "localhost:11434"
    assert (shown["port"], shown["scheme"], shown["source"]) == (11434, "http", "manual")
    assert (shown["status"], shown["admin_state"]) == ("unknown", "enabled")
    assert isinstance(shown["registered_at"], int)


async def test_register_again_is_201_too_and_keeps_what_is_not_given(hub):
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


async def test_list(hub):
    assert (await hub.http("GET", REGISTRY_PATH)).json == {"endpoints": []}
    for host in ("127.0.0.2", "127.0.0.1"):
        await register(hub, host=host)
    listed = await hub.http("GET", REGISTRY_PATH)
    assert listed.status == 200
    assert [each["id"] for each in listed.json["endpoints"]] == [
        "127.0.0.1:11434",
        "127.0.0.2:11434",
    ]


async def test_snapshot(hub):
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
async def test_one_endpoint(hub, host, id_, encode):
    await register(hub, host=host)
    path = f"{REGISTRY_PATH}/{encode(id_)}"
    got = await hub.http("GET", path)
    assert (got.status, got.json["id"]) == (200, id_)
    removed = await hub.http("DELETE", path)
    assert (removed.status, removed.json) == (200, {"status": "removed", "id": id_})
    for method in ("GET", "DELETE"):
        missing = await hub.http(method, path)
        assert (missing.status, missing.json) == (404, {"error": "endpoint_not_found"})


async def test_an_id_that_is_too_long(hub):
    answer = await hub.http("DELETE", f"{REGISTRY_PATH}/{'x' * 301}")
    assert answer.status == 422
    assert answer.json["errors"][0]["error"] == "too_long"
