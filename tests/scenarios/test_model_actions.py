"""Model actions: a real hub, a real sidecar in a process of its own, and fake servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.client import AsyncHub, CallFailed
from llmhub.v1.admin_service_pb2 import ListAuditEventsRequest
from llmhub.v1.audit_pb2 import AuditEvent
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, MODEL_STATE_LOADING
from llmhub.v1.frame_pb2 import MODEL_ACTION_OUTCOME_DONE, MODEL_ACTION_OUTCOME_FAILED
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import RunningHub, by_id, running_hub
from tests.support.sidecar_process import SidecarProcess, sidecar_process
from tests.support.waiting import wait_until
from tools.fleetsim import FakeLlamaRouter, FakeOllama, FakeServer, Fleet

pytestmark = pytest.mark.usefixtures("grpc_engine")

ACTIONS = {"enabled": True, "timeout_s": 20}


@asynccontextmanager
async def beside(
    hub: RunningHub, server: FakeServer, *arguments: str
) -> AsyncIterator[SidecarProcess]:
    """A sidecar whose endpoint the hub has probed and found to have models."""
    token = await hub.token(ROLE_SIDECAR, "node-1")
    given = ("--no-discover", "--endpoint", server.id, "--interval", "1", *arguments)

    async def is_known() -> bool:
        endpoint = by_id(await hub.snapshot()).get(server.id)
        return endpoint is not None and bool(endpoint.models) and hub.hub.info().sidecar_count == 1

    async with sidecar_process(hub.ws_address, "node-1", token, *given) as sidecar:
        await sidecar.says(f"registered {server.id}")
        await wait_until(is_known, timeout_s=30)
        yield sidecar


def client(hub: RunningHub) -> AsyncHub:
    return AsyncHub(hub.grpc_address, hub.admin_token)


async def audited(hub: RunningHub) -> list[AuditEvent]:
    events = (await hub.call("ListAuditEvents", ListAuditEventsRequest())).events
    return [event for event in events if event.action in ("LoadModel", "UnloadModel")]


async def test_an_ollama_model_is_loaded_and_unloaded(tmp_path: Path) -> None:
    ollama = FakeOllama("llama3.1:8b")
    async with running_hub(tmp_path / "data", actions=ACTIONS) as hub, Fleet() as fleet:
        server = await fleet.add(ollama)
        async with beside(hub, server, "--allow-actions"), client(hub) as admin:
            dry = await admin.load_model(server.id, "llama3.1:8b", validate_only=True)
            assert (dry.agent_id, dry.model.state) == ("node-1", MODEL_STATE_AVAILABLE)
            assert "/api/generate" not in server.paths
            assert await audited(hub) == []

            loaded = await admin.load_model(server.id, "llama3.1:8b", keep_alive_s=600)
            assert (loaded.agent_id, loaded.model.state) == ("node-1", MODEL_STATE_LOADED)
            assert loaded.model.HasField("expires_at")
            assert by_id(await hub.snapshot())[server.id].models[0].state == MODEL_STATE_LOADED

            unloaded = await admin.unload_model(server.id, "llama3.1:8b")
            assert unloaded.model.state == MODEL_STATE_AVAILABLE
            assert ollama.loaded == {}

        last, first = await audited(hub)
        assert (first.action, first.resource) == ("LoadModel", f"endpoints/{server.id}")
        assert first.before.model_action.state == MODEL_STATE_AVAILABLE
        assert first.after.model_action.state == MODEL_STATE_LOADED
        assert first.after.model_action.outcome == MODEL_ACTION_OUTCOME_DONE
        assert last.action == "UnloadModel"


async def test_a_router_shows_the_model_as_loading_meanwhile(tmp_path: Path) -> None:
    router = FakeLlamaRouter(lists_while_loading=8)
    async with running_hub(tmp_path / "data", actions=ACTIONS) as hub, Fleet() as fleet:
        server = await fleet.add(router)
        async with beside(hub, server, "--allow-actions"), client(hub) as admin:
            seen: set[int] = set()
            watching = asyncio.create_task(collect(admin, server.id, "big", seen))
            loaded = await admin.load_model(server.id, "big")
            assert loaded.model.state == MODEL_STATE_LOADED
            await wait_until(lambda: {MODEL_STATE_LOADING, MODEL_STATE_LOADED} <= seen)
            watching.cancel()
            router.fails_to_load = frozenset({"big"})
            await admin.unload_model(server.id, "big")
            failure = await refused(admin, server.id, "big")
            assert failure.reason == "ACTION_FAILED"
            assert "gave up loading big" in failure.message
        last = (await audited(hub))[0]
        assert last.after.model_action.outcome == MODEL_ACTION_OUTCOME_FAILED
        assert "gave up" in last.after.model_action.detail


async def test_a_sidecar_without_the_option_gets_no_action(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "data", actions=ACTIONS) as hub, Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"))
        async with beside(hub, server), client(hub) as admin:
            failure = await refused(admin, server.id, "a:1")
        assert failure.reason == "ACTION_UNSUPPORTED"
        assert "--allow-actions" in failure.message
        assert "/api/generate" not in server.paths


async def test_killing_the_sidecar_leaves_the_outcome_unknown(
    tmp_path: Path,
) -> None:
    router = FakeLlamaRouter(lists_while_loading=10_000)
    async with running_hub(tmp_path / "data", actions=ACTIONS) as hub, Fleet() as fleet:
        server = await fleet.add(router)
        async with beside(hub, server, "--allow-actions") as sidecar, client(hub) as admin:
            failing = asyncio.create_task(refused(admin, server.id, "big"))
            await server.wait_until(lambda: "/models/load" in server.paths)
            sidecar.process.kill()
            failure = await failing
            assert failure.reason == "ACTION_OUTCOME_UNKNOWN"
            assert "may still be carried out" in failure.message


async def collect(admin: AsyncHub, endpoint_id: str, name: str, seen: set[int]) -> None:
    """Notes every state of a model that a watcher receives."""
    async for event in admin.watch():
        if event.HasField("endpoint") and event.endpoint.id == endpoint_id:
            seen.update(model.state for model in event.endpoint.models if model.name == name)


async def refused(admin: AsyncHub, endpoint_id: str, model: str) -> CallFailed:
    try:
        await admin.load_model(endpoint_id, model)
    except CallFailed as failure:
        return failure
    raise AssertionError("the action was carried out")
