from pathlib import Path

import orjson
import pytest

from hub.registry.state import Registry
from hub.times import to_timestamp
from hub.transports.http_discovery import openai_models, prometheus_targets
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, BACKEND_VLLM
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.fleet_of import NOW, add, loaded
from tests.support.hub import running_hub


@pytest.fixture
def registry() -> Registry:
    filled = Registry(first_revision=1000)
    add(
        filled,
        "10.0.0.1:8000",
        loaded("m"),
        loaded("n"),
        backend=BACKEND_VLLM,
        scheme="https",
        base_path="/v",
        name="one",
        agent_id="node-1",
        labels={"team/zone.a": "x"},
        registered_at=to_timestamp(NOW),
    )
    add(filled, "[::1]:1", loaded("m"), registered_at=to_timestamp(NOW - 5000))
    add(filled, "off:1", admin_state=ADMIN_STATE_DISABLED)
    return filled


def test_every_endpoint_that_is_not_disabled_is_a_target(registry: Registry) -> None:
    first, second = orjson.loads(prometheus_targets(registry))
    assert first == {
        "targets": ["10.0.0.1:8000"],
        "labels": {
            "__scheme__": "https",
            "__metrics_path__": "/v/metrics",
            "__meta_llm_hub_id": "10.0.0.1:8000",
            "__meta_llm_hub_name": "one",
            "__meta_llm_hub_agent_id": "node-1",
            "__meta_llm_hub_backend": "vllm",
            "__meta_llm_hub_status": "healthy",
            "__meta_llm_hub_admin_state": "enabled",
            "__meta_llm_hub_models": ",m,n,",
            "__meta_llm_hub_label_team_zone_a": "x",
        },
    }
    assert second["targets"] == ["[::1]:1"]
    assert second["labels"]["__metrics_path__"] == "/metrics"


def test_models_and_aliases_in_openai_s_shape(registry: Registry) -> None:
    for name in ("small", "m"):
        registry.put_alias(
            ModelAlias(
                name=name, targets=[AliasTarget(model="m")], updated_at=to_timestamp(NOW + 1000)
            )
        )
    created = NOW // 1000
    assert orjson.loads(openai_models(registry)) == {
        "object": "list",
        "data": [
            {"id": "m", "object": "model", "created": created - 5, "owned_by": "fleet"},
            {"id": "n", "object": "model", "created": created, "owned_by": "fleet"},
            {"id": "small", "object": "model", "created": created + 1, "owned_by": "alias"},
        ],
    }


def test_an_empty_fleet_is_an_empty_list() -> None:
    empty = Registry(first_revision=1)
    assert prometheus_targets(empty) == b"[]"
    assert orjson.loads(openai_models(empty)) == {"object": "list", "data": []}


@pytest.mark.parametrize("path", ["/api/discovery/prometheus", "/api/models"])
async def test_readers_get_them_over_http_and_sidecars_do_not(tmp_path: Path, path: str) -> None:
    async with running_hub(tmp_path) as hub:
        request = RegisterEndpointRequest(host="127.0.0.1", port=1)
        await hub.call("RegisterEndpoint", request)
        answer = await hub.http("GET", path, token=await hub.token(ROLE_READER))
        assert answer.status == 200
        if path.endswith("prometheus"):
            assert answer.json[0]["targets"] == ["127.0.0.1:1"]
        else:
            assert answer.json["object"] == "list"
        assert (await hub.http("GET", path, token="")).status == 401
        sidecar = await hub.token(ROLE_SIDECAR, "n")
        assert (await hub.http("GET", path, token=sidecar)).status == 403
