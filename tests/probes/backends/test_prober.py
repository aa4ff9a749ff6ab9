from hub.probes.backends.prober import (
    PROBES_PER_STATIC_FACT,
    Cadence,
)
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeOllama, Fleet
from tools.fleetsim.ollama import OllamaModel


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
