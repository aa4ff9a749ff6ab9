"""A hub with a changing fleet: real llama.cpp servers, and simulated hosts with sidecars.

Where Envoy is installed, it stands before the real servers: one URL, and every request
reaches a server that has its model, though one of the servers is killed now and then.
Everything runs on this machine, on free ports and in a temporary directory. Ctrl-C stops it.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from hub.base.data_dir import ADMIN_TOKEN_FILE
from hub.sidecar.local_server import OLLAMA, LocalServer
from llmhub.v1.admin_service_pb2 import CreateTokenRequest, RegisterEndpointRequest
from llmhub.v1.admin_service_pb2_grpc import AdminServiceStub
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tools.demo_gateway import MODEL, Client, RealServer, kill_one_now_and_then, running_envoy
from tools.fleetsim import (
    Behaviour,
    FakeLmStudio,
    FakeOllama,
    FakeServer,
    FakeSglang,
    FakeVllm,
    Fleet,
    Persona,
)
from tools.fleetsim.ollama import OllamaModel
from tools.llama_server import LlamaServer, write_model
from tools.simulated_hosts import GIB, SimulatedHost, SimulatedSidecar

REPORT_S = 3.0
PROBE_S = 3.0
_START_S = 60.0

_MODELS = (
    OllamaModel("llama3.1:8b", 4_920_753_328),
    OllamaModel("qwen3:14b", 9_276_198_565, "qwen3", "14.8B"),
    OllamaModel("gemma3:12b", 8_149_190_253, "gemma3", "12.2B"),
    OllamaModel("phi4:14b", 9_053_116_391, "phi3", "14.7B"),
    OllamaModel("mistral-small3.2:24b", 15_177_384_862, "mistral3", "24.0B"),
    OllamaModel(
        "nomic-embed-text:latest", 274_302_450, "nomic-bert", "137M", "F16", ["embedding"], 2048
    ),
)
_TROUBLES = {
    Behaviour.HANGING: "hangs",
    Behaviour.HALF_OPEN: "resets its connections",
    Behaviour.HTML: "answers with a web page",
    Behaviour.SLOW: "is slow",
}


@dataclass(slots=True)
class Host:
    """A simulated host: its server, and its sidecar once it has started."""

    name: str
    server: FakeServer
    sidecar: SimulatedSidecar | None = None


@dataclass(frozen=True, slots=True)
class HubAddresses:
    """The addresses and the admin token of a running hub."""

    ws: str
    grpc: str
    http: str
    token: str


def main() -> None:
    """Parses the command line and runs until interrupted."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--hosts", type=int, default=14, help="simulated hosts (default: 14)")
    parser.add_argument("--seconds", type=float, help="stop after this many seconds")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--seed", type=int, help="seed of the random changes, to repeat a run")
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.CRITICAL)
    asyncio.run(_until_interrupted(arguments))


async def _until_interrupted(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(demo(arguments))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait(
        {running, stopping}, timeout=arguments.seconds, return_when=asyncio.FIRST_COMPLETED
    )
    say("stopping")
    for task in (running, stopping):
        task.cancel()
    await asyncio.wait({running, stopping})
    if not running.cancelled():
        running.result()


async def demo(arguments: argparse.Namespace) -> None:
    """Starts everything, prints its addresses, and changes the fleet until it is cancelled."""
    chance = random.Random(arguments.seed)  # noqa: S311
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llm-hub-demo-")))
        hub = await stack.enter_async_context(running_hub(directory))
        fleet = await stack.enter_async_context(Fleet())
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(hub.grpc))
        admin = Admin(AdminServiceStub(channel), hub.token)
        hosts = await _hosts(fleet, arguments.hosts, chance)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for host in hosts:
            await _join(admin, host, hub, tasks, chance)
        llamas = await _llama_servers(stack, admin, hub, directory)
        chats = await _envoy(stack, hub) if llamas else None
        announce(hub, len(hosts), len(llamas), chats, open_browser=not arguments.no_browser)
        if chats is not None:
            client = Client(chats)
            tasks.create_task(client.run())
            tasks.create_task(kill_one_now_and_then(llamas, client, say, chance))
        await _move(hosts, chance)


def announce(
    hub: HubAddresses, hosts: int, llamas: int, chats: str | None, *, open_browser: bool
) -> None:
    """Prints what runs and where, and opens a browser if there is a display."""
    url = f"http://{hub.http}/"
    say(f"{hosts} simulated hosts with their sidecars, {llamas} real llama.cpp servers")
    print(f"\n  Dashboard  {url}\n  Token      {hub.token}\n", flush=True)
    if chats is not None:
        body = f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "hello"}}]}}'
        print("  One URL for the real servers; one of them is killed now and then:\n")
        print(f"  curl {chats} -H 'Content-Type: application/json' -d '{body}'\n", flush=True)
    print(f"  LLM_HUB_ADDRESS={hub.grpc} LLM_HUB_TOKEN={hub.token} {_command()} top\n", flush=True)
    print("Press Ctrl-C to stop. Events:", flush=True)
    has_display = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if open_browser and has_display:
        webbrowser.open(url)


