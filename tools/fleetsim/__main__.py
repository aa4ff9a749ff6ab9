"""Runs fake inference servers until interrupted, and prints one address per line."""

import argparse
import asyncio
import itertools
import sys
from collections.abc import Callable

from tools.fleetsim.llama_router import FakeLlamaRouter
from tools.fleetsim.ollama import FakeOllama
from tools.fleetsim.openai import FakeLmStudio, FakeOpenAi, FakeSglang, FakeVllm
from tools.fleetsim.proxies import FakeLiteLlm, FakeLlamaSwap
from tools.fleetsim.runners import (
    FakeDockerModelRunner,
    FakeLemonade,
    FakeLmDeploy,
    FakeTextEmbeddings,
)
from tools.fleetsim.server import Behaviour, FakeServer, Fleet, Persona

_FAMILIES = ("llama3.1:8b", "qwen3:14b", "gemma3:12b", "nomic-embed-text:latest", "phi4:14b")


def _ollama() -> Persona:
    fake = FakeOllama(*_FAMILIES)
    fake.load(_FAMILIES[0])
    return fake


_PERSONAS: dict[str, Callable[[], Persona]] = {
    "ollama": _ollama,
    "vllm": FakeVllm,
    "sglang": FakeSglang,
    "lm-studio": FakeLmStudio,
    "llama-router": FakeLlamaRouter,
    "openai": FakeOpenAi,
    "llama-swap": FakeLlamaSwap,
    "litellm": FakeLiteLlm,
    "lemonade": FakeLemonade,
    "lmdeploy": FakeLmDeploy,
    "docker-model-runner": FakeDockerModelRunner,
    "tei": FakeTextEmbeddings,
}


async def _serve(arguments: argparse.Namespace) -> None:
    behaviours = [
        behaviour
        for behaviour, _ in zip(
            itertools.cycle(map(Behaviour, arguments.behaviour)),
            range(arguments.count),
            strict=False,
        )
    ]
    make = _PERSONAS[arguments.backend]
    async with Fleet() as fleet:
        servers: list[FakeServer] = []
        if arguments.spread:
            servers = await fleet.add_spread((make() for _ in behaviours), behaviours)
        else:
            for behaviour in behaviours:
                server = await fleet.add(
                    make(), behaviour, port=arguments.port, delay_s=arguments.delay
                )
                servers.append(server)
        for server in servers:
            server.delay_s = arguments.delay
        sys.stdout.writelines(f"{server.id} {server.behaviour.value}\n" for server in servers)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(prog="python -m tools.fleetsim", description=__doc__)
    parser.add_argument("--count", type=int, default=1, help="number of servers (default: 1)")
    parser.add_argument(
        "--behaviour",
        action="append",
        choices=[behaviour.value for behaviour in Behaviour],
        help="repeatable; the servers take the behaviours in turn (default: ok)",
    )
    parser.add_argument("--port", type=int, default=0, help="of a single server (default: any)")
    parser.add_argument("--backend", choices=sorted(_PERSONAS), default="ollama")
    parser.add_argument("--delay", type=float, default=1.0, help="seconds before a slow answer")
    parser.add_argument(
        "--spread",
        action="store_true",
        help="addresses 127.x.y.z behind one listening socket, for thousands of servers",
    )
    arguments = parser.parse_args()
    arguments.behaviour = arguments.behaviour or [Behaviour.OK.value]
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    try:
        run(_serve(arguments))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
