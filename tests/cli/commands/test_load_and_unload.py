"""`llm-hub model`, against a hub and a scripted sidecar."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmhub.v1.admin_service_pb2 import CheckEndpointRequest, RegisterEndpointRequest
from tests.cli.conftest import Ask
from tests.support.command import Outcome, llm_hub
from tests.support.hub import RunningHub, running_hub
from tools.fleetsim import FakeOllama, FakeServer, Fleet


@asynccontextmanager
async def with_sidecar(tmp_path: Path) -> AsyncIterator[tuple[RunningHub, FakeServer]]:
    """A hub that allows actions, and a sidecar that says that it has carried out each."""
    settings = {"enabled": True}
    async with running_hub(tmp_path / "data", actions=settings) as hub, Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"))
        request = RegisterEndpointRequest(host=server.host, port=server.port, agent_id="node-1")
        await hub.call("RegisterEndpoint", request)
        await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
        async with hub.sidecar("node-1", capabilities=["model-actions"]) as socket:

            async def carry_out() -> None:
                while True:
                    action = await socket.receive()
                    assert isinstance(server.persona, FakeOllama)
                    if action["kind"] == "load":
                        assert action.get("keep_alive") == 60_000
                        server.persona.load(action["model"])
                    else:
                        server.persona.unload(action["model"])
                    result = {"type": "model_action_result", "outcome": "done"}
                    await socket.send({**result, "action_id": action["action_id"]})

            sidecar = asyncio.create_task(carry_out())
            yield hub, server
            sidecar.cancel()


async def command(hub: RunningHub, *arguments: str) -> Outcome:
    env = {"LLM_HUB_ADDRESS": hub.grpc_address, "LLM_HUB_TOKEN": hub.admin_token}
    return await asyncio.to_thread(llm_hub, "model", *arguments, env=env)


async def test_a_model_is_loaded_and_unloaded(tmp_path: Path) -> None:
    async with with_sidecar(tmp_path) as (hub, server):
        dry = await command(hub, "load", server.id, "a:1", "--dry-run")
        assert (dry.code, dry.out) == (0, "")
        assert f"the sidecar node-1 would load a:1 on {server.id}; nothing was changed" in dry.err
        loaded = await command(hub, "load", server.id, "a:1", "--keep-alive", "60")
        # The hub of this process logs to the same stdout.
        assert (loaded.code, loaded.out.splitlines()[-1]) == (0, "a:1 loaded (by node-1)")
        unloaded = await command(hub, "unload", server.id, "a:1", "-o", "json")
        assert unloaded.code == 0
        assert json.loads(unloaded.out[unloaded.out.index("{") :])["model"]["state"] == "available"


def test_a_hub_that_disallows_actions_refuses(ask: Ask) -> None:
    done = ask("model", "load", "127.0.0.1:1", "a:1")
    assert done.code == 1
    assert done.err.endswith("[ACTIONS_DISABLED]\n")


@pytest.mark.parametrize("value", ["0", "-1", "soon", "2592001"])
def test_a_keep_alive_out_of_bounds_is_a_usage_error(ask: Ask, value: str) -> None:
    assert ask("model", "load", "127.0.0.1:1", "a", "--keep-alive", value).code == 2
