"""The floor of the probes: aiohttp requests the same routes as often and ignores the responses.

Arguments: a file of addresses, one per line, and the interval in seconds. On SIGUSR1
it prints the number of completed rounds.
"""

import asyncio
import random
import signal
import sys
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.servers import ready


class Rounds:
    """Requests each address once per interval, as the hub probes an Ollama server."""

    def __init__(self, session: aiohttp.ClientSession, interval_s: float) -> None:
        self.made = 0
        self._session = session
        self._interval_s = interval_s

    async def ask(self, address: str) -> None:
        """Requests one address until it is cancelled."""
        await asyncio.sleep(random.random() * self._interval_s)
        wants_all = True
        while True:
            for path in ("/api/ps", "/api/tags") if wants_all else ("/api/ps",):
                async with self._session.get(f"http://{address}{path}") as response:
                    await response.read()
            wants_all = not wants_all
            self.made += 1
            await asyncio.sleep(self._interval_s)


async def _main(addresses: list[str], interval_s: float) -> None:
    ready.prepare()
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=interval_s * 1.5)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        rounds = Rounds(session, interval_s)
        tasks = [asyncio.create_task(rounds.ask(address)) for address in addresses]
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: ready.say(probes=rounds.made))
        ready.say()
        await ready.until_stopped()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


uvloop.run(_main(Path(sys.argv[1]).read_text().split(), float(sys.argv[2])))
