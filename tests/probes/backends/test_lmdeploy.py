from hub.probes.backends.lmdeploy import parse_metrics
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import BACKEND_LMDEPLOY, MODEL_STATE_LOADED
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeLmDeploy, Fleet


async def test_models_are_loaded_and_metrics_show_the_load(fleet: Fleet):
    server = await fleet.add(FakeLmDeploy())
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_LMDEPLOY, "")
    assert [(model.name, model.state) for model in seen.models or ()] == [
        ("internlm/internlm3-8b-instruct", MODEL_STATE_LOADED)
    ]
    assert seen.load == Load(running=2, waiting=1, kv_cache_used_ratio=0.25)


async def test_missing_metrics_are_requested_only_once(fleet: Fleet):
    server = await fleet.add(FakeLmDeploy(has_metrics=False))
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for _ in range(3):
            seen = await engine.check(server.id, 10)
    assert (seen.error, seen.load) == ("", None)
    assert server.paths.count("/metrics") == 1


def test_the_use_of_the_cache_is_the_engines_mean():
    page = b'lmdeploy:gpu_cache_usage_perc{e="0"} 0.5\nlmdeploy:gpu_cache_usage_perc{e="1"} 0.25\n'
    assert parse_metrics(page) == Load(kv_cache_used_ratio=0.375)
    assert parse_metrics(b"vllm:num_requests_running 1\n") is None
