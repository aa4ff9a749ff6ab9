"""The reference sidecar in a separate process, as `llm-hub sidecar` starts it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.hub import ROOT

_STOP_S = 15.0


class SidecarProcess:
    """A running sidecar; `log` is its log so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log += line.decode()
            self._news.set()

    async def says(self, text: str, times: int = 1, timeout_s: float = 30.0) -> None:
        """Waits until the log contains `text` at least `times` times."""
        async with asyncio.timeout(timeout_s):
            while self.log.count(text) < times:
                self._news.clear()
                await self._news.wait()

    async def exited(self) -> int:
        async with asyncio.timeout(_STOP_S):
            code = await self.process.wait()
            await self._reader
        return code

    async def stop(self) -> int:
        """Stops it as systemd does; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.exited()


@asynccontextmanager
async def sidecar_process(
    ws_address: str, agent_id: str, token: str, *arguments: str
) -> AsyncIterator[SidecarProcess]:
    """Runs a sidecar in a process, and kills it at the end if it is still running."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LLM_HUB_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "hub.cli", "sidecar", "--hub", f"ws://{ws_address}", "--agent", agent_id),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=kept | {"PYTHONPATH": str(ROOT), "LLM_HUB_TOKEN": token},
    )
    sidecar = SidecarProcess(process)
    try:
        yield sidecar
    finally:
        if process.returncode is None:
            process.kill()
        await sidecar.exited()
