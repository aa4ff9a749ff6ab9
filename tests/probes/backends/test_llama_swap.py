from hub.probes.backends.llama_swap import mark_running
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_SWAP,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    MODEL_STATE_UNSPECIFIED,
    Model,
)
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeLlamaSwap, Fleet


async def test_each_model_has_the_state_of_its_server_and_none_is_started(fleet: Fleet):
    fake = FakeLlamaSwap({"a": "ready", "b": "stopped", "c": "starting", "d": "stopping"})
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for _ in range(2):
            seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_LLAMA_SWAP, "175")
    assert {model.name: model.state for model in seen.models or ()} == {
        "a": MODEL_STATE_LOADED,
        "b": MODEL_STATE_AVAILABLE,
        "c": MODEL_STATE_LOADING,
        "d": MODEL_STATE_AVAILABLE,
    }
    assert fake.started == []
    assert set(server.paths) == {"/api/version", "/v1/models", "/running"}


def test_without_a_list_of_running_servers_the_state_is_unknown():
    models = [Model(name="a")]
    mark_running(models, {"error": "unauthorized"})
    assert models[0].state == MODEL_STATE_UNSPECIFIED
