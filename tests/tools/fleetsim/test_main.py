"""`python -m tools.fleetsim`, run like the demo and the benchmarks do."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

ROOT = Path(__file__).parents[3]
DEADLINE_S = 30.0


@asynccontextmanager
async def fleetsim(*arguments: str) -> AsyncIterator[list[tuple[str, str]]]:
    """Runs fleetsim; yields the address and the behaviour of each server."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.fleetsim", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        servers = []
        async with asyncio.timeout(DEADLINE_S):
            while line := (await process.stdout.readline()).decode().strip():
                if line == "ready":
                    break
                address, _, behaviour = line.partition(" ")
                servers.append((address, behaviour))
        yield servers
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def ask(address: str, path: str) -> tuple[int, object]:
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(f"http://{address}{path}") as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_the_default_is_one_ollama_server() -> None:
    async with fleetsim() as servers:
        ((address, behaviour),) = servers
        assert behaviour == "ok"
        status, body = await ask(address, "/api/ps")
    assert status == 200
    assert [model["name"] for model in body["models"]] == ["llama3.1:8b"]


async def test_servers_take_the_behaviours_in_turn() -> None:
    given = [f"--behaviour={each}" for each in ("ok", "refused", "redirect")]
    async with fleetsim("--count", "5", "--backend", "vllm", *given) as servers:
        behaviours = [behaviour for _, behaviour in servers]
        assert behaviours == ["ok", "refused", "redirect", "ok", "refused"]
        status, _ = await ask(servers[0][0], "/v1/models")
        assert status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(servers[1][0], "/v1/models")


async def test_thousands_of_servers_share_one_socket() -> None:
    async with fleetsim("--spread", "--count", "3000") as servers:
        hosts = {address.rpartition(":")[0] for address, _ in servers}
        ports = {address.rpartition(":")[2] for address, _ in servers}
        assert (len(hosts), len(ports)) == (3000, 1)
        for address, _ in (servers[0], servers[-1]):
            assert (await ask(address, "/api/version"))[0] == 200


async def test_a_server_listens_on_the_given_port() -> None:
    async with fleetsim() as servers:
        ((address, _),) = servers
    async with fleetsim("--port", address.rpartition(":")[2]) as servers:
        assert servers == [(address, "ok")]
        assert (await ask(address, "/api/version"))[0] == 200
