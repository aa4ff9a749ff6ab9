from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import InvalidToken, TokenAgentMismatch
from hub.service.access.access_control import AccessControl
from hub.service.access.browser_sessions import BrowserSessions
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_SIDECAR
from tests.support.core import Core, running_core


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def access_of(core: Core) -> AccessControl:
    return AccessControl(core.tokens, BrowserSessions(core.tokens), {})


async def test_a_sidecar_proves_that_it_is_its_agent(core: Core) -> None:
    access, now = access_of(core), core.clock.now_ms()
    token = await core.token(ROLE_SIDECAR, "node-1")
    assert access.authenticate_agent(token, "node-1", now).agent_id == "node-1"
    with pytest.raises(TokenAgentMismatch) as refused:
        access.authenticate_agent(token, "node-2", now)
    assert refused.value.metadata == {"agent_id": "node-2"}
    for wrong in (await core.token(ROLE_ADMIN), "", "nonsense", token[:-1]):
        with pytest.raises(InvalidToken):
            access.authenticate_agent(wrong, "node-1", now)


async def test_an_expired_token_is_refused_from_its_last_millisecond_on(core: Core) -> None:
    access, now = access_of(core), core.clock.now_ms()
    token = await core.token(ROLE_SIDECAR, "node-1", ttl_ms=1_000)
    access.authenticate_agent(token, "node-1", now + 999)
    with pytest.raises(InvalidToken):
        access.authenticate_agent(token, "node-1", now + 1_000)
