"""How a measured server talks to the benchmark: JSON lines on its standard output."""

import asyncio
import json
import signal

from benchmarks.machine import raise_open_files


def say(**values: object) -> None:
    """Tells the benchmark something."""
    print(json.dumps(values), flush=True)


def prepare() -> None:
    """What every server does before it opens: makes room for 10,000 sockets."""
    raise_open_files()


async def until_stopped() -> None:
    """Returns when the benchmark ends the server."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
