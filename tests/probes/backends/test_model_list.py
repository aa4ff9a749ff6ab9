"""The model list that several kinds of server share."""

import pytest

from hub.probes.backends.model_list import parse_list
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_LOADED,
)
from tests.support.observing import observe
from tools.fleetsim import (
    FakeSglang,
    FakeVllm,
    Fleet,
)


@pytest.mark.parametrize("fake", [FakeVllm, FakeSglang])
async def test_adapters_are_models_with_their_base(fleet: Fleet, fake):
    persona = fake(["base"], adapters={"french": "base"})
    seen = await observe(await fleet.add(persona))
    assert {model.name: model.base for model in seen.models or ()} == {"base": "", "french": "base"}
    assert not any(model.capabilities_known for model in seen.models or ())


def test_models_are_sorted_with_their_context_length() -> None:
    listed = {"data": [{"id": "b", "max_model_len": 4096}, {"id": "a"}, {"object": "model"}]}
    models = parse_list(listed, state=MODEL_STATE_LOADED)
    assert [(model.name, model.state, model.context_length) for model in models] == [
        ("a", MODEL_STATE_LOADED, 0),
        ("b", MODEL_STATE_LOADED, 4096),
    ]


def test_model_that_names_itself_as_parent_has_no_base() -> None:
    (model,) = parse_list({"data": [{"id": "a", "parent": "a"}]})
    assert model.base == ""


@pytest.mark.parametrize("value", [None, [], "models", {"data": "a"}, {"models": []}])
def test_answer_without_a_list_is_another_kind(value) -> None:
    with pytest.raises(WrongKind, match="without a list of models"):
        parse_list(value)


def test_list_of_another_owner_is_another_kind() -> None:
    listed = {"data": [{"id": "a", "owned_by": "vllm"}]}
    assert [model.name for model in parse_list(listed, owner="vllm")] == ["a"]
    assert parse_list({"data": []}, owner="sglang") == []
    with pytest.raises(WrongKind, match="no model of sglang"):
        parse_list(listed, owner="sglang")
