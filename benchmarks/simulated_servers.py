"""Fake inference servers in a separate process."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence


@contextlib.asynccontextmanager
async def simulated_servers(count: int, behaviours: Sequence[str]) -> AsyncIterator[list[str]]:
    """Runs `count` servers, which take the behaviours in turn; yields their addresses."""
    arguments = [f"--behaviour={behaviour}" for behaviour in behaviours]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.fleetsim", "--spread", f"--count={count}", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        addresses = []
        async with asyncio.timeout(60):
            while (line := (await process.stdout.readline()).decode().split()) != ["ready"]:
                addresses.append(line[0])
        yield addresses
    finally:
        process.terminate()
        await process.wait()
