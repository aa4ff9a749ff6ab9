"""vLLM, SGLang, LM Studio and servers that are only compatible, as faithful fakes."""

import pytest

from hub.registry.observation import Load, Observation
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LM_STUDIO,
    BACKEND_OPENAI,
    BACKEND_SGLANG,
    BACKEND_VLLM,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
)
from tests.support.observing import running_engine, target_of
from tools.fleetsim import (
    FakeLmStudio,
    FakeOpenAi,
    FakeServer,
    FakeSglang,
    FakeVllm,
    Fleet,
    Reply,
    Request,
)


async def see(server: FakeServer) -> Observation:
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        return await engine.check(server.id, 10)


@pytest.mark.parametrize("is_old", [False, True])
async def test_vllm_tells_models_context_version_and_load(fleet: Fleet, is_old):
    server = await fleet.add(FakeVllm(is_old=is_old))
    seen = await see(server)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_VLLM, "0.11.0")
    (model,) = seen.models or ()
    assert model.name == "meta-llama/Llama-3.1-8B-Instruct"
    assert (model.state, model.context_length) == (MODEL_STATE_LOADED, 32_768)
    assert seen.load == Load(running=3, waiting=1, kv_cache_used_ratio=0.25)


async def test_a_sleeping_vllm_has_its_model_not_loaded(fleet: Fleet):
    seen = await see(await fleet.add(FakeVllm(dev=True, sleeping=True)))
    assert [model.state for model in seen.models or ()] == [MODEL_STATE_AVAILABLE]


async def test_a_vllm_whose_engine_died_says_so(fleet: Fleet):
    seen = await see(await fleet.add(FakeVllm(engine_dead=True)))
    assert seen.error == "its engine is dead (503 to /health)"
    assert seen.backend == BACKEND_VLLM
    assert seen.answered


@pytest.mark.parametrize("is_old", [False, True])
async def test_sglang_tells_models_version_and_load_and_is_not_asked_for_health(
    fleet: Fleet, is_old
):
    server = await fleet.add(FakeSglang(is_old=is_old))
    seen = await see(server)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_SGLANG, "0.5.4")
    (model,) = seen.models or ()
    assert model.context_length == (0 if is_old else 40_960)
    assert model.state == MODEL_STATE_LOADED
    expected = Load(
        running=2, waiting=5, slots=64, kv_cache_used_ratio=0.5, prefix_cache_hit_ratio=0.75
    )
    assert seen.load == (None if is_old else expected)
    assert "/health" not in server.paths


@pytest.mark.parametrize("is_old", [False, True])
async def test_lm_studio_tells_what_is_loaded_by_either_api(fleet: Fleet, is_old):
    fake = FakeLmStudio(["a", "b"], {"a": 8192}, is_old=is_old)
    seen = await see(await fleet.add(fake))
    assert (seen.error, seen.backend) == ("", BACKEND_LM_STUDIO)
    first, second = seen.models or ()
    assert (first.name, first.state, first.context_length) == ("a", MODEL_STATE_LOADED, 8192)
    assert (second.state, second.context_length) == (MODEL_STATE_AVAILABLE, 32_768)
    assert first.quantization == "Q4_K_M"
    assert "completion" in first.capabilities


@pytest.mark.parametrize("fake", [FakeVllm, FakeSglang])
async def test_adapters_are_models_with_their_base(fleet: Fleet, fake):
    persona = fake(["base"], adapters={"french": "base"})
    seen = await see(await fleet.add(persona))
    assert {model.name: model.base for model in seen.models or ()} == {"base": "", "french": "base"}
    assert not any(model.capabilities_known for model in seen.models or ())


async def test_vllm_tells_the_share_of_cached_prompt_tokens_from_probe_to_probe(fleet: Fleet):
    fake = FakeVllm(prefix_queries=100, prefix_hits=50)
    server = await fleet.add(fake)
    ratios = []
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for queries, hits in ((100, 50), (200, 140), (200, 140)):
            fake.prefix_queries, fake.prefix_hits = queries, hits
            seen = await engine.check(server.id, 10)
            assert seen.load is not None
            ratios.append(seen.load.prefix_cache_hit_ratio)
    assert ratios == [0.5, 0.9, 0.9]


async def test_a_vllm_that_was_replaced_between_probes_is_asked_for_its_version(fleet: Fleet):
    fake = FakeVllm()
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        await engine.check(server.id, 10)
        fake.version = "0.12.0"
        assert (await engine.check(server.id, 10)).version == "0.11.0"
        fleet.cut(server)
        assert (await engine.check(server.id, 10)).version == "0.12.0"


async def test_an_sglang_without_loads_tells_its_load_in_its_metrics(fleet: Fleet):
    seen = await see(await fleet.add(FakeSglang(is_old=True, has_metrics=True)))
    assert seen.load == Load(
        running=2, waiting=5, kv_cache_used_ratio=0.5, prefix_cache_hit_ratio=0.75
    )


async def test_lm_studio_tells_which_capabilities_a_model_lacks(fleet: Fleet):
    seen = await see(await fleet.add(FakeLmStudio(["a"])))
    (model,) = seen.models or ()
    assert list(model.capabilities) == ["completion", "tools"]
    assert list(model.absent_capabilities) == ["embedding", "vision"]
    assert not model.capabilities_known


async def test_any_other_server_tells_only_names(fleet: Fleet):
    seen = await see(await fleet.add(FakeOpenAi(["b", "a"])))
    assert (seen.error, seen.backend, seen.version, seen.load) == ("", BACKEND_OPENAI, "", None)
    assert [(m.name, m.state) for m in seen.models or ()] == [
        ("a", MODEL_STATE_UNSPECIFIED),
        ("b", MODEL_STATE_UNSPECIFIED),
    ]


class NotAnInferenceServer:
    """A web application that answers every path with the same JSON or page."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def answer(self, request: Request) -> Reply:
        return self.reply


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(404, b"nope"), "is no inference server that the hub knows"),
        (Reply(200, b"{}"), "is no inference server that the hub knows"),
        (Reply(200, b"<html>", "text/html"), "answered HTML, not JSON, to /v1/models"),
        (Reply(500, b"oops"), "answered 500 to /v1/models"),
        (Reply(503, b"booting", "text/plain"), "is not ready (503 to /v1/models): booting"),
    ],
)
async def test_a_server_of_no_known_kind_is_said_to_be_none(fleet: Fleet, reply, sentence):
    seen = await see(await fleet.add(NotAnInferenceServer(reply)))
    assert seen.error.startswith(sentence)
    assert seen.answered
