"""Conversations with two real llama.cpp servers: an affinity key finds the prompt's cache."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub.client import AsyncHub, affinity_of_request
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.registry_service_pb2 import STRATEGY_ROUND_ROBIN
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import running_hub
from tests.support.llama import running_llama, tiny_model, write_model
from tests.support.waiting import wait_until

__all__ = ["tiny_model"]

MODEL = "chatty"
SYSTEM = {"role": "system", "content": "You answer in a few words. " * 4}

Message = dict[str, str]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Path:
    return write_model(tiny_model.parent / "chatty.gguf", name=MODEL, reads_text=True)


@asynccontextmanager
async def two_servers(model: Path, directory: Path) -> AsyncIterator[AsyncHub]:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(running_hub(directory))
        for _ in range(2):
            llama = running_llama(model, alias=MODEL, context=2048, slots=1)
            server = await stack.enter_async_context(llama)
            request = RegisterEndpointRequest(host=server.host, port=server.port)
            await running.call("RegisterEndpoint", request)
        await wait_until(lambda: running.hub.info().healthy_count == 2)
        token = await running.token(ROLE_READER)
        yield await stack.enter_async_context(AsyncHub(running.grpc_address, token))


def answer(url: str, messages: list[Message]) -> Any:
    body = {"model": MODEL, "messages": messages, "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


async def talk(hub: AsyncHub, first: str, *, with_key: bool, turns: int = 3) -> list[int]:
    """A conversation; returns how many tokens of each turn's prompt were in the cache."""
    cached = []
    messages = [SYSTEM, {"role": "user", "content": first}]
    for _ in range(turns):
        key = affinity_of_request({"messages": messages}) if with_key else ""
        strategy = {} if with_key else {"strategy": STRATEGY_ROUND_ROBIN}
        async with hub.session(MODEL, affinity_key=key, **strategy) as session:
            said = await asyncio.to_thread(answer, session.base_url, messages)
            usage = said["usage"]
            session.counted(
                prompt_tokens=usage["prompt_tokens"],
                cached_tokens=usage["prompt_tokens_details"]["cached_tokens"],
            )
        cached.append(usage["prompt_tokens_details"]["cached_tokens"])
        content = said["choices"][0]["message"]["content"]
        messages += [
            {"role": "assistant", "content": content},
            {"role": "user", "content": "Go on"},
        ]
    return cached


async def test_later_turns_of_a_conversation_find_its_prompt_in_the_cache(
    model: Path, tmp_path: Path
) -> None:
    async with two_servers(model, tmp_path) as hub:
        first, second, third = await talk(hub, "What is the capital of France?", with_key=True)
        assert first == 0
        assert third > second > 100


async def test_without_a_key_the_second_turn_meets_a_server_without_the_prompt(
    model: Path, tmp_path: Path
) -> None:
    async with two_servers(model, tmp_path) as hub:
        assert (await talk(hub, "Name three rivers.", with_key=False, turns=2)) == [0, 0]
