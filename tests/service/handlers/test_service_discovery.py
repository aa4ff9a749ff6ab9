import asyncio
from pathlib import Path

import orjson
import pytest

from hub.base.tasks import Slices
from hub.base.timestamps import to_timestamp
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.handlers.service_discovery import DiscoveryHandlers
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, BACKEND_VLLM
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.fleet_of import NOW, add, loaded
from tests.support.hub import running_hub

CALLER = Caller(Principal(ROLE_READER, "", "t"), "10.0.0.9", "http")


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


async def test_every_endpoint_that_is_not_disabled_is_a_target(registry: Registry) -> None:
    first, second = orjson.loads(
        await DiscoveryHandlers(registry).list_prometheus_targets(None, CALLER, NOW)
    )
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


async def test_models_and_aliases_are_in_openais_format(registry: Registry) -> None:
    for name in ("small", "m"):
        registry.put_alias(
            ModelAlias(
                name=name, targets=[AliasTarget(model="m")], updated_at=to_timestamp(NOW + 1000)
            )
        )
    created = NOW // 1000
    assert orjson.loads(
        await DiscoveryHandlers(registry).list_openai_models(None, CALLER, NOW)
    ) == {
        "object": "list",
        "data": [
            {"id": "m", "object": "model", "created": created - 5, "owned_by": "fleet"},
            {"id": "n", "object": "model", "created": created, "owned_by": "fleet"},
            {"id": "small", "object": "model", "created": created + 1, "owned_by": "alias"},
        ],
    }


async def test_an_empty_fleet_is_an_empty_list() -> None:
    empty = Registry(first_revision=1)
    assert await DiscoveryHandlers(empty).list_prometheus_targets(None, CALLER, NOW) == b"[]"
    assert orjson.loads(await DiscoveryHandlers(empty).list_openai_models(None, CALLER, NOW)) == {
        "object": "list",
        "data": [],
    }


async def test_bodies_are_cached_until_an_event(
    registry: Registry,
) -> None:
    discovery = DiscoveryHandlers(registry)
    targets, models = (
        await discovery.list_prometheus_targets(None, CALLER, NOW),
        await discovery.list_openai_models(None, CALLER, NOW),
    )
    before = registry.endpoints_revision, registry.event_revision
    registry.observe(
        "[::1]:1",
        Observation(
            checked_at_ms=NOW + 1000,
            next_check_at_ms=NOW + 31_000,
            latency_ms=1.0,
            models=(loaded("m"),),
        ),
    )
    assert registry.endpoints_revision > before[0]
    assert registry.event_revision == before[1]
    assert await discovery.list_prometheus_targets(None, CALLER, NOW) is targets
    assert await discovery.list_openai_models(None, CALLER, NOW) is models
    add(registry, "10.0.0.0:1", loaded("new"), registered_at=to_timestamp(NOW))
    registry.remove_endpoint("[::1]:1")
    registry.put_alias(ModelAlias(name="late", targets=[AliasTarget(model="m")]))
    add(registry, "10.0.0.1:8000", admin_state=ADMIN_STATE_DISABLED)
    assert await discovery.list_prometheus_targets(None, CALLER, NOW) == await DiscoveryHandlers(
        registry
    ).list_prometheus_targets(None, CALLER, NOW)
    assert [
        each["targets"]
        for each in orjson.loads(await discovery.list_prometheus_targets(None, CALLER, NOW))
    ] == [["10.0.0.0:1"]]
    assert await discovery.list_openai_models(None, CALLER, NOW) == await DiscoveryHandlers(
        registry
    ).list_openai_models(None, CALLER, NOW)
    assert [
        each["id"]
        for each in orjson.loads(await discovery.list_openai_models(None, CALLER, NOW))["data"]
    ] == [
        "new",
        "late",
    ]


async def test_changes_beyond_the_ring_are_found() -> None:
    small = Registry(first_revision=1, ring_capacity=2)
    discovery = DiscoveryHandlers(small)
    await discovery.list_prometheus_targets(None, CALLER, NOW)
    for i in range(5):
        add(small, f"h{i}:1", loaded())
    assert len(orjson.loads(await discovery.list_prometheus_targets(None, CALLER, NOW))) == 5


async def test_a_change_between_two_slices_is_included(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        add(registry, f"h{i}:1", loaded("m"), registered_at=to_timestamp(NOW))
    discovery = DiscoveryHandlers(registry)
    monkeypatch.setattr(discovery, "_slices", Slices(slice_s=0))

    async def change() -> None:
        for i in range(8):
            registry.remove_endpoint(f"h{i}:1")
            add(registry, f"new{i}:1", loaded("late"), registered_at=to_timestamp(NOW))
            await asyncio.sleep(0)

    targets, models, again, _ = await asyncio.gather(
        discovery.list_prometheus_targets(None, CALLER, NOW),
        discovery.list_openai_models(None, CALLER, NOW),
        discovery.list_prometheus_targets(None, CALLER, NOW),
        change(),
    )
    assert (
        targets
        == again
        == await DiscoveryHandlers(registry).list_prometheus_targets(None, CALLER, NOW)
    )
    assert {each["id"] for each in orjson.loads(models)["data"]} == {"m", "n", "late"}


async def test_the_next_call_includes_the_changes_of_a_cancelled_one(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    discovery = DiscoveryHandlers(registry)
    slices = Slices(slice_s=0)
    monkeypatch.setattr(discovery, "_slices", slices)
    await discovery.list_prometheus_targets(None, CALLER, NOW)
    for i in range(5):
        add(registry, f"h{i}:1", loaded(f"model-{i}"), registered_at=to_timestamp(NOW))
    # It takes notice of all changes, tells of one and is given up.
    given_up = asyncio.create_task(slices.run(discovery._catch_up))
    await asyncio.sleep(0)
    given_up.cancel()
    # Others, who have caught up before that, are about to make what they answer.
    for make in (discovery._make_targets, discovery._make_models):
        making = make()
        await slices.run(lambda making=making: making)
    fresh = DiscoveryHandlers(registry)
    for _ in range(2):
        assert await discovery.list_prometheus_targets(
            None, CALLER, NOW
        ) == await fresh.list_prometheus_targets(None, CALLER, NOW)
        assert await discovery.list_openai_models(
            None, CALLER, NOW
        ) == await fresh.list_openai_models(None, CALLER, NOW)


@pytest.mark.parametrize("path", ["/api/discovery/prometheus", "/api/models"])
async def test_only_readers_and_admins_may_discover_services(tmp_path: Path, path: str) -> None:
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
