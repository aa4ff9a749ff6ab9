from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import StoreUnavailable
from hub.service.access.browser_sessions import LIFETIME_MS, BrowserSessions
from hub.service.access.caller import Caller
from hub.service.changes.commits import Commits
from hub.service.handlers.browser_sign_in import BrowserSessionHandlers
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.core import Core, running_core


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def sessions_of(core: Core) -> BrowserSessions:
    return core.dispatcher._access.browser_sessions


async def reader_of(core: Core) -> Caller:
    principal = core.tokens.authenticate(await core.token(ROLE_READER), core.clock.now_ms())
    return Caller(principal, "10.0.0.9", "http")


async def test_a_session_is_open_from_sign_in_to_sign_out(core: Core) -> None:
    handlers = BrowserSessionHandlers(Commits(core.store), sessions_of(core))
    reader, now = await reader_of(core), core.clock.now_ms()
    opened = await handlers.open_browser_session(None, reader, now)
    assert opened.expires_at_ms == now + LIFETIME_MS
    assert opened.session_id not in repr(opened)
    assert sessions_of(core).authenticate(opened.session_id, now) == reader.principal
    await handlers.close_browser_session(opened.session_id, reader, now)
    assert sessions_of(core).find(opened.session_id) is None
    await handlers.close_browser_session(opened.session_id, reader, now)


async def test_no_session_opens_without_the_store(core: Core) -> None:
    handlers = BrowserSessionHandlers(Commits(core.store), sessions_of(core))
    reader = await reader_of(core)
    await core.store.close()
    with pytest.raises(StoreUnavailable):
        await handlers.open_browser_session(None, reader, core.clock.now_ms())
    assert len(sessions_of(core)) == 0
