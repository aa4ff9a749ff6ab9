from pathlib import Path

import pytest

from hub.sidecar.recognise import recognise
from tests.support.llama import running_llama
from tools.fleetsim import (
    Behaviour,
    FakeLmStudio,
    FakeOllama,
    FakeOpenAi,
    FakeSglang,
    FakeVllm,
    Fleet,
    Persona,
)


@pytest.mark.parametrize(
    ("persona", "backend"),
    [
        (FakeOllama("llama3.1:8b"), "ollama"),
        (FakeVllm(), "vllm"),
        (FakeSglang(), "sglang"),
        (FakeLmStudio(), "lm_studio"),
        (FakeOpenAi(), None),
    ],
)
async def test_each_kind_is_recognised_by_its_answers(
    persona: Persona, backend: str | None
) -> None:
    async with Fleet() as fleet:
        server = await fleet.add(persona)
        seen = await recognise(f"http://{server.id}")
    assert (seen.backend, seen.error) == (backend, None)
    assert seen.models
    assert len(server.paths) <= 4
    assert not {"/api/generate", "/api/chat", "/v1/chat/completions"} & set(server.paths)


async def test_an_ollama_tells_its_version_and_models() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1", "b:2", version="0.12.6"))
        seen = await recognise(f"http://{server.id}")
    assert (seen.version, seen.models) == ("0.12.6", ("a:1", "b:2"))


async def test_the_real_llama_cpp_server(tiny_model: Path) -> None:
    async with running_llama(tiny_model, alias="tiny") as server:
        seen = await recognise(f"http://{server.id}")
    assert (seen.backend, seen.error, seen.models) == ("llama_cpp", None, ("tiny",))
    assert seen.version


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (Behaviour.HTML, "no inference server"),
        (Behaviour.MALFORMED, "no inference server"),
        (Behaviour.REDIRECT, "no inference server"),
        (Behaviour.HALF_OPEN, "reset"),
        (Behaviour.REFUSED, "refused"),
        (Behaviour.OVERSIZED, "more than"),
    ],
)
async def test_misbehaving_server_is_an_error_and_no_exception(
    behaviour: Behaviour, said: str
) -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"), behaviour)
        seen = await recognise(f"http://{server.id}")
    assert not seen.reachable
    assert said in str(seen.error)


async def test_required_key_is_reported() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOpenAi(), api_key="sk-1")
        seen = await recognise(f"http://{server.id}")
    assert seen.error == "needs an API key (401)"
