"""Compares each cell of the tables of facts in docs/backends.md with what the hub shows.

A cell with text means that the hub knows the fact of that backend; an empty cell means that
it does not. The hub must request every route that a cell names.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from hub.base.settings import ProbeSettings
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    Model,
)
from tests.support.observing import running_engine, target_of
from tests.support.replay import captured
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
    FakeSglang,
    FakeTextEmbeddings,
    FakeVllm,
    Fleet,
    Persona,
    Reply,
    Request,
)

DOCS = Path(__file__).parents[3] / "docs" / "backends.md"
SINGLE = "llama.cpp-xllamacpp-2026.10.11549"


class Recorded:
    """The captured llama.cpp server, with added answers that the capture does not have."""

    def __init__(self, **bodies: bytes) -> None:
        self.bodies = bodies

    def answer(self, request: Request) -> Reply:
        name = request.path.strip("/").replace("/", "-")
        if name == "metrics":
            gauges = ("kv_cache_usage_ratio 0.5", "requests_deferred 1")
            counters = ("prompt_tokens_total 5", "prompt_tokens_cached_total 5")
            page = "".join(f"llamacpp:{line}\n" for line in gauges + counters)
            return Reply(200, page.encode())
        if (body := self.bodies.get(name.replace("-", "_"))) is not None:
            return Reply(200, body)
        try:
            return Reply(200, captured(SINGLE, name).split(b"\r\n\r\n", 1)[1])
        except FileNotFoundError:
            return Reply(404)


def ollama() -> FakeOllama:
    fake = FakeOllama("chat:8b", "nomic-embed-text")
    fake.load("chat:8b")
    return fake


LOADING = b'{"data": [{"id": "a", "owned_by": "llamacpp", "meta": null}]}'

# For each backend, servers that together show all facts that it can report.
SERVERS: dict[str, Callable[[], Iterable[Persona]]] = {
    "Ollama": lambda: [ollama()],
    "vLLM": lambda: [
        FakeVllm(dev=True, adapters={"french": "base"}, prefix_queries=2, prefix_hits=1),
        FakeVllm(dev=True, sleeping=True),
    ],
    "llama.cpp server": lambda: [
        Recorded(lora_adapters=b'[{"id": 0, "path": "a.gguf", "scale": 1}]'),
        Recorded(v1_models=LOADING),
        Recorded(props=b'{"is_sleeping": true}'),
        FakeLlamaRouter(),
    ],
    "LM Studio": lambda: [FakeLmStudio(["a", "b"], {"a": 8192}), FakeLmStudio(is_old=True)],
    "SGLang": lambda: [
        FakeSglang(adapters={"french": "base"}),
        FakeSglang(is_old=True, has_metrics=True),
    ],
    "OpenAI-compatible": lambda: [FakeOpenAi(), WithContextAndBase()],
    "llama-swap": lambda: [FakeLlamaSwap({"a": "ready", "b": "stopped", "c": "starting"})],
    "LiteLLM": lambda: [FakeLiteLlm()],
    "Lemonade": lambda: [FakeLemonade(), LemonadeThatLoads()],
    "LMDeploy": lambda: [FakeLmDeploy()],
    "Docker Model Runner": lambda: [
        FakeDockerModelRunner(),
        FakeDockerModelRunner(running={"ai/smollm2": True}),
    ],
    "Text Embeddings Inference": lambda: [FakeTextEmbeddings()],
}


class WithContextAndBase:
    """A compatible server that reports more than the API requires."""

    def answer(self, request: Request) -> Reply:
        if request.path != "/v1/models":
            return Reply(404)
        return Reply(200, b'{"data": [{"id": "a", "max_model_len": 512, "parent": "b"}]}')


class LemonadeThatLoads(FakeLemonade):
    def answer(self, request: Request) -> Reply:
        reply = super().answer(request)
        return Reply(200, reply.body.replace(b'"type":"llm"', b'"status":"loading"'))


def some(seen: Observation, has: Callable[[Model], object]) -> bool:
    return any(has(model) for model in seen.models or ())


def is_in(state: int) -> Callable[[Observation], bool]:
    return lambda seen: some(seen, lambda model: model.state == state)


def figure(name: str) -> Callable[[Observation], bool]:
    return lambda seen: seen.load is not None and getattr(seen.load, name) is not None


def fact(name: str) -> Callable[[Observation], bool]:
    return lambda seen: some(seen, lambda model: model.HasField(name))


FACTS: dict[str, Callable[[Observation], bool]] = {
    "is it up": lambda seen: not seen.error,
    "models": lambda seen: bool(seen.models),
    "in memory": is_in(MODEL_STATE_LOADED),
    "on disk": is_in(MODEL_STATE_AVAILABLE),
    "loading": is_in(MODEL_STATE_LOADING),
    "context in tokens": fact("context_length"),
    "capabilities": lambda seen: some(seen, lambda model: model.capabilities),
    "capabilities that are absent": lambda seen: some(
        seen, lambda model: model.absent_capabilities or model.capabilities_known
    ),
    "LoRA adapters": lambda seen: some(seen, lambda model: model.base or model.adapters),
    "digest": fact("digest"),
    "size": fact("size_bytes"),
    "family": fact("family"),
    "parameters": fact("parameter_size"),
    "quantization": fact("quantization"),
    "memory of a model": fact("vram_bytes"),
    "warm until": fact("expires_at"),
    "version": lambda seen: bool(seen.version),
    "requests running": figure("running"),
    "requests waiting": figure("waiting"),
    "slots": figure("slots"),
    "use of the KV cache": figure("kv_cache_used_ratio"),
    "prefix cache hits": figure("prefix_cache_hit_ratio"),
}


def cells() -> dict[tuple[str, str], str]:
    """The cells of both tables, by fact and backend."""
    section = DOCS.read_text().split("## Facts and their sources")[1].split("\n## ")[0]
    found: dict[tuple[str, str], str] = {}
    backends: list[str] = []
    for line in section.splitlines():
        if not line.startswith("|") or set(line) <= set("|- "):
            continue
        name, *texts = (cell.strip() for cell in line.strip("|").split("|"))
        if name == "fact":
            backends = texts
        else:
            found |= {(name, backend): text for backend, text in zip(backends, texts, strict=True)}
    return found


CELLS = cells()


def test_the_tables_have_a_row_for_each_fact_and_a_column_for_each_backend():
    assert set(CELLS) == {(name, backend) for name in FACTS for backend in SERVERS}


async def see(backend: str) -> tuple[list[Observation], set[str]]:
    async with Fleet() as fleet, running_engine(ProbeSettings(interval_s=600.0)) as (engine, _):
        servers = [await fleet.add(persona) for persona in SERVERS[backend]()]
        seen = []
        for server in servers:
            engine.watch(target_of(server))
            seen += [await engine.check(server.id, 10) for _ in range(2)]
        return seen, {path for server in servers for path in server.paths}


@cache
def observed(backend: str) -> tuple[list[Observation], set[str]]:
    """The observations of two probes of each server of a backend, and the requested paths."""
    return asyncio.run(see(backend))


@pytest.mark.parametrize(("name", "backend"), sorted(CELLS))
def test_a_cell_shows_whether_the_hub_knows_the_fact_and_from_which_route(name: str, backend: str):
    seen, paths = observed(backend)
    text = CELLS[name, backend]
    assert any(map(FACTS[name], seen)) is bool(text)
    for path in re.findall(r"`(/[^` ]+)`", text):
        assert path in paths, f"{path} is not requested"
