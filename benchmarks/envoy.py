"""Real Envoys that differ only in who picks the endpoint: the hub, a bare picker, or Envoy itself.

All three have the configuration that `llm-hub envoy config` prints. Where the hub is not the
picker, the cluster's endpoints are in the configuration, instead of coming from the hub.
"""

import asyncio
import contextlib
import copy
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.process import ServerProcess
from hub.cli.output.envoy_bootstrap import Bootstrap

_START_S = 30.0
_ROUND_ROBIN = (
    "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"
)

# Any: a configuration, as YAML has it.
Configuration = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunningEnvoy:
    """One Envoy, and the port at which it accepts requests."""

    process: ServerProcess
    port: int


def program() -> str | None:
    """The path of Envoy, or None if it is not on PATH."""
    return shutil.which("envoy")


def with_hub(hub_port: int, token: str) -> Configuration:
    """The hub gives the endpoints and picks among them."""
    bootstrap = Bootstrap(hub=f"127.0.0.1:{hub_port}", token=token, listen="127.0.0.1:0")
    loaded: Configuration = yaml.safe_load(bootstrap.text())
    for listener in loaded["static_resources"]["listeners"]:
        # The log of a measurement is not read; all three are without it.
        del _manager(listener)["access_log"]
    return loaded


def with_picker(port: int, addresses: Sequence[str]) -> Configuration:
    """A picker at the port picks among the addresses."""
    made = copy.deepcopy(with_hub(port, "none"))
    del made["dynamic_resources"]
    fleet = _cluster(made, "llm-hub-endpoints")
    del fleet["eds_cluster_config"]
    fleet["type"] = "STATIC"
    fleet["load_assignment"] = {
        "cluster_name": fleet["name"],
        "endpoints": [{"lb_endpoints": [_endpoint(each) for each in addresses]}],
    }
    return made


def alone(addresses: Sequence[str]) -> Configuration:
    """Envoy takes the addresses in turn."""
    made = with_picker(1, addresses)
    for listener in made["static_resources"]["listeners"]:
        del _manager(listener)["http_filters"][0]
    policy = {"name": "turns", "typed_config": {"@type": _ROUND_ROBIN}}
    _cluster(made, "llm-hub-endpoints")["load_balancing_policy"] = {
        "policies": [{"typed_extension_config": policy}]
    }
    clusters = made["static_resources"]["clusters"]
    clusters.remove(_cluster(made, "hub"))
    return made


@contextlib.asynccontextmanager
async def running_envoy(configuration: Configuration) -> AsyncIterator[RunningEnvoy]:
    """Runs Envoy with one worker thread until the block ends. Raises RuntimeError."""
    found = program()
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as name:
        file, ports = Path(name) / "envoy.yaml", Path(name) / "admin"
        admin = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
        file.write_text(yaml.safe_dump({**configuration, "admin": {"address": admin}}))
        process = await asyncio.create_subprocess_exec(
            *(found, "--config-path", str(file), "--use-dynamic-base-id", "--concurrency", "1"),
            *("--log-level", "error", "--admin-address-path", str(ports)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_START_S), aiohttp.ClientSession() as session:
                while (port := await _listening(ports, session)) is None:
                    if process.returncode is not None:
                        raise RuntimeError(f"Envoy ended with {process.returncode}")
                    await asyncio.sleep(0.1)
            yield RunningEnvoy(ServerProcess(process, {}), port)
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(_START_S):
                await process.wait()


async def _listening(ports: Path, session: aiohttp.ClientSession) -> int | None:
    """The port of the listener, once Envoy is ready for requests."""
    admin = await asyncio.to_thread(_first_line, ports)
    if not admin:
        return None
    async with session.get(f"http://{admin}/ready") as response:
        if response.status != 200:
            return None
    async with session.get(f"http://{admin}/listeners?format=json") as response:
        (status,) = (await response.json(content_type=None))["listener_statuses"]
        return int(status["local_address"]["socket_address"]["port_value"])


def _first_line(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


# Any: a part of a configuration.
def _manager(listener: Configuration) -> Any:
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def _cluster(configuration: Configuration, name: str) -> Any:
    clusters = configuration["static_resources"]["clusters"]
    return next(each for each in clusters if each["name"] == name)


def _endpoint(address: str) -> Configuration:
    host, _, port = address.rpartition(":")
    socket = {"address": host, "port_value": int(port)}
    return {"endpoint": {"address": {"socket_address": socket}, "hostname": host}}
