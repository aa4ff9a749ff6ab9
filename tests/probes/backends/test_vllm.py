"""vLLM, simulated by a faithful fake."""

import pytest

from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import (
    BACKEND_VLLM,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
)
from tests.support.observing import observe, running_engine, target_of
from tools.fleetsim import (
    FakeVllm,
    Fleet,
)


@pytest.mark.parametrize("is_old", [False, True])
async def test_vllm_reports_models_context_version_and_load(fleet: Fleet, is_old):
    server = await fleet.add(FakeVllm(is_old=is_old))
    seen = await observe(server)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_VLLM, "0.11.0")
    (model,) = seen.models or ()
    assert model.name == "meta-llama/Llama-3.1-8B-Instruct"
    assert (model.state, model.context_length) == (MODEL_STATE_LOADED, 32_768)
    assert seen.load == Load(running=3, waiting=1, kv_cache_used_ratio=0.25)


async def test_the_model_of_a_sleeping_vllm_is_not_loaded(fleet: Fleet):
    seen = await observe(await fleet.add(FakeVllm(dev=True, sleeping=True)))
    assert [model.state for model in seen.models or ()] == [MODEL_STATE_AVAILABLE]


async def test_a_dead_vllm_engine_is_reported(fleet: Fleet):
    seen = await observe(await fleet.add(FakeVllm(engine_dead=True)))
    assert seen.error == "its engine is dead (503 to /health)"
    assert seen.backend == BACKEND_VLLM
    assert seen.answered


async def test_vllm_reports_the_share_of_cached_prompt_tokens_between_probes(fleet: Fleet):
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


async def test_a_replaced_vllm_is_asked_for_its_version(fleet: Fleet):
    fake = FakeVllm()
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        await engine.check(server.id, 10)
        fake.version = "0.12.0"
        assert (await engine.check(server.id, 10)).version == "0.11.0"
        fleet.cut(server)
        assert (await engine.check(server.id, 10)).version == "0.12.0"