def say(what: str) -> None:
    """Prints one line with the time."""
    print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)


@asynccontextmanager
async def running_hub(directory: Path) -> AsyncIterator[HubAddresses]:
    """Runs a hub in a separate process. Raises RuntimeError if it does not start."""
    settings = directory / "hub.toml"
    settings.write_text(
        f"[probes]\ninterval_s = {PROBE_S}\n[log]\nlevel = 'error'\n"
        # Everything is on this machine, and the URL is to paste.
        "[gateway]\nenabled = true\nrequire_keys = false\n"
    )
    data = directory / "data"
    listeners = ("--ws", "--grpc", "--http")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub.cli", "serve", "--data-dir", str(data)),
        *("--config", str(settings)),
        *(part for flag in listeners for part in (flag, "127.0.0.1:0")),
        stdout=asyncio.subprocess.PIPE,
        # Only the demo receives Ctrl-C; it then stops the hub.
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            while line := (await process.stdout.readline()).decode():
                if line.startswith("ready "):
                    break
            else:
                raise RuntimeError(f"the hub ended with {await process.wait()}")
        places = dict(part.split("=", 1) for part in line.split()[1:])
        token = (data / ADMIN_TOKEN_FILE).read_text().strip()
        yield HubAddresses(places["ws"], places["grpc"], places["http"], token)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


class Admin:
    """The calls that the demo makes as an admin."""

    def __init__(self, stub: AdminServiceStub, token: str) -> None:
        # protoc does not annotate the stub's methods.
        self._stub: Any = stub
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def sidecar_token(self, agent_id: str) -> str:
        """Creates a token for that agent."""
        request = CreateTokenRequest(role=ROLE_SIDECAR, agent_id=agent_id)
        answer = await self._stub.CreateToken(request, metadata=self._metadata, timeout=10)
        return str(answer.token)

    async def register(
        self, host: str, port: int, name: str, agent_id: str, labels: dict[str, str]
    ) -> None:
        """Registers an endpoint, or sets the name and labels of one that a sidecar registered."""
        request = RegisterEndpointRequest(
            host=host, port=port, name=name, agent_id=agent_id, labels=labels
        )
        await self._stub.RegisterEndpoint(request, metadata=self._metadata, timeout=10)


async def _hosts(fleet: Fleet, count: int, chance: random.Random) -> list[Host]:
    personas = [_persona(number, chance) for number in range(count)]
    servers = await fleet.add_spread(personas, [Behaviour.OK] * count)
    for server in servers:
        server.delay_s = 1.5
    return [Host(f"gpu-{number + 1:02}", server) for number, server in enumerate(servers)]


def _persona(number: int, chance: random.Random) -> Persona:
    match number % 7:
        case 2:
            return FakeVllm(running=chance.randint(0, 6), waiting=0)
        case 4:
            return FakeSglang(running=chance.randint(0, 4), waiting=0)
        case 6:
            return FakeLmStudio()
    ollama = FakeOllama()
    for model in chance.sample(_MODELS, chance.randint(2, 5)):
        ollama.pull(model)
    _load(ollama, chance)
    return ollama


async def _join(
    admin: Admin,
    host: Host,
    hub: HubAddresses,
    tasks: asyncio.TaskGroup,
    chance: random.Random,
) -> None:
    """Registers a host's server and starts its sidecar."""
    server = host.server
    labels = {
        "zone": chance.choice(("a", "b")),
        "tier": chance.choice(("batch", "interactive")),
    }
    await admin.register(server.host, server.port, host.name, host.name, labels)
    is_ollama = isinstance(server.persona, FakeOllama)
    servers = (LocalServer(f"http://{server.id}", OLLAMA),) if is_ollama else ()
    simulated = SimulatedHost(host.name, chance, lambda: _loaded_bytes(server.persona))
    token = await admin.sidecar_token(host.name)
    host.sidecar = SimulatedSidecar(simulated, token, servers, REPORT_S)
    tasks.create_task(host.sidecar.run(f"ws://{hub.ws}/ws"))


def _loaded_bytes(persona: Persona) -> int:
    if isinstance(persona, FakeOllama):
        return sum(model.size_vram for model in persona.loaded.values())
    return 16 * GIB


