"""The hub's and the sidecar's asker give a prober the same answers."""

from hub.base.settings import ProbeSettings
from hub.probes.asker import Asker, ProbeTarget
from hub.probes.backends.ollama import OllamaProber
from hub.probes.model_facts import ModelFactsCache
from hub.probes.probe_client import ProbeClient
from hub.sidecar.local_probes import LocalAsker
from tools.fleetsim import FakeOllama, Fleet


async def test_a_prober_gets_the_same_facts_through_each_asker() -> None:
    ollama = FakeOllama("a:1", "b:2")
    ollama.load("a:1")
    async with Fleet() as fleet:
        server = await fleet.add(ollama)
        target = ProbeTarget(server.id, "http", server.host, server.port)
        client = ProbeClient(ProbeSettings())
        await client.open()
        askers: list[Asker] = [
            client.to(target),
            LocalAsker(f"http://{server.id}", target, ModelFactsCache()),
        ]
        hubs, sidecars = [await OllamaProber().probe(ask) for ask in askers]
        await client.close()
    assert hubs == sidecars
    assert len(hubs.models) == 2
