"""A server that is only compatible with the OpenAI API, simulated by a fake."""

import pytest

from hub.probes.backends.openai import parse_list
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import (
    BACKEND_OPENAI,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
)
from tests.support.observing import observe
from tools.fleetsim import (
    FakeOpenAi,
    FakeSglang,
    FakeVllm,
    Fleet,
    Reply,
    Request,
)


async def test_another_server_reports_only_names(fleet: Fleet):
    seen = await observe(await fleet.add(FakeOpenAi(["b", "a"])))
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
        (Reply(404, b"nope"), "is not an inference server that the hub knows"),
        (Reply(200, b"{}"), "is not an inference server that the hub knows"),
        (Reply(200, b"<html>", "text/html"), "answered HTML, not JSON, to /v1/models"),
        (Reply(500, b"oops"), "answered 500 to /v1/models"),
        (Reply(503, b"booting", "text/plain"), "is not ready (503 to /v1/models): booting"),
    ],
)
async def test_a_server_of_unknown_kind_is_reported(fleet: Fleet, reply, sentence):
    seen = await observe(await fleet.add(NotAnInferenceServer(reply)))
    assert seen.error.startswith(sentence)
    assert seen.answered


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


def test_a_model_that_names_itself_as_parent_has_no_base() -> None:
    (model,) = parse_list({"data": [{"id": "a", "parent": "a"}]})
    assert model.base == ""


@pytest.mark.parametrize("value", [None, [], "models", {"data": "a"}, {"models": []}])
def test_an_answer_without_a_list_is_another_kind(value) -> None:
    with pytest.raises(WrongKind, match="without a list of models"):
        parse_list(value)


def test_a_list_of_another_owner_is_another_kind() -> None:
    listed = {"data": [{"id": "a", "owned_by": "vllm"}]}
    assert [model.name for model in parse_list(listed, owner="vllm")] == ["a"]
    assert parse_list({"data": []}, owner="sglang") == []
    with pytest.raises(WrongKind, match="no models of sglang"):
        parse_list(listed, owner="sglang")
