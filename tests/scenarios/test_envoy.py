"""A real Envoy asks the hub's picker for the endpoint of each request."""

import json

import pytest

from hub.contract.errors import ModelUnknown
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.envoy import InferenceServer, gateway_before, inference_servers, register
from tests.support.hub import running_hub

pytestmark = pytest.mark.usefixtures("grpc_engine")

CHAT = {"messages": [{"role": "user", "content": "hello"}], "model": "m"}


async def test_a_request_reaches_a_server_that_has_its_model(tmp_path):
    one, two = InferenceServer("one", ["m"]), InferenceServer("two", ["n"])
    async with (
        running_hub(tmp_path / "hub", gateway={"enabled": True}) as hub,
        inference_servers(one, two),
        gateway_before(hub, tmp_path) as gateway,
    ):
        await register(hub, gateway, one, two)
        token = await hub.token(ROLE_READER)
        for model, server in (("m", one), ("n", two)):
            status, answer, _ = await gateway.post(json=CHAT | {"model": model}, token=token)
            assert (status, answer["served_by"]) == (200, server.name)
            (arrived,) = server.arrived
            assert json.loads(arrived.body) == CHAT | {"model": model}
            assert "Authorization" not in arrived.headers
        status, answer, _ = await gateway.post(json=CHAT | {"model": "none"}, token=token)
        assert status == 404
        assert answer["error"]["code"] == "model_not_found"
        assert answer["error"]["message"] == ModelUnknown("no endpoint has none").message
