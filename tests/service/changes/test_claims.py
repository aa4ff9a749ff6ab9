from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import EndpointOwned
from hub.service.changes.claims import MAX_CLAIMS, MAX_CLAIMS_PER_AGENT
from hub.service.changes.owners import GRACE_MS
from hub.service.changes.registrar import Registration
from hub.service.presence import Close, Sidecar
from llmhub.v1.admin_service_pb2 import RemoveEndpointRequest
from llmhub.v1.endpoint_pb2 import SOURCE_AUTO
from tests.support.core import Core, running_core

ID = "10.0.0.9:8000"


class Unclosable:
    def close(self, close: Close) -> None:
        raise AssertionError(f"closed: {close}")


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def connect(core: Core, agent_id: str) -> Sidecar:
    sidecar = Sidecar(agent_id, "10.0.0.9", "ws", core.clock.now_ms(), Unclosable())
    core.presence.join(sidecar)
    return sidecar


async def claim(core: Core, agent_id: str, port: int = 8000) -> None:
    wanted = Registration(host="10.0.0.9", port=port, source=SOURCE_AUTO, agent_id=agent_id)
    await core.claims.register(f"10.0.0.9:{port}", wanted, core.clock.now_ms())


async def test_a_refused_claim_is_granted_when_the_owner_leaves(core: Core) -> None:
    owner = connect(core, "node-1")
    await claim(core, "node-1")
    connect(core, "node-2")
    with pytest.raises(EndpointOwned) as refused:
        await claim(core, "node-2")
    assert refused.value.metadata["owner"] == "node-1"
    core.presence.leave(owner)
    core.clock.advance(GRACE_MS - 1)
    await core.claims.settle(core.clock.now_ms())
    assert core.endpoint(ID).agent_id == "node-1"
    core.clock.advance(1)
    await core.claims.settle(core.clock.now_ms())
    assert core.endpoint(ID).agent_id == "node-2"
    assert len(core.claims) == 0


async def test_the_former_owner_can_claim_too(core: Core) -> None:
    owner = connect(core, "node-1")
    await claim(core, "node-1")
    second = connect(core, "node-2")
    with pytest.raises(EndpointOwned):
        await claim(core, "node-2")
    core.presence.leave(owner)
    core.clock.advance(GRACE_MS)
    await core.claims.settle(core.clock.now_ms())
    connect(core, "node-1")
    with pytest.raises(EndpointOwned) as refused:
        await claim(core, "node-1")
    assert refused.value.metadata["owner"] == "node-2"
    core.presence.leave(second)
    core.clock.advance(GRACE_MS)
    await core.claims.settle(core.clock.now_ms())
    assert core.endpoint(ID).agent_id == "node-1"


async def test_the_claim_of_an_agent_that_left_is_dropped(core: Core) -> None:
    owner = connect(core, "node-1")
    await claim(core, "node-1")
    second = connect(core, "node-2")
    with pytest.raises(EndpointOwned):
        await claim(core, "node-2")
    core.presence.leave(second)
    core.presence.leave(owner)
    core.clock.advance(GRACE_MS)
    await core.claims.settle(core.clock.now_ms())
    assert core.endpoint(ID).agent_id == "node-1"
    assert len(core.claims) == 0


async def test_an_endpoint_that_was_removed_goes_to_the_first_claimant(core: Core) -> None:
    connect(core, "node-1")
    await claim(core, "node-1")
    for agent_id in ("node-3", "node-2"):
        connect(core, agent_id)
        with pytest.raises(EndpointOwned):
            await claim(core, agent_id)
    await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID))
    await core.claims.settle(core.clock.now_ms())
    assert core.endpoint(ID).agent_id == "node-3"
    assert len(core.claims) == 1


async def test_claims_are_bounded_for_each_agent(core: Core) -> None:
    connect(core, "node-1")
    connect(core, "node-2")
    for n in range(MAX_CLAIMS_PER_AGENT + 3):
        await claim(core, "node-1", 8000 + n)
        for _ in range(2):
            with pytest.raises(EndpointOwned):
                await claim(core, "node-2", 8000 + n)
    assert len(core.claims) == MAX_CLAIMS_PER_AGENT


async def test_claims_are_bounded_in_all(core: Core) -> None:
    connect(core, "node-1")
    agents = MAX_CLAIMS // MAX_CLAIMS_PER_AGENT + 1
    for n in range(MAX_CLAIMS_PER_AGENT):
        await claim(core, "node-1", 8000 + n)
        for agent in range(agents):
            with pytest.raises(EndpointOwned):
                await claim(core, f"other-{agent}", 8000 + n)
    assert len(core.claims) == MAX_CLAIMS
