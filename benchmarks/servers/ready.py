"""The protocol between a measured server and the benchmark: JSON lines on standard output."""

import asyncio
import json
import signal

from benchmarks.machine import raise_open_files


def say(**values: object) -> None:
    """Prints a JSON line for the benchmark."""
    print(json.dumps(values), flush=True)


def prepare() -> None:
    """Raises the limit of open files for 10,000 sockets; every server calls this first."""
    raise_open_files()


async def until_stopped() -> None:
    """Returns when the benchmark stops the server."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
