"""An etcd of one member, as a measured server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from benchmarks.process import ServerProcess

_START_S = 30


@asynccontextmanager
async def running_etcd(directory: Path) -> AsyncIterator[tuple[ServerProcess, int]]:
    """The process, and the port of its gRPC server."""
    client, peer = _free_port(), _free_port()
    client_url, peer_url = (f"http://127.0.0.1:{port}" for port in (client, peer))
    process = await asyncio.create_subprocess_exec(
        *("etcd", "--data-dir", str(directory / "etcd"), "--log-level", "error"),
        *("--listen-client-urls", client_url, "--advertise-client-urls", client_url),
        *("--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url),
        *("--initial-cluster", f"default={peer_url}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{client}") as channel:
            async with asyncio.timeout(_START_S):
                await channel.channel_ready()
        yield ServerProcess(process, {}), client
    finally:
        process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
