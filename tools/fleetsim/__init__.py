"""Many fake inference servers in one process, with and without faults.

The tests, the demo and the benchmarks use it: `python -m tools.fleetsim --help`.
"""

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
from tools.fleetsim.server import Behaviour, FakeServer, Fleet, Persona, Reply, Request

__all__ = [
    "Behaviour",
    "FakeDockerModelRunner",
    "FakeLemonade",
    "FakeLiteLlm",
    "FakeLlamaRouter",
    "FakeLlamaSwap",
    "FakeLmDeploy",
    "FakeLmStudio",
    "FakeOllama",
    "FakeOpenAi",
    "FakeServer",
    "FakeSglang",
    "FakeTextEmbeddings",
    "FakeVllm",
    "Fleet",
    "Persona",
    "Reply",
    "Request",
]