async def _llama_servers(
    stack: AsyncExitStack, admin: Admin, hub: HubAddresses, directory: Path
) -> Sequence[RealServer]:
    """Starts three real llama.cpp servers, two of them equal; none if the wheels are missing."""
    try:
        first, second = (
            write_model(directory / f"{name}.gguf", name=name, seed=seed, reads_text=True)
            for seed, name in enumerate((MODEL, "tiny-two"), 7)
        )
        servers = [
            RealServer(f"llama-cpp-{number}", model)
            for number, model in enumerate((first, first, second), 1)
        ]
        started = []
        for server in servers:
            stack.push_async_callback(server.kill)
            started.append(await server.start())
    except (ImportError, RuntimeError) as error:
        say(f"no real llama.cpp servers: {error}")
        return ()
    for server, address in zip(servers, started, strict=True):
        labels = {"kind": "real"}
        await admin.register(address.host, address.port, server.name, _HERE, labels)
    await _real_sidecar(stack, admin, hub, started)
    return servers


async def _envoy(stack: AsyncExitStack, hub: HubAddresses) -> str | None:
    """Starts Envoy; returns the URL for chats, or None if Envoy is not installed."""
    try:
        return await stack.enter_async_context(running_envoy(hub.grpc, hub.token))
    except (RuntimeError, TimeoutError) as error:
        say(f"no Envoy before the real servers: {error}")
        return None


_HERE = "this-machine"


async def _real_sidecar(
    stack: AsyncExitStack, admin: Admin, hub: HubAddresses, servers: Sequence[LlamaServer]
) -> None:
    """Starts the reference sidecar for this machine."""
    endpoints = [part for each in servers for part in ("--endpoint", each.id)]
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "hub.cli",
            "sidecar",
            "--hub",
            f"ws://{hub.ws}/ws",
            "--agent",
            _HERE,
        ),
        *("--interval", str(REPORT_S), "--no-discover", "--log-level", "error"),
        *endpoints,
        env={**os.environ, "LLM_HUB_TOKEN": await admin.sidecar_token(_HERE)},
        start_new_session=True,
    )

    async def end() -> None:
        if process.returncode is None:
            process.terminate()
        await process.wait()

    stack.push_async_callback(end)


async def _move(hosts: Sequence[Host], chance: random.Random) -> None:
    """Changes something every few seconds until it is cancelled."""
    async with asyncio.TaskGroup() as tasks:
        while True:
            await asyncio.sleep(chance.uniform(1.0, 4.0))
            host = chance.choice(hosts)
            roll = chance.random()
            if roll < 0.12:
                tasks.create_task(_trouble(host, chance))
            elif roll < 0.17 and host.sidecar is not None:
                say(f"{host.name}: its sidecar loses its connection")
                await host.sidecar.drop()
            elif isinstance(host.server.persona, FakeOllama):
                _change_models(host.name, host.server.persona, chance)
            else:
                _change_queue(host.server.persona, chance)


async def _trouble(host: Host, chance: random.Random) -> None:
    """Makes a server misbehave for a while."""
    server = host.server
    if server.behaviour is not Behaviour.OK:
        return
    server.behaviour = chance.choice(list(_TROUBLES))
    say(f"{host.name}: {_TROUBLES[server.behaviour]}")
    try:
        await asyncio.sleep(chance.uniform(12, 30))
    finally:
        server.behaviour = Behaviour.OK
    say(f"{host.name}: answers again")


def _change_models(name: str, ollama: FakeOllama, chance: random.Random) -> None:
    missing = [model for model in _MODELS if model.name not in ollama.on_disk]
    if missing and chance.random() < 0.2:
        pulled = chance.choice(missing)
        ollama.pull(pulled)
        say(f"{name}: pulls {pulled.name}")
    elif ollama.loaded and chance.random() < 0.5:
        gone = chance.choice(list(ollama.loaded))
        ollama.unload(gone)
        say(f"{name}: unloads {gone}")
    elif loaded := _load(ollama, chance):
        say(f"{name}: loads {loaded}")


def _load(ollama: FakeOllama, chance: random.Random) -> str | None:
    idle = [model for model in ollama.on_disk.values() if model.name not in ollama.loaded]
    if not idle:
        return None
    model = chance.choice(idle)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
    ollama.load(model.name, size_vram=model.size * 11 // 10, expires_at=until)
    return model.name


def _change_queue(persona: Persona, chance: random.Random) -> None:
    if isinstance(persona, FakeVllm | FakeSglang):
        persona.running = max(0, persona.running + chance.randint(-3, 3))
        persona.waiting = max(0, persona.running - 5)


def _command() -> str:
    command = Path(sys.executable).with_name("llm-hub")
    return str(command) if command.exists() else "llm-hub"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
