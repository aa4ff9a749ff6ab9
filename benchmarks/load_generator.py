"""A load generator in Go that costs less than the servers that it measures.

A client of grpcio takes more CPU than the server, and sends each call by itself: its figures
are those of a server that is woken up, reads and writes for every single call. The program
in `loadgen/` sends prepared HTTP/2 frames, so that the server is the slowest part. It
uses Go's standard library only; `go build` keeps what it has built.
"""

import asyncio
import base64
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

_SOURCE: Final = Path(__file__).parent / "loadgen"
_BINARY: Final = Path(__file__).parent.parent / ".cache" / "benchmarks" / "loadgen"
_TIMEOUT_S: Final = 120.0


def is_available() -> bool:
    """Whether there is a Go toolchain to build it with."""
    return shutil.which("go") is not None


async def build() -> None:
    """Builds the program, unless it is up to date. Raises RuntimeError."""
    _BINARY.parent.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *("go", "build", "-o", str(_BINARY), "."), cwd=_SOURCE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"go build: {errors.decode()}")


class LoadGenerator:
    """A running generator that is connected to one server."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begin(self) -> None:
        """Begins a measurement."""
        await self.send("")

    async def send(self, line: str) -> None:
        """Sends a line: the configuration, or an empty one that begins a measurement."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def result(self) -> dict[str, Any]:
        """The next line that it prints. Raises RuntimeError if a call failed."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_TIMEOUT_S):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator has failed")
        measured: dict[str, Any] = json.loads(line)
        return measured


@contextlib.asynccontextmanager
async def generating(
    port: int,
    path: str,
    requests: Sequence[bytes],
    *,
    authorization: str = "",
    ca: str = "",
    mode: str = "calls",
    connections: int = 1,
    callers: int = 1,
    count: int = 0,
    timeout_s: int = 60,
) -> AsyncIterator[LoadGenerator]:
    """Connects a generator to a server on loopback; see `loadgen/main.go` for the settings."""
    config = {
        "Mode": mode,
        "Address": f"127.0.0.1:{port}",
        "CA": ca,
        "Path": path,
        "Authorization": authorization,
        "TimeoutS": timeout_s,
        "Requests": [base64.b64encode(request).decode() for request in requests],
        "Connections": connections,
        "Callers": callers,
        "Count": count,
    }
    process = await asyncio.create_subprocess_exec(
        str(_BINARY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    generator = LoadGenerator(process)
    try:
        await generator.send(json.dumps(config))
        await generator.result()
        yield generator
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
