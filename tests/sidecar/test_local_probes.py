from pathlib import Path

import pytest

from hub.probes.asker import ProbeTarget
from hub.probes.faults import BadAnswer, Unreachable
from hub.probes.model_facts import ModelFactsCache
from hub.sidecar.local_probes import LocalAsker, LocalProbes
from hub.sidecar.local_server import LocalServer
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED
from tests.support.llama import running_llama
from tools.fleetsim import (
    Behaviour,
    FakeDockerModelRunner,
    FakeLemonade,
    FakeLlamaRouter,
    FakeLlamaSwap,
    FakeLmStudio,
    FakeOllama,
    FakeOpenAi,
    FakeServer,
    FakeSglang,
    FakeVllm,
    Fleet,
    Persona,
)


async def look(url: str) -> LocalServer:
    return await LocalProbes().look(url)


@pytest.mark.parametrize(
    ("persona", "backend"),
    [
        (FakeOllama("llama3.1:8b"), "ollama"),
        (FakeVllm(), "vllm"),
        (FakeSglang(), "sglang"),
        (FakeLmStudio(), "lm_studio"),
        (FakeOpenAi(), "openai"),
    ],
)
async def test_each_kind_is_detected_by_its_answers(persona: Persona, backend: str | None) -> None:
    async with Fleet() as fleet:
        server = await fleet.add(persona)
        seen = await look(f"http://{server.id}")
    assert (seen.backend, seen.error) == (backend, None)
    assert seen.models
    assert len(server.paths) <= 8
    assert not {"/api/generate", "/api/chat", "/v1/chat/completions"} & set(server.paths)


@pytest.mark.parametrize(
    ("persona", "backend"),
    [
        (FakeLlamaSwap(), "llama_swap"),
        (FakeLemonade(), "lemonade"),
        (FakeDockerModelRunner(), "docker_model_runner"),
        (FakeLlamaRouter(), "llama_cpp"),
    ],
)
async def test_servers_that_imitate_ollama_are_not_taken_for_it(
    persona: Persona, backend: str
) -> None:
    async with Fleet() as fleet:
        server = await fleet.add(persona)
        seen = await look(f"http://{server.id}")
    assert (seen.backend, seen.error) == (backend, None)
    assert seen.models


async def test_a_sidecar_learns_as_much_about_an_ollama_as_the_hub() -> None:
    ollama = FakeOllama("a:1", "b:2", version="0.12.6")
    ollama.load("a:1")
    async with Fleet() as fleet:
        server = await fleet.add(ollama)
        seen = await look(f"http://{server.id}")
    assert seen.version == "0.12.6"
    assert seen.models is not None
    a, b = seen.models
    assert (a.name, a.state, a.context_length) == ("a:1", MODEL_STATE_LOADED, 4096)
    assert a.HasField("expires_at")
    assert (b.name, b.state, b.context_length) == ("b:2", MODEL_STATE_AVAILABLE, 131_072)
    assert (b.capabilities, b.digest) == (["completion", "tools"], ollama.on_disk["b:2"].digest)


async def test_the_kind_of_a_server_is_remembered_until_another_takes_the_port() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"))
        probes, url = LocalProbes(), f"http://{server.id}"
        await probes.look(url)
        asked = len(server.paths)
        assert (await probes.look(url)).backend == "ollama"
        assert "/" not in server.paths[asked:]
        assert "/api/show" not in server.paths[asked:]
        server.persona = FakeVllm()
        assert (await probes.look(url)).backend == "vllm"
        server.behaviour = Behaviour.HALF_OPEN
        assert (await probes.look(url)).backend == "vllm"
        server.behaviour = Behaviour.OK
        server.persona = FakeOllama("a:1")
        assert (await probes.look(url)).backend == "ollama"


async def test_the_real_llama_cpp_server(tiny_model: Path) -> None:
    async with running_llama(tiny_model, alias="tiny") as server:
        seen = await look(f"http://{server.id}")
    assert (seen.backend, seen.error) == ("llama_cpp", None)
    assert seen.models is not None
    assert [(model.name, model.state) for model in seen.models] == [("tiny", MODEL_STATE_LOADED)]
    assert seen.version


@pytest.mark.parametrize(
    ("behaviour", "said", "answers"),
    [
        (Behaviour.HTML, "HTML, not JSON", True),
        (Behaviour.MALFORMED, "malformed", True),
        (Behaviour.REDIRECT, "redirect", True),
        (Behaviour.OVERSIZED, "more than", True),
        (Behaviour.HALF_OPEN, "reset", False),
        (Behaviour.REFUSED, "refused", False),
    ],
)
async def test_a_misbehaving_server_is_an_error_and_not_an_exception(
    behaviour: Behaviour, said: str, *, answers: bool
) -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"), behaviour)
        seen = await look(f"http://{server.id}")
    assert (seen.reachable, seen.is_inference_server) == (answers, False)
    assert said in str(seen.error)


async def test_a_server_that_requires_a_key_is_reachable_with_an_error() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOpenAi(), api_key="sk-1")
        seen = await look(f"http://{server.id}")
    assert (seen.reachable, seen.error) == (True, "needs an API key (401 to /v1/models)")


def asker(server: FakeServer) -> LocalAsker:
    target = ProbeTarget(server.id, "http", server.host, server.port)
    return LocalAsker(f"http://{server.id}", target, ModelFactsCache())


async def test_a_local_asker_sends_the_same_requests_as_the_hub() -> None:
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
async def test_a_missing_answer_is_distinguished_from_a_bad_one(
    behaviour: Behaviour, fault: type[Exception]
) -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"), behaviour)
        with pytest.raises(fault):
            await asker(server).get("/api/version")
