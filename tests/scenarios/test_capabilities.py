"""A fresh hub beside a real Ollama, replayed, selects by what its models can do."""

import pytest

from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest
from tests.support.hub import RunningHub, failure_of, running_hub
from tests.support.replay import OLLAMA, OLLAMA_FILES, replaying
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")


async def selected(hub: RunningHub, model: str, capability: str, context: int = 0) -> list[str]:
    request = SelectEndpointRequest(
        model=model, capabilities=[capability], min_context_length=context
    )
    return [each.endpoint.id for each in (await hub.call("SelectEndpoint", request)).selections]


async def test_capabilities_and_context_are_known_with_the_first_probe(tmp_path):
    # The interval is the usual one: there is one probe in the time of this test.
    async with replaying(OLLAMA, OLLAMA_FILES) as ollama, running_hub(tmp_path) as hub:
        await hub.call(
            "RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=ollama.port)
        )
        await wait_until(lambda: hub.hub.info().healthy_count == 1, timeout_s=3)
        here = [ollama.target.id]
        assert await selected(hub, "real-chat:latest", "tools", 2048) == here
        assert await selected(hub, "real-embed:latest", "embedding") == here
        for model, capability in (("real-chat:latest", "vision"), ("real-embed:latest", "tools")):
            failure = await failure_of(selected(hub, model, capability))
            assert failure.reason == "NO_CAPACITY"
