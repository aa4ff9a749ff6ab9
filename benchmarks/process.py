"""A measured server in a separate process, and its CPU and memory as the kernel reports them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0


class ServerProcess:
    """A running server; `ready` is the line that it printed when it was ready."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Mapping[str, Any]) -> None:
        self._process = process
        self.ready = ready

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """CPU seconds (utime + stime, all threads) that the server has used; see proc(5).

        The kernel counts in ticks, usually of 10 ms.
        """
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        # The second field, the name, may contain spaces and parentheses.
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    @property
    def resident_bytes(self) -> int:
        """The server's resident set size, in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(f"process {self.pid} has no VmRSS")

    def kill(self, number: signal.Signals) -> None:
        """Sends a signal to the server."""
        self._process.send_signal(number)

    async def ask(self) -> dict[str, Any]:
        """The server's counters, which it prints on SIGUSR1."""
        self._process.send_signal(signal.SIGUSR1)
        return await self._read_line(_START_TIMEOUT_S)

    async def _read_line(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with exit code {await self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.asynccontextmanager
async def serving(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[ServerProcess]:
    """Runs `python -m benchmarks.servers.<module>` and stops it afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"benchmarks.servers.{module}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            **(environment or {}),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )
    server = ServerProcess(process, {})
    try:
        server.ready = await server._read_line(_START_TIMEOUT_S)
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
