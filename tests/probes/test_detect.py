import pytest

from hub.base.settings import ProbeSettings
from hub.probes.backends.docker_model_runner import DockerModelRunnerProber
from hub.probes.backends.lemonade import LemonadeProber
from hub.probes.backends.litellm import LiteLlmProber
from hub.probes.backends.llama_cpp import LlamaCppProber
from hub.probes.backends.llama_swap import LlamaSwapProber
from hub.probes.backends.lm_studio import LmStudioProber
from hub.probes.backends.lmdeploy import LmDeployProber
from hub.probes.backends.ollama import OllamaProber
from hub.probes.backends.openai import OpenAiProber
from hub.probes.backends.sglang import SglangProber
from hub.probes.backends.text_embeddings import TextEmbeddingsProber
from hub.probes.backends.vllm import VllmProber
from hub.probes.detect import detect
from hub.probes.faults import Busy, NeedsApiKey, NotReady
from hub.probes.probe_client import ProbeClient
from tests.support.observing import target_of
from tools.fleetsim import (
    FakeDockerModelRunner,
    FakeLemonade,
    FakeLiteLlm,
    FakeLlamaRouter,
    FakeLlamaSwap,
    FakeLmDeploy,
    FakeLmStudio,
    FakeOllama,
    FakeOpenAi,
    FakeServer,
    FakeSglang,
    FakeTextEmbeddings,
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


@pytest.mark.parametrize(
    ("persona", "kind", "most_requests"),
    [
        (FakeOllama("a"), OllamaProber, 2),
        (FakeOllama(), OllamaProber, 2),
        (FakeVllm(), VllmProber, 2),
        (FakeSglang(), SglangProber, 2),
        (FakeLlamaRouter(), LlamaCppProber, 1),
        (FakeLmStudio(), LmStudioProber, 3),
        (FakeLmStudio(is_old=True), LmStudioProber, 4),
        (FakeLmStudio([]), LmStudioProber, 5),
        (FakeLlamaSwap(), LlamaSwapProber, 1),
        (FakeLlamaSwap({}), LlamaSwapProber, 1),
        (FakeLlamaSwap(is_old=True), LlamaSwapProber, 2),
        (FakeLemonade(), LemonadeProber, 3),
        (FakeLemonade({}, {}), LemonadeProber, 4),
        (FakeLmDeploy(), LmDeployProber, 2),
        (FakeDockerModelRunner(), DockerModelRunnerProber, 3),
        (FakeDockerModelRunner(has_root_api=False), DockerModelRunnerProber, 5),
        (FakeTextEmbeddings(), TextEmbeddingsProber, 8),
        (FakeLiteLlm(), LiteLlmProber, 5),
        (FakeLiteLlm([]), LiteLlmProber, 10),
        (FakeOpenAi(), OpenAiProber, 5),
        (FakeOpenAi([]), OpenAiProber, 10),
    ],
)
async def test_every_kind_is_detected_with_few_requests(fleet: Fleet, persona, kind, most_requests):
    server = await fleet.add(persona)
    assert await kind_of(server) is kind
    assert server.requests <= most_requests


async def test_a_missing_key_is_reported(fleet: Fleet):
    server = await fleet.add(FakeVllm(), api_key="k")
    with pytest.raises(NeedsApiKey):
        await kind_of(server)
    assert await kind_of(server, api_key="k") is VllmProber


class Loading:
    """A llama-server that is still loading its model."""

    def answer(self, request: Request) -> Reply:
        body = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
        return Reply(503, body, headers=(("Server", "llama.cpp"),))


async def test_a_loading_llama_server_is_detected_but_not_ready(fleet: Fleet):
    server = await fleet.add(Loading())
    assert await kind_of(server) is LlamaCppProber
    client = ProbeClient(ProbeSettings())
    await client.open()
    try:
        with pytest.raises(NotReady, match="is loading its model"):
            await LlamaCppProber().probe(client.to(target_of(server)))
    finally:
        await client.close()


class ApiOnly:
    """An Ollama behind a proxy that forwards only /api and /v1."""

    def __init__(self) -> None:
        self.ollama = FakeOllama("a")

    def answer(self, request: Request) -> Reply:
        is_passed_on = request.path.startswith(("/api/", "/v1/"))
        return self.ollama.answer(request) if is_passed_on else Reply(200, b"<html>", "text/html")


async def test_an_ollama_with_a_hidden_root_is_detected(fleet: Fleet):
    assert await kind_of(await fleet.add(ApiOnly())) is OllamaProber


async def test_detection_neither_infers_nor_loads(fleet: Fleet):
    swap, lite, embeddings = FakeLlamaSwap(), FakeLiteLlm([]), FakeTextEmbeddings()
    router = FakeLlamaRouter({"a": "unloaded"})
    for fake in (swap, lite, embeddings, router):
        await kind_of(await fleet.add(fake))
    assert (swap.started, lite.completions, embeddings.runs) == ([], 0, 0)
    assert router.status == {"a": "unloaded"}


@pytest.mark.parametrize(("status", "fault"), [(401, NeedsApiKey), (503, NotReady), (429, Busy)])
async def test_a_server_that_refuses_to_answer_gets_no_further_requests(
    fleet: Fleet, status: int, fault: type
):
    server = await fleet.add(Refusing(status))
    with pytest.raises(fault):
        await kind_of(server)
    assert server.paths == ["/api/version", "/v1/models"]


class Refusing:
    """A server that has no Ollama API and refuses its list."""

    def __init__(self, status: int) -> None:
        self.status = status

    def answer(self, request: Request) -> Reply:
        return Reply(self.status if request.path == "/v1/models" else 404)
