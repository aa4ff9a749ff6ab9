"""SGLang, simulated by a faithful fake."""

import pytest

from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import (
    BACKEND_SGLANG,
    MODEL_STATE_LOADED,
)
from tests.support.observing import observe
from tools.fleetsim import (
    FakeSglang,
    Fleet,
)


@pytest.mark.parametrize("is_old", [False, True])
async def test_sglang_reports_models_version_and_load_without_its_health_route(
    fleet: Fleet, is_old
):
    server = await fleet.add(FakeSglang(is_old=is_old))
    seen = await observe(server)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_SGLANG, "0.5.4")
    (model,) = seen.models or ()
    assert model.context_length == (0 if is_old else 40_960)
    assert model.state == MODEL_STATE_LOADED
    expected = Load(
        running=2, waiting=5, slots=64, kv_cache_used_ratio=0.5, prefix_cache_hit_ratio=0.75
    )
    assert seen.load == (None if is_old else expected)
    assert "/health" not in server.paths


async def test_an_old_sglang_reports_its_load_in_its_metrics(fleet: Fleet):
    seen = await observe(await fleet.add(FakeSglang(is_old=True, has_metrics=True)))
    assert seen.load == Load(
        running=2, waiting=5, kv_cache_used_ratio=0.5, prefix_cache_hit_ratio=0.75
    )
