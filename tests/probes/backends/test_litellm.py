import pytest

from hub.probes.backends.litellm import add_info
from llmhub.v1.endpoint_pb2 import BACKEND_LITELLM, MODEL_STATE_UNSPECIFIED, Model
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeLiteLlm, Fleet


async def test_the_proxy_tells_context_and_capabilities_and_completes_nothing(fleet: Fleet):
    fake = FakeLiteLlm()
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for _ in range(2):
            seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_LITELLM, "1.80.0")
    (model,) = seen.models or ()
    assert (model.state, model.context_length) == (MODEL_STATE_UNSPECIFIED, 128_000)
    assert list(model.capabilities) == ["completion", "tools", "vision"]
    assert list(model.absent_capabilities) == ["thinking"]
    assert fake.completions == 0
    assert "/health" not in server.paths


async def test_a_key_that_may_not_see_the_deployments_still_sees_the_models(fleet: Fleet):
    server = await fleet.add(FakeLiteLlm(may_see_info=False))
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for _ in range(2):
            seen = await engine.check(server.id, 10)
    (model,) = seen.models or ()
    assert (seen.error, list(model.capabilities)) == ("", [])
    assert server.paths.count("/model/info") == 1


def info(name: str, **facts: object) -> dict[str, object]:
    return {"model_name": name, "model_info": facts}


@pytest.mark.parametrize(
    ("contexts", "expected"), [((100, 50), 50), ((100, None), 0), ((None, None), 0)]
)
def test_the_context_is_the_smallest_of_all_deployments(contexts, expected):
    models = [Model(name="m")]
    add_info(models, {"data": [info("m", max_input_tokens=context) for context in contexts]})
    assert models[0].context_length == expected


@pytest.mark.parametrize(
    ("told", "present", "absent"),
    [
        ((True, True), ["tools"], []),
        ((True, False), [], ["tools"]),
        ((True, None), [], []),
        ((None, None), [], []),
    ],
)
def test_a_model_has_a_capability_only_if_every_deployment_has_it(told, present, absent):
    models = [Model(name="m")]
    add_info(models, {"data": [info("m", supports_function_calling=each) for each in told]})
    assert (list(models[0].capabilities), list(models[0].absent_capabilities)) == (present, absent)


def test_deployments_of_different_modes_leave_the_kind_unknown():
    models = [Model(name="m")]
    add_info(models, {"data": [info("m", mode="chat"), info("m", mode="embedding")]})
    assert not models[0].capabilities
