from hub.probes.backends.prober import (
    MAX_MODELS_BYTES,
    PROBES_PER_STATIC_FACT,
    Cadence,
    Sighting,
    bounded,
)
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Model
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeOllama, Fleet
from tools.fleetsim.ollama import OllamaModel


def rich(number: int, state: int = MODEL_STATE_AVAILABLE) -> Model:
    return Model(name=f"{number:0500}", state=state, capabilities=["x" * 100] * 5)


def test_a_few_models_are_all_kept():
    models = [rich(number) for number in range(100)]
    assert bounded(models) == models


def test_many_models_are_cut_to_the_bound_and_those_in_memory_stay():
    models = [rich(number) for number in range(2000)]
    models[-1].state = MODEL_STATE_LOADED
    sighting = Sighting.of(models)
    assert sum(model.ByteSize() for model in sighting.models) <= MAX_MODELS_BYTES
    assert sighting.omitted == 2000 - len(sighting.models) > 0
    names = [model.name for model in sighting.models]
    assert names == sorted(names)
    assert names[-1] == models[-1].name


async def test_an_endpoint_whose_models_are_cut_is_logged_once(fleet: Fleet, capsys):
    fake = FakeOllama()
    for number in range(4000):
        fake.pull(OllamaModel(f"m{number}" + "x" * 200))
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for _ in range(2):
            seen = await engine.check(server.id, 10)
    assert seen.error == ""
    assert capsys.readouterr().out.count("models_omitted") == 1


def test_static_facts_are_due_first_and_every_tenth_time():
    cadence = Cadence()
    due = [cadence.due() for _ in range(2 * PROBES_PER_STATIC_FACT)]
    assert [number for number, is_due in enumerate(due) if is_due] == [0, PROBES_PER_STATIC_FACT]
