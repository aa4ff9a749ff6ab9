import pytest

from hub.probes.backends.text_embeddings import parse_info
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import BACKEND_TEI, MODEL_STATE_LOADED
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeTextEmbeddings, Fleet


async def test_the_model_is_known_without_running_it(fleet: Fleet):
    fake = FakeTextEmbeddings()
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for _ in range(2):
            seen = await engine.check(server.id, 10)
    assert (seen.error, seen.backend, seen.version) == ("", BACKEND_TEI, "1.9.4")
    (model,) = seen.models or ()
    assert (model.name, model.state) == ("thenlper/gte-base", MODEL_STATE_LOADED)
    assert (model.context_length, model.quantization) == (512, "float16")
    assert (list(model.capabilities), model.capabilities_known) == (["embedding"], True)
    assert seen.load == Load(waiting=3)
    assert fake.runs == 0
    assert "/health" not in server.paths


@pytest.mark.parametrize(
    ("kind", "word"),
    [("embedding", "embedding"), ("reranker", "rerank"), ("classifier", "classification")],
)
def test_each_type_of_model_has_its_capability(kind: str, word: str):
    value = {"model_id": "m", "max_input_length": 512, "model_type": {kind: {}}}
    info = parse_info(value)
    assert info is not None
    assert list(info.model.capabilities) == [word]


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"model_id": "m", "max_input_tokens": 4096},
        {"model_id": "m", "max_input_length": 512, "model_type": "embedding"},
        {"max_input_length": 512, "model_type": {"embedding": {}}},
    ],
)
def test_another_servers_info_is_not_accepted(value):
    assert parse_info(value) is None
