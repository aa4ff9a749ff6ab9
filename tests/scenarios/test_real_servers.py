"""Real servers that are not on every machine: LiteLLM's proxy, Ollama, llama.cpp's router.

`make test-real` installs LiteLLM's proxy into an environment of its own and runs these
tests. `make test` skips those whose server it has not. The tests of Ollama and of the router
also run against captured answers of these servers, everywhere.
"""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from llmhub.v1.admin_service_pb2 import CheckEndpointRequest, RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LITELLM,
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    FAULT_NOT_SERVING,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    Endpoint,
)
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest
from tests.support.hub import RunningHub, by_id, failure_of, running_hub
from tests.support.llama import tiny_model, write_model
from tests.support.ports import lasting_port
from tests.support.replay import ALPHA_FILES, OLLAMA, OLLAMA_FILES, ROUTER, ROUTER_FILES, replaying
from tests.support.waiting import wait_until

__all__ = ["tiny_model"]

_START_S = 60.0
_KEY = "sk-a-key-of-this-test"

# Set by `make test-real`: the programs of its environment.
_PLACES = os.pathsep.join(filter(None, [os.environ.get("REAL_SERVERS"), os.environ["PATH"]]))


def program(name: str, otherwise: str) -> str:
    """The path of a server's program; skips the test without it."""
    found = shutil.which(name, path=_PLACES)
    if found is None:
        pytest.skip(f"{name} is not on PATH: {otherwise}")
    return found


@asynccontextmanager
async def running(url: str, *command: str, **environment: str) -> AsyncIterator[None]:
    """A server from when it answers at `url` until the block ends. Raises TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                assert process.returncode is None, "the server has ended"
                try:
                    async with session.get(url) as response:
                        return response.status == 200
                except aiohttp.ClientError:
                    return False

            await wait_until(answers, timeout_s=_START_S)
        yield
    finally:
        # A router and a proxy have processes of their own.
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def checked(hub: RunningHub, url: str, **fields: object) -> Endpoint:
    """The endpoint once it is registered and checked."""
    place = urlsplit(url)
    request = RegisterEndpointRequest(host=place.hostname, port=place.port, **fields)
    await hub.call("RegisterEndpoint", request)
    return await check(hub, f"{place.hostname}:{place.port}")


async def check(hub: RunningHub, id_: str) -> Endpoint:
    await hub.call("CheckEndpoint", CheckEndpointRequest(id=id_))
    return by_id(await hub.snapshot())[id_]


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with running_hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
async def litellm(tmp_path: Path) -> AsyncIterator[str]:
    """LiteLLM's proxy with a master key, two deployments of "chat" and one of "embed"."""
    command = program("litellm", "`make test-real` installs LiteLLM's proxy")
    # No deployment is ever asked: nothing listens at its address.
    models = [
        {"model_name": name, "litellm_params": {"model": model, "api_base": "http://127.0.0.1:9"}}
        for name, model in (
            ("chat", "openai/gpt-4o"),
            ("chat", "openai/gpt-4o-mini"),
            ("embed", "openai/text-embedding-3-small"),
        )
    ]
    file = tmp_path / "litellm.yaml"
    file.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": _KEY}}))
    port = lasting_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ("--config", str(file), "--host", "127.0.0.1", "--port", str(port))
    async with running(
        f"{url}/health/liveliness",
        command,
        *arguments,
        *("--telemetry", "False"),
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        OPENAI_API_KEY="unused",
    ):
        yield url


async def test_litellms_proxy(hub: RunningHub, litellm: str) -> None:
    seen = await checked(hub, litellm, api_key=_KEY)
    assert (seen.last_error, seen.backend, seen.backend_detected) == ("", BACKEND_LITELLM, True)
    assert seen.version
    chat, embed = seen.models
    assert (chat.name, list(chat.capabilities)) == ("chat", ["completion", "tools", "vision"])
    assert (embed.name, list(embed.capabilities)) == ("embed", ["embedding"])
    assert (chat.context_length, embed.context_length) == (128_000, 8191)
    assert {model.state for model in seen.models} == {MODEL_STATE_UNSPECIFIED}


@pytest.mark.parametrize(
    ("key", "said"), [("", "needs an API key"), ("sk-wrong", "refuses the registered API key")]
)
async def test_litellms_proxy_without_its_key(
    hub: RunningHub, litellm: str, key: str, said: str
) -> None:
    seen = await checked(hub, litellm, **({"api_key": key} if key else {}))
    assert said in seen.last_error
    assert (seen.backend, seen.fault) == (BACKEND_LITELLM, FAULT_NOT_SERVING)


