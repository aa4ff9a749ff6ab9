"""Starts a hub with a fleet, and opens channels to it."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.fleet import Fleet, store_fleet
from benchmarks.process import ServerProcess, serving

# A day: no probes run during a measurement, unless it measures them.
_NO_PROBES_S = "86400"


@dataclass(frozen=True, slots=True)
class RunningHub:
    """A hub in a separate process, and the fleet that it started with."""

    process: ServerProcess
    fleet: Fleet

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of an admin's gRPC calls."""
        return (("authorization", f"Bearer {self.fleet.admin_token}"),)

    @property
    def ws_port(self) -> int:
        """The port of the WebSocket server."""
        return int(self.process.ready["ws"])

    @property
    def http_port(self) -> int:
        """The port of the HTTP server."""
        return int(self.process.ready["http"])

    @property
    def grpc_port(self) -> int:
        """The port of the gRPC server."""
        return int(self.process.ready["grpc"])


@contextlib.asynccontextmanager
async def running_hub(
    *,
    agents: int = 0,
    endpoints: int = 0,
    models: int = 0,
    addresses: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    probed: bool = True,
) -> AsyncIterator[RunningHub]:
    """Runs a hub on loopback without rate limits; `settings` are environment variables.

    If not `probed`, the endpoints stay as they are in the store.
    """
    with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as directory:
        data_dir = Path(directory)
        fleet = await store_fleet(data_dir, agents=agents, endpoints=endpoints, addresses=addresses)
        environment = {
            "LLM_HUB_DATA_DIR": directory,
            "LLM_HUB_WS__ADDRESS": "127.0.0.1:0",
            "LLM_HUB_GRPC__ADDRESS": "127.0.0.1:0",
            "LLM_HUB_HTTP__ADDRESS": "127.0.0.1:0",
            "LLM_HUB_RATE_LIMITS__ENABLED": "false",
            "LLM_HUB_PROBES__INTERVAL_S": _NO_PROBES_S,
            "LLM_HUB_LOG__LEVEL": "error",
            **(settings or {}),
        }
        arguments = (str(models), *(() if probed else ("unprobed",)))
        async with serving("hub", *arguments, environment=environment) as process:
            yield RunningHub(process, fleet)


@contextlib.asynccontextmanager
async def channel(port: int, ca: bytes | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """Opens a gRPC channel to a server on loopback, with its own connection.

    With TLS where `ca` is the certificate of the server.
    """
    options = (
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    )
    address = f"127.0.0.1:{port}"
    if ca is None:
        opened = grpc.aio.insecure_channel(address, options=options)
    else:
        credentials = grpc.ssl_channel_credentials(ca)
        opened = grpc.aio.secure_channel(address, credentials, options=options)
    async with opened:
        yield opened
