"""How soon the second turn of a conversation begins, with and without an affinity key.

Two real llama.cpp servers with a small random model; each conversation has a prompt of its
own, which the server of the first turn keeps in its cache.
"""

import asyncio
import json
import tempfile
import time
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from benchmarks import hubs
from benchmarks.rows import Row, ratio
from hub.client import AsyncHub
from llmhub.v1.registry_service_pb2 import STRATEGY_ROUND_ROBIN
from tools.llama_server import running_llama, write_model

_MODEL = "chatty"
_SERVERS = 2
_PROMPT_CHARACTERS = 2500


async def run(*, quick: bool) -> list[Row]:
    """Measures the time to the first token of second turns."""
    conversations = 3 if quick else 10
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = await asyncio.to_thread(
            write_model,
            directory / "chatty.gguf",
            name=_MODEL,
            context=8192,
            layers=2,
            width=128,
            reads_text=True,
        )
        running = await stack.enter_async_context(hubs.running_hub())
        hub = await stack.enter_async_context(
            AsyncHub(f"127.0.0.1:{running.grpc_port}", running.fleet.admin_token)
        )
        for _ in range(_SERVERS):
            server = await stack.enter_async_context(
                running_llama(model, alias=_MODEL, context=8192, slots=1)
            )
            await hub.register(server.id)
            await hub.check(server.id)
        with_key, without = [], []
        for number in range(conversations):
            with_key.append(await _second_turn(hub, f"with {number}", with_key=True))
            without.append(await _second_turn(hub, f"without {number}", with_key=False))
    return [
        Row(
            work="first token of a second turn, affinity key; floor: in turns",
            unit="ms",
            subject=median(with_key),
            floor=median(without),
            budget=ratio(0.5),
        )
    ]


async def _second_turn(hub: AsyncHub, name: str, *, with_key: bool) -> float:
    """Milliseconds to the first token of the second turn of a new conversation."""
    prompt = (f"Conversation {name}. " + "It was a dark and stormy night. " * 200)[
        :_PROMPT_CHARACTERS
    ]
    took_ms = 0.0
    for turn in range(2):
        criteria = {"affinity_key": name} if with_key else {"strategy": STRATEGY_ROUND_ROBIN}
        async with hub.session(_MODEL, **criteria) as session:
            text = prompt + " And then? " * turn
            took_ms = await asyncio.to_thread(_first_token_ms, session.base_url, text)
            session.first_token()
    return took_ms


def _first_token_ms(url: str, prompt: str) -> float:
    body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "cache_prompt": True}
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()
    return (time.perf_counter() - began) * 1000
