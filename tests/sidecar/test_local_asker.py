import pytest

from hub.probes.faults import BadAnswer, Unreachable
from hub.probes.model_facts import ModelFactsCache
from hub.probes.target import ProbeTarget
from hub.sidecar.local_asker import LocalAsker
from tools.fleetsim import Behaviour, FakeOllama, FakeOpenAi, FakeServer, Fleet


def asker(server: FakeServer) -> LocalAsker:
    target = ProbeTarget(server.id, "http", server.host, server.port)
    return LocalAsker(f"http://{server.id}", target, ModelFactsCache())


async def test_it_asks_as_the_hub_does() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"))
        ask = asker(server)
        version = await ask.get("/api/version", {"a": "b c"})
        shown = await ask.post("/api/show", {"model": "a:1"})
    assert version.json() == {"version": "0.12.6"}
    assert version.content_type.startswith("application/json")
    assert server.recent[0].query == {"a": "b c"}
    assert isinstance(shown.json(), dict)
    assert ask.has_connected


async def test_any_status_is_an_answer() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOpenAi(retry_after="7"))
        answer = await asker(server).get("/v1/models")
    assert (answer.status, answer.retry_after) == (429, "7")


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        (Behaviour.REFUSED, Unreachable),
        (Behaviour.DROP, Unreachable),
        (Behaviour.OVERSIZED, BadAnswer),
    ],
)
async def test_no_answer_is_told_from_a_bad_one(
    behaviour: Behaviour, fault: type[Exception]
) -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"), behaviour)
        with pytest.raises(fault):
            await asker(server).get("/api/version")