async def test_a_key_that_is_set_later_heals_it(hub: RunningHub, litellm: str) -> None:
    seen = await checked(hub, litellm)
    assert seen.last_error
    seen = await checked(hub, litellm, api_key=_KEY)
    assert (seen.last_error, len(seen.models)) == ("", 2)


@pytest.fixture(params=["real", "replayed"])
async def ollama(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path
) -> AsyncIterator[tuple[str, set[str], int]]:
    """An Ollama: its URL, its models, and the context of "real-chat:latest", which takes tools."""
    if request.param == "replayed":
        async with replaying(OLLAMA, OLLAMA_FILES) as replay:
            yield f"http://{replay.target.id}", {"real-chat:latest", "real-embed:latest"}, 2048
        return
    command = program("ollama", "the captures of tests/captures/ollama-* stand for it")
    address = f"127.0.0.1:{lasting_port()}"
    environment = {
        "OLLAMA_HOST": address,
        "OLLAMA_MODELS": str(tmp_path / "models"),
        "HOME": str(tmp_path),
    }
    file = tmp_path / "Modelfile"
    file.write_text(f'FROM {tiny_model}\nTEMPLATE """{{{{ .Tools }}}}{{{{ .Prompt }}}}"""\n')
    async with running(f"http://{address}/api/version", command, "serve", **environment):
        making = await asyncio.create_subprocess_exec(
            *(command, "create", "real-chat", "-f", str(file)), env=os.environ | environment
        )
        async with asyncio.timeout(_START_S):
            assert await making.wait() == 0
        yield f"http://{address}", {"real-chat:latest"}, 512


async def test_ollama_is_selected_by_what_its_model_can_do(
    hub: RunningHub, ollama: tuple[str, set[str], int]
) -> None:
    url, names, context_length = ollama
    seen = await checked(hub, url)
    assert (seen.last_error, seen.backend, seen.backend_detected) == ("", BACKEND_OLLAMA, True)
    assert seen.version
    assert {each.name for each in seen.models} == names
    (model,) = (each for each in seen.models if each.name == "real-chat:latest")
    assert model.state == MODEL_STATE_AVAILABLE
    assert (sorted(model.capabilities), model.capabilities_known) == (["completion", "tools"], True)
    assert (model.context_length, model.family) == (context_length, "llama")
    assert model.digest
    assert await selected(hub, "real-chat", "tools") == [seen.id]
    refused = await failure_of(selected(hub, "real-chat", "vision"))
    assert refused.reason == "NO_CAPACITY"


async def selected(hub: RunningHub, model: str, capability: str) -> list[str]:
    request = SelectEndpointRequest(model=model, capabilities=[capability])
    return [each.endpoint.id for each in (await hub.call("SelectEndpoint", request)).selections]


Load = Callable[[], Awaitable[None]]


@pytest.fixture(params=["real", "replayed"])
async def llama_router(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[str, Load]]:
    """A llama.cpp router with two models, neither in memory, and how to load "alpha"."""
    if request.param == "replayed":
        async with replaying(ROUTER, ROUTER_FILES) as replay:

            async def load() -> None:
                replay.files |= ALPHA_FILES

            yield f"http://{replay.target.id}", load
        return
    # The server of the wheel xllamacpp has no router mode.
    command = program("llama-server", "the captures of tests/captures/llama.cpp-router-* stand in")
    pytest.importorskip("gguf", reason="the wheel gguf is not installed")
    models = tmp_path / "models"
    models.mkdir()
    for name in ("alpha", "beta"):
        write_model(models / f"{name}.gguf", name=name)
    port = lasting_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ("--models-dir", str(models), "--no-models-autoload")
    place = ("--host", "127.0.0.1", "--port", str(port))

    async def load() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/models/load", json={"model": "alpha"}) as answer,
        ):
            assert answer.status == 200

    async with running(f"{url}/health", command, *arguments, *place):
        yield url, load


async def test_a_llama_cpp_router(hub: RunningHub, llama_router: tuple[str, Load]) -> None:
    url, load = llama_router
    seen = await checked(hub, url)
    assert (seen.last_error, seen.backend) == ("", BACKEND_LLAMA_CPP)
    states = {model.name: model.state for model in seen.models}
    assert states == {"alpha": MODEL_STATE_AVAILABLE, "beta": MODEL_STATE_AVAILABLE}
    await load()

    async def is_loaded() -> bool:
        alpha, beta = (await check(hub, seen.id)).models
        assert beta.state == MODEL_STATE_AVAILABLE
        return alpha.state == MODEL_STATE_LOADED and alpha.context_length > 0

    await wait_until(is_loaded, timeout_s=_START_S)
