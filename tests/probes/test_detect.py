import pytest

from hub.base.settings import ProbeSettings
from hub.probes.backends.llama_cpp import LlamaCppProber
from hub.probes.backends.lm_studio import LmStudioProber
from hub.probes.backends.ollama import OllamaProber
from hub.probes.backends.openai import OpenAiProber
from hub.probes.backends.sglang import SglangProber
from hub.probes.backends.vllm import VllmProber
from hub.probes.detect import PROBERS, detect
from hub.probes.faults import NeedsApiKey, NotReady
from hub.probes.probe_client import ProbeClient
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, Backend
from tests.support.observing import target_of
from tools.fleetsim import (
    FakeLlamaRouter,
    FakeLmStudio,
    FakeOllama,
    FakeOpenAi,
    FakeServer,
    FakeSglang,
    FakeVllm,
    Fleet,
    Reply,
    Request,
)


async def kind_of(server: FakeServer, api_key: str | None = None) -> type:
    client = ProbeClient(ProbeSettings())
    await client.open()
    try:
        return type(await detect(client.to(target_of(server, api_key=api_key))))
    finally:
        await client.close()


def test_there_is_a_prober_for_every_kind():
    assert set(PROBERS) == set(Backend.values()) - {BACKEND_UNSPECIFIED}
    assert all(prober.kind == kind and prober.title for kind, prober in PROBERS.items())


@pytest.mark.parametrize(
    ("persona", "kind", "most_requests"),
    [
        (FakeOllama("a"), OllamaProber, 1),
        (FakeOllama(), OllamaProber, 1),
        (FakeVllm(), VllmProber, 2),
        (FakeSglang(), SglangProber, 2),
        (FakeLlamaRouter(), LlamaCppProber, 1),
        (FakeLmStudio(), LmStudioProber, 3),
        (FakeLmStudio(is_old=True), LmStudioProber, 4),
        (FakeLmStudio([]), LmStudioProber, 3),
        (FakeOpenAi(), OpenAiProber, 4),
        (FakeOpenAi([]), OpenAiProber, 6),
    ],
)
async def test_every_kind_is_known_in_few_questions(fleet: Fleet, persona, kind, most_requests):
    server = await fleet.add(persona)
    assert await kind_of(server) is kind
    assert server.requests <= most_requests


async def test_a_key_is_asked_for_where_it_is_needed(fleet: Fleet):
    server = await fleet.add(FakeVllm(), api_key="k")
    with pytest.raises(NeedsApiKey):
        await kind_of(server)
    assert await kind_of(server, api_key="k") is VllmProber


class Loading:
    """A llama-server that has not loaded its model yet."""

    def answer(self, request: Request) -> Reply:
        body = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
        return Reply(503, body, headers=(("Server", "llama.cpp"),))


async def test_a_llama_server_that_loads_is_known_and_not_ready(fleet: Fleet):
    server = await fleet.add(Loading())
    assert await kind_of(server) is LlamaCppProber
    client = ProbeClient(ProbeSettings())
    await client.open()
    try:
        with pytest.raises(NotReady, match="is loading its model"):
            await LlamaCppProber().probe(client.to(target_of(server)))
    finally:
        await client.close()
