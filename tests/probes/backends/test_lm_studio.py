"""LM Studio, simulated by a faithful fake."""

import pytest

from llmhub.v1.endpoint_pb2 import (
    BACKEND_LM_STUDIO,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
)
from tests.support.observing import observe
from tools.fleetsim import (
    FakeLmStudio,
    Fleet,
)


@pytest.mark.parametrize("is_old", [False, True])
async def test_lm_studio_reports_loaded_models_with_either_api(fleet: Fleet, is_old):
    fake = FakeLmStudio(["a", "b"], {"a": 8192}, is_old=is_old)
    seen = await observe(await fleet.add(fake))
    assert (seen.error, seen.backend) == ("", BACKEND_LM_STUDIO)
    first, second = seen.models or ()
    assert (first.name, first.state, first.context_length) == ("a", MODEL_STATE_LOADED, 8192)
    assert (second.state, second.context_length) == (MODEL_STATE_AVAILABLE, 32_768)
    assert first.quantization == "Q4_K_M"
    assert "completion" in first.capabilities


async def test_lm_studio_reports_absent_capabilities(fleet: Fleet):
    seen = await observe(await fleet.add(FakeLmStudio(["a"])))
    (model,) = seen.models or ()
    assert list(model.capabilities) == ["completion", "tools"]
    assert list(model.absent_capabilities) == ["embedding", "vision"]
    assert not model.capabilities_known
