"""The real engine probes every captured answer of a real server over a socket."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from hub.base.settings import ProbeSettings
from hub.registry.observation import Load, Observation
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LITELLM,
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    Model,
)
from tests.support.observing import running_engine
from tests.support.replay import (
    ALPHA_FILES,
    CAPTURES,
    OLLAMA,
    OLLAMA_FILES,
    ROUTER,
    ROUTER_FILES,
    Replay,
    replaying,
)

LITELLM = "litellm-1.108.7"
SINGLE = "llama.cpp-xllamacpp-2026.10.11549"
CHAT = "016ba6db7323fe3f45f88acd566f2e4d611f6b39e5f301c7535608654592c62d"

LITELLM_FILES = {
    "/api/version": "api-version",
    "/health/liveliness": "liveliness",
    "/health/readiness": "readiness",
    "/health/readiness/details": "readiness-details",
    "/v1/models": "v1-models",
    "/model/info": "model-info",
}
SINGLE_FILES = {
    "/v1/models": "v1-models",
    "/props": "props",
    "/slots": "slots",
    "/lora-adapters": "lora-adapters",
    "/metrics": "metrics",
}


def test_the_manifest_states_version_and_date_of_each_folder():
    lines = (CAPTURES / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| `")]
    stated = {folder.strip("`"): (server, date) for _, folder, server, date, *_ in rows}
    assert set(stated) == {each.name for each in CAPTURES.iterdir() if each.is_dir()}
    for folder, (server, date) in stated.items():
        assert folder.rpartition("-")[2] in server
        assert re.fullmatch(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", date), folder
        assert list((CAPTURES / folder).glob("*.http")), folder


@asynccontextmanager
async def seeing(
    folder: str, files: Mapping[str, str]
) -> AsyncIterator[tuple[Replay, Observation]]:
    settings = ProbeSettings(interval_s=600.0)
    async with replaying(folder, files) as replay, running_engine(settings) as (engine, _):
        engine.watch(replay.target)
        yield replay, await engine.check(replay.target.id, 10)


def by_name(seen: Observation) -> dict[str, Model]:
    return {model.name: model for model in seen.models or ()}


async def test_ollama_with_no_model_in_memory():
    async with seeing(OLLAMA, OLLAMA_FILES) as (replay, seen):
        assert (seen.error, seen.backend, seen.version) == ("", BACKEND_OLLAMA, "0.17.4")
        models = by_name(seen)
        chat, embed = models["real-chat:latest"], models["real-embed:latest"]
        assert (chat.digest, chat.size_bytes, chat.family) == (CHAT, 1_290_330, "llama")
        assert (list(chat.capabilities), chat.capabilities_known) == (["completion", "tools"], True)
        assert (list(embed.capabilities), embed.capabilities_known) == (["embedding"], True)
        assert (chat.context_length, embed.context_length) == (2048, 512)
        assert {model.state for model in models.values()} == {MODEL_STATE_AVAILABLE}
        assert sum(question.startswith("/api/show") for question in replay.asked) == 2


async def test_ollama_with_one_model_and_then_two_in_memory():
    async with replaying(OLLAMA, OLLAMA_FILES | {"/api/ps": "ps-loaded"}) as replay:
        async with running_engine(ProbeSettings(interval_s=600.0)) as (engine, _):
            engine.watch(replay.target)
            models = by_name(await engine.check(replay.target.id, 10))
            chat = models["real-chat:latest"]
            assert (chat.state, chat.context_length) == (MODEL_STATE_LOADED, 512)
            assert (chat.HasField("vram_bytes"), chat.vram_bytes) == (True, 0)
            assert chat.expires_at.ToJsonString() == "2026-11-24T11:14:08.954Z"
            assert models["real-embed:latest"].state == MODEL_STATE_AVAILABLE
            replay.files["/api/ps"] = "ps-two"
            models = by_name(await engine.check(replay.target.id, 10))
            assert {model.state for model in models.values()} == {MODEL_STATE_LOADED}
            assert list(models["real-chat:latest"].capabilities) == ["completion", "tools"]
        assert sum(question.startswith("/api/show") for question in replay.asked) == 2


async def test_ollama_that_cannot_find_its_model():
    files = OLLAMA_FILES | {"/api/show real-chat:latest": "show-unknown"}
    async with seeing(OLLAMA, files) as (_, seen):
        assert seen.error == ""
        assert not by_name(seen)["real-chat:latest"].capabilities_known


async def test_a_llama_cpp_router_without_loaded_models_gets_no_request_for_one():
    async with seeing(ROUTER, ROUTER_FILES) as (replay, seen):
        assert (seen.error, seen.backend, seen.version) == ("", BACKEND_LLAMA_CPP, "b1-7e4c0a9")
        models = by_name(seen)
        assert {name: model.state for name, model in models.items()} == {
            "alpha": MODEL_STATE_AVAILABLE,
            "beta": MODEL_STATE_AVAILABLE,
        }
        assert not models["alpha"].capabilities
        assert list(models["alpha"].absent_capabilities) == ["vision", "audio"]
        assert not [question for question in replay.asked if "model=" in question]


async def test_a_llama_cpp_router_with_a_loaded_model():
    async with seeing(ROUTER, ROUTER_FILES | ALPHA_FILES) as (replay, seen):
        alpha, beta = by_name(seen).values()
        assert (alpha.state, alpha.context_length) == (MODEL_STATE_LOADED, 512)
        assert (alpha.size_bytes, alpha.parameter_size) == (65_920, "16.5K")
        assert list(alpha.absent_capabilities) == ["vision", "audio", "tools"]
        assert beta.state == MODEL_STATE_AVAILABLE
        assert seen.load == Load(running=0, slots=4)
        about = [question for question in replay.asked if "model=" in question]
        assert all("autoload=false" in question and "beta" not in question for question in about)


async def test_a_llama_cpp_server_with_one_model():
    async with seeing(SINGLE, SINGLE_FILES) as (_, seen):
        assert (seen.error, seen.backend, seen.version) == ("", BACKEND_LLAMA_CPP, "b0-unknown")
        (model,) = seen.models or ()
        assert (model.name, model.state, model.context_length) == ("tiny", MODEL_STATE_LOADED, 256)
        assert list(model.capabilities) == ["completion"]
        assert sorted(model.absent_capabilities) == ["audio", "tools", "vision"]
        assert seen.load == Load(running=0, waiting=0, slots=2)


async def test_the_litellm_proxy():
    async with seeing(LITELLM, LITELLM_FILES) as (replay, seen):
        assert (seen.error, seen.backend, seen.version) == ("", BACKEND_LITELLM, "1.108.7")
        models = by_name(seen)
        assert list(models["chat"].capabilities) == ["completion", "tools", "vision"]
        assert list(models["embed"].capabilities) == ["embedding"]
        assert (models["chat"].context_length, models["embed"].context_length) == (128_000, 8191)
        assert "/health" not in replay.asked


async def test_the_litellm_proxy_with_a_key_that_may_not_see_the_deployments():
    files = {path: name for path, name in LITELLM_FILES.items() if path != "/model/info"}
    async with seeing(LITELLM, files) as (_, seen):
        models = by_name(seen)
        assert list(models["chat"].capabilities) == ["completion"]
        assert models["embed"].context_length == 8191


@pytest.mark.parametrize(
    ("file", "said"), [("v1-models-no-key", "500"), ("v1-models-wrong-key", "400")]
)
async def test_the_litellm_proxy_without_its_key(file: str, said: str):
    async with seeing(LITELLM, LITELLM_FILES | {"/v1/models": file}) as (_, seen):
        assert seen.error == f"needs an API key ({said} to /v1/models)"
        assert (seen.answered, seen.backend) == (True, BACKEND_LITELLM)
