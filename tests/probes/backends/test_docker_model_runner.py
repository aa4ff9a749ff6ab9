import pytest

from hub.probes.asker import ProbeTarget
from hub.probes.backends.docker_model_runner import mark_running, parse_models, same_name
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import (
    BACKEND_DOCKER_MODEL_RUNNER,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    MODEL_STATE_UNSPECIFIED,
    Model,
)
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeDockerModelRunner, Fleet


@pytest.mark.parametrize("has_root_api", [True, False])
async def test_models_on_disk_and_running(fleet: Fleet, has_root_api: bool):
    fake = FakeDockerModelRunner(has_root_api=has_root_api)
    fake.running["ai/gemma3:4B-F16"] = True
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend) == ("", BACKEND_DOCKER_MODEL_RUNNER)
    gemma, smol = seen.models or ()
    assert (gemma.name, gemma.state) == ("ai/gemma3:4B-F16", MODEL_STATE_LOADING)
    assert (smol.name, smol.state) == ("ai/smollm2:latest", MODEL_STATE_LOADED)
    assert smol.digest.startswith("sha256:")
    assert (smol.family, smol.parameter_size) == ("llama", "361.82 M")


async def test_only_names_are_known_below_the_base_path_of_the_openai_api(fleet: Fleet):
    server = await fleet.add(FakeDockerModelRunner())
    target = ProbeTarget(server.id, "http", server.host, server.port, base_path="/engines")
    async with running_engine() as (engine, _):
        engine.watch(target)
        seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend) == ("", BACKEND_DOCKER_MODEL_RUNNER)
    assert {model.state for model in seen.models or ()} == {MODEL_STATE_UNSPECIFIED}
    assert len(seen.models or ()) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ai/smollm2", "docker.io/ai/smollm2:latest"),
        ("smollm2", "ai/smollm2:latest"),
        ("sha256:abc", "sha256:abc"),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str):
    assert same_name(one) == same_name(other)


def test_a_running_model_may_be_named_by_its_digest():
    models = [Model(name="ai/a:latest", digest="sha256:1"), Model(name="ai/b:latest")]
    mark_running(models, [{"model_name": "sha256:1"}, {"model_name": 7}, None])
    assert [model.state for model in models] == [MODEL_STATE_LOADED, MODEL_STATE_AVAILABLE]


def test_an_answer_without_a_list_is_another_kind():
    with pytest.raises(WrongKind):
        parse_models({"models": []})
    models = [Model(name="a")]
    mark_running(models, {"error": "x"})
    assert models[0].state == MODEL_STATE_UNSPECIFIED
