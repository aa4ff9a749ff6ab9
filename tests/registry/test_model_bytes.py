from hub.base.bounds import MODEL_BYTES_PER_ENDPOINT
from hub.registry.model_bytes import bounded
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Model


def rich(number: int, state: int = MODEL_STATE_AVAILABLE) -> Model:
    return Model(name=f"{number:0500}", state=state, capabilities=["x" * 100] * 5)


def test_few_models_are_all_kept():
    models = [rich(number) for number in range(100)]
    assert bounded(models) == models


def test_many_are_cut_to_the_bound_and_those_in_memory_stay():
    models = [rich(number) for number in range(2000)]
    models[-1].state = MODEL_STATE_LOADED
    kept = bounded(models)
    assert sum(model.ByteSize() for model in kept) <= MODEL_BYTES_PER_ENDPOINT
    assert 0 < len(kept) < 2000
    names = [model.name for model in kept]
    assert names == sorted(names)
    assert names[-1] == models[-1].name
