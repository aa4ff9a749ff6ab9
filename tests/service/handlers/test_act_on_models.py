"""Which model actions the hub refuses, against a hub that runs and a scripted sidecar."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    ListAuditEventsRequest,
    LoadModelRequest,
    RegisterEndpointRequest,
    UnloadModelRequest,
)
from llmhub.v1.frame_pb2 import MODEL_ACTION_OUTCOME_UNKNOWN
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import RunningHub, SidecarSocket, failure, running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, FakeServer, Fleet

CAN = ["model-actions"]


@asynccontextmanager
async def hub_with(
    tmp_path: Path, **actions: object
) -> AsyncIterator[tuple[RunningHub, FakeServer]]:
    """A hub that has probed an Ollama server of the agent node-1."""
    settings = {"enabled": True, **actions}
    async with running_hub(tmp_path / "data", actions=settings) as hub, Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:latest"))
        request = RegisterEndpointRequest(host=server.host, port=server.port, agent_id="node-1")
        await hub.call("RegisterEndpoint", request)
        await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
        yield hub, server


async def refusal(hub: RunningHub, request: Any, token: str | None = None) -> str:
    name = type(request).__name__.removesuffix("Request")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await hub.call(name, request, token=token)
    return failure(caught.value).reason


def load(server: FakeServer, model: str = "a:latest", **fields: object) -> LoadModelRequest:
    return LoadModelRequest(endpoint_id=server.id, model=model, **fields)


async def answer(socket: SidecarSocket, outcome: str, detail: str = "") -> dict[str, Any]:
    """Reports how the next action ended; returns the action."""
    action = await socket.receive()
    assert action["type"] == "model_action"
    result = {"type": "model_action_result", "action_id": action["action_id"], "outcome": outcome}
    await socket.send({**result, "detail": detail})
    return action


async def test_by_default_no_action_is_allowed(tmp_path: Path) -> None:
    async with (
        hub_with(tmp_path, enabled=False) as (hub, server),
        hub.sidecar("node-1", capabilities=CAN),
    ):
        assert await refusal(hub, load(server)) == "ACTIONS_DISABLED"
        assert await refusal(hub, load(server, validate_only=True)) == "ACTIONS_DISABLED"


async def test_only_the_actions_in_the_setting_are_allowed(tmp_path: Path) -> None:
    async with (
        hub_with(tmp_path, allow=["unload"]) as (hub, server),
        hub.sidecar("node-1", capabilities=CAN),
    ):
        assert await refusal(hub, load(server)) == "ACTIONS_DISABLED"
        request = UnloadModelRequest(endpoint_id=server.id, model="a:latest", validate_only=True)
        assert (await hub.call("UnloadModel", request)).agent_id == "node-1"


async def test_a_missing_endpoint_model_or_sidecar_is_named(tmp_path: Path) -> None:
    async with hub_with(tmp_path) as (hub, server):
        assert await refusal(hub, load(server)) == "SIDECAR_NOT_FOUND"
        async with hub.sidecar("node-1", capabilities=["other"]):
            assert await refusal(hub, load(server)) == "ACTION_UNSUPPORTED"
        async with hub.sidecar("node-1", capabilities=CAN):
            assert await refusal(hub, load(server, "other")) == "MODEL_NOT_ON_ENDPOINT"
            missing = LoadModelRequest(endpoint_id="127.0.0.1:1", model="a")
            assert await refusal(hub, missing) == "ENDPOINT_NOT_FOUND"
            assert await refusal(hub, LoadModelRequest(model="a")) == "VALIDATION_FAILED"
            request = load(server)
            request.keep_alive.FromMilliseconds(-1000)
            assert await refusal(hub, request) == "VALIDATION_FAILED"


async def test_only_an_admin_may_request_an_action(tmp_path: Path) -> None:
    async with hub_with(tmp_path) as (hub, server), hub.sidecar("node-1", capabilities=CAN):
        reader = await hub.token(ROLE_READER)
        assert await refusal(hub, load(server), reader) == "ROLE_FORBIDDEN"


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ("refused", "ACTION_REFUSED"),
        ("unsupported", "ACTION_UNSUPPORTED"),
        ("failed", "ACTION_FAILED"),
        ("unknown", "ACTION_OUTCOME_UNKNOWN"),
    ],
)
async def test_the_sidecars_outcome_is_the_reason(
    tmp_path: Path, outcome: str, reason: str
) -> None:
    async with (
        hub_with(tmp_path) as (hub, server),
        hub.sidecar("node-1", capabilities=CAN) as socket,
    ):
        refusing = asyncio.create_task(refusal(hub, load(server, "a")))
        action = await answer(socket, outcome, "the disk is full")
        assert await refusing == reason
    assert (action["kind"], action["endpoint_id"]) == ("load", server.id)
    assert (action["model"], action["timeout"]) == ("a:latest", 300_000)
    assert "url" not in action


async def test_an_endpoint_has_one_action_at_a_time_even_if_the_caller_leaves(
    tmp_path: Path,
) -> None:
    async with (
        hub_with(tmp_path) as (hub, server),
        hub.sidecar("node-1", capabilities=CAN) as socket,
    ):
        first = asyncio.create_task(hub.call("LoadModel", load(server)))
        action = await socket.receive()
        assert await refusal(hub, load(server)) == "ACTION_IN_PROGRESS"
        first.cancel()
        result = {"type": "model_action_result", "outcome": "done"}
        await socket.send({**result, "action_id": action["action_id"]})

        async def is_audited() -> bool:
            return [event.action for event in await audit(hub)] == ["LoadModel"]

        await wait_until(is_audited)


async def test_a_lost_or_silent_sidecar_is_audited_as_unknown(tmp_path: Path) -> None:
    async with hub_with(tmp_path) as (hub, server):
        async with hub.sidecar("node-1", capabilities=CAN) as socket:
            refusing = asyncio.create_task(refusal(hub, load(server)))
            await socket.receive()
        assert await refusing == "ACTION_OUTCOME_UNKNOWN"
        async with hub.sidecar("node-1", capabilities=CAN):
            request = load(server)
            request.timeout.FromMilliseconds(1_000)
            assert await refusal(hub, request) == "ACTION_OUTCOME_UNKNOWN"
        outcomes = [event.after.model_action.outcome for event in await audit(hub)]
        assert outcomes == [MODEL_ACTION_OUTCOME_UNKNOWN] * 2


async def audit(hub: RunningHub) -> list[Any]:
    events = (await hub.call("ListAuditEvents", ListAuditEventsRequest())).events
    return [event for event in events if event.action.endswith("Model")]
