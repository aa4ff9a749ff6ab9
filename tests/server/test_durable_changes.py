import asyncio
from pathlib import Path

import pytest

from hub.base.clock import ManualClock
from hub.contract.errors import EndpointOwned
from hub.server.durable_changes import DurableChanges
from hub.server.fleet import Fleet
from hub.server.observability import Observability
from hub.server.storage import Storage
from hub.service.changes.registrar import Registration
from llmhub.v1.endpoint_pb2 import SOURCE_AUTO
from tests.support.hub import settings_for


def reported_by(agent_id: str) -> Registration:
    return Registration(host="127.0.0.1", port=1, source=SOURCE_AUTO, agent_id=agent_id)


async def test_owners_are_presumed_present_after_a_start(
    tmp_path: Path,
) -> None:
    """A hub that has just started has not heard from the owners of its endpoints yet."""
    clock = ManualClock()
    settings = settings_for(tmp_path).model_copy(update={"resources_ttl_s": 90.0})
    storage = Storage(settings, Observability(settings), lambda: None)
    fleet = Fleet(settings, clock, first_revision=1_000)
    storage.load(await storage.open(), fleet, lambda _token_id: None)
    registrar = DurableChanges(settings, clock, storage, fleet).registrar
    try:
        now = clock.now_ms()
        await registrar.register("127.0.0.1:1", reported_by("node-1"), now)
        with pytest.raises(EndpointOwned):
            await registrar.register("127.0.0.1:1", reported_by("node-2"), now + 89_999)
        later = now + 180_001
        taken = await registrar.register("127.0.0.1:1", reported_by("node-2"), later)
        assert taken.agent_id == "node-2"
    finally:
        await fleet.stop()
        async with asyncio.timeout(10):
            await storage.store.close()
