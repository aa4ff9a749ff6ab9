import pytest

from hub.probes.backends.litellm import Common, parse_info, parse_list_facts
from llmhub.v1.endpoint_pb2 import BACKEND_LITELLM, MODEL_STATE_UNSPECIFIED
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeLiteLlm, Fleet, Reply, Request


async def test_the_proxy_reports_context_and_capabilities_without_running_inference(fleet: Fleet):
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


def common_of(*infos: dict[str, object]) -> Common:
    return parse_info({"data": [info("m", **each) for each in infos]})["m"]


@pytest.mark.parametrize(
    ("contexts", "expected"), [((100, 50), 50), ((100, None), None), ((None, None), None)]
)
def test_the_context_is_the_smallest_of_all_deployments(contexts, expected):
    found = common_of(*({"max_input_tokens": context} for context in contexts))
    assert found.context_length == expected


@pytest.mark.parametrize(
    ("supports", "present", "absent"),
    [
        ((True, True), ["tools"], []),
        ((True, False), [], ["tools"]),
        ((True, None), [], []),
        ((None, None), [], []),
    ],
)
def test_a_model_has_a_capability_only_if_every_deployment_has_it(supports, present, absent):
    found = common_of(*({"supports_function_calling": each} for each in supports)).capabilities
    assert (found.present, found.absent) == (present, absent)


def test_deployments_of_different_modes_leave_the_kind_unknown():
    assert not common_of({"mode": "chat"}, {"mode": "embedding"}).capabilities.present


def test_a_new_list_shows_mode_and_context_without_the_deployments():
    entry = {"id": "m", "mode": "embedding", "max_input_tokens": 8191}
    found = parse_list_facts({"data": [entry]})["m"]
    assert (found.context_length, found.capabilities.present) == (8191, ["embedding"])


@pytest.mark.parametrize("is_old", [False, True])
async def test_deployments_are_requested_again_when_the_list_changes(fleet: Fleet, is_old: bool):
    fake = FakeLiteLlm(is_old=is_old)
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for _ in range(3):
            await engine.check(server.id, 10)
        assert server.paths.count("/model/info") == 1
        fake.deployments.append(("more", {"mode": "chat", "max_input_tokens": 8192}))
        seen = await engine.check(server.id, 10)
    assert server.paths.count("/model/info") == 2
    assert {model.name: model.context_length for model in seen.models or ()}["more"] == 8192
    assert seen.version == "1.80.0"


class TooMany(FakeLiteLlm):
    """A proxy with more deployments than the hub reads."""

    def answer(self, request: Request) -> Reply:
        if request.path == "/model/info":
            return Reply(200, b" " * 5_000_000)
        return super().answer(request)


async def test_models_are_known_even_with_more_deployments_than_the_hub_reads(fleet: Fleet):
    server = await fleet.add(TooMany())
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert (seen.error, [model.name for model in seen.models or ()]) == ("", ["gpt-4o"])
