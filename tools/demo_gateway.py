"""The demo's real part: llama.cpp servers behind an Envoy that asks the hub, and a client."""

import asyncio
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from tools.llama_server import LlamaServer, running_llama

MODEL = "tiny-one"
"""The model that several of the servers have."""

_CONTEXT = 1024
_START_S = 30.0
_CHAT_S = 20.0
_EVERY_S = 1.0
# So long a killed server stays away, and so long the demo waits before it kills the next.
_AWAY_S = (8.0, 15.0)
_CALM_S = (10.0, 25.0)

Say = Callable[[str], None]


class RealServer:
    """A llama.cpp server that can be killed and started again at the same address."""

    def __init__(self, name: str, model: Path) -> None:
        self.name = name
        self.model = model.stem
        self._file = model
        self._port = 0
        self._running = AsyncExitStack()

    async def start(self) -> LlamaServer:
        """Starts the server. Raises ImportError, RuntimeError, TimeoutError."""
        server = await self._running.enter_async_context(
            running_llama(self._file, alias=self.model, context=_CONTEXT, port=self._port)
        )
        self._port = server.port
        return server

    async def kill(self) -> None:
        """Kills the server, as a crash would. Idempotent."""
        await self._running.aclose()


async def kill_one_now_and_then(
    servers: Sequence[RealServer], client: "Client", say: Say, chance: random.Random
) -> None:
    """Kills one of the servers with MODEL, starts it again, and so on until it is cancelled."""
    equal = [server for server in servers if server.model == MODEL]
    while True:
        await asyncio.sleep(chance.uniform(*_CALM_S))
        victim = chance.choice(equal)
        await victim.kill()
        say(f"{victim.name}: is killed")
        await asyncio.sleep(chance.uniform(*_AWAY_S))
        say(f"{victim.name}: starts again; {client.summary}")
        await victim.start()


class Client:
    """Sends a chat through Envoy every second, and counts the answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._answered = self._failed = 0

    @property
    def summary(self) -> str:
        """How many chats were answered and how many failed, in words."""
        return f"chats through Envoy so far: {self._answered} answered, {self._failed} failed"

    async def run(self) -> None:
        """Chats until it is cancelled."""
        timeout = aiohttp.ClientTimeout(total=_CHAT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                if await self._chat(session):
                    self._answered += 1
                else:
                    self._failed += 1
                await asyncio.sleep(_EVERY_S)

    async def _chat(self, session: aiohttp.ClientSession) -> bool:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 16,
        }
        try:
            async with session.post(self._url, json=body) as response:
                await response.read()
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


@asynccontextmanager
async def running_envoy(hub: str, token: str) -> AsyncIterator[str]:
    """Runs `llm-hub envoy run` for the hub until the block ends; gives the URL for chats.

    Raises RuntimeError with the command's own message if it does not start.
    """
    address = f"127.0.0.1:{_free_port()}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub.cli", "envoy", "run", "--listen", address),
        *("--", "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "off"),
        env={**os.environ, "LLM_HUB_ADDRESS": hub, "LLM_HUB_TOKEN": token},
        stdin=asyncio.subprocess.DEVNULL,
        # Its access log.
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    url = f"http://{address}"
    reading = asyncio.create_task(process.communicate())
    try:
        async with asyncio.timeout(_START_S):
            while not await _answers(f"{url}/v1/models"):
                if process.returncode is not None:
                    _, said = await reading
                    raise RuntimeError(said.decode().strip().rpartition("\n")[2] or "it ended")
                await asyncio.sleep(0.2)
        yield f"{url}/v1/chat/completions"
    finally:
        if process.returncode is None:
            process.terminate()
        await reading


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
