"""A probe engine whose reports a test can inspect and await without sleeping."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from hub.base.clock import SystemClock
from hub.base.settings import ProbeSettings
from hub.probes.asker import ProbeTarget
from hub.probes.engine import ProbeEngine
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, Backend
from tools.fleetsim import FakeServer

DEADLINE_S = 30.0


def target_of(
    server: FakeServer, backend: Backend = BACKEND_UNSPECIFIED, api_key: str | None = None
) -> ProbeTarget:
    return ProbeTarget(
        server.id, "http", server.host, server.port, backend=backend, api_key=api_key
    )


class Notebook:
    """The reports of an engine, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Observation]] = []
        self._news = asyncio.Event()

    def report(self, id_: str, observation: Observation) -> None:
        self.entries.append((id_, observation))
        self._news.set()

    def of(self, id_: str) -> list[Observation]:
        return [observation for seen, observation in self.entries if seen == id_]

    async def until(self, condition: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def next_of(self, id_: str, timeout_s: float = DEADLINE_S) -> Observation:
        """Waits for the next report of an endpoint."""
        before = len(self.of(id_))
        await self.until(lambda: len(self.of(id_)) > before, timeout_s)
        return self.of(id_)[before]


@asynccontextmanager
async def running_engine(
    settings: ProbeSettings | None = None,
) -> AsyncIterator[tuple[ProbeEngine, Notebook]]:
    notebook = Notebook()
    engine = ProbeEngine(settings or ProbeSettings(), notebook.report, SystemClock(), Random(4))
    await engine.start()
    try:
        yield engine, notebook
    finally:
        await engine.stop()


async def observe(server: FakeServer) -> Observation:
    """Checks a server once, with a separate engine."""
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        return await engine.check(server.id, 10)
