from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import InvalidToken, RoleForbidden
from hub.service.access.credentials import Anonymous, BearerToken, BrowserCookie, bearer_token
from hub.service.dispatcher import Received
from hub.service.operations import (
    GET_METRICS,
    OPEN_BROWSER_SESSION,
    OPERATIONS,
    SHOW_CALLER,
)
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_UNSPECIFIED
from tests.support.core import Core, running_core


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer", ""),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
    ],
)
def test_a_bearer_token_in_a_header(authorization: str, token: str | None) -> None:
    assert bearer_token(authorization) == token


async def test_a_cookie_stands_for_the_token_that_opened_the_session(core: Core) -> None:
    token = await core.token(ROLE_READER)
    bearer = BearerToken(token, "10.0.0.9", "http")
    nothing = Received(None)
    now = core.clock.now_ms()
    dispatch = core.dispatcher.dispatch
    opened = await dispatch(OPEN_BROWSER_SESSION, bearer, lambda: nothing, now)
    cookie = BrowserCookie(opened.session_id, "10.0.0.9")
    assert dispatch(SHOW_CALLER, cookie, lambda: nothing, now) == opened.principal
    assert opened.session_id not in repr(cookie)
    assert token not in repr(bearer)
    with pytest.raises(InvalidToken):
        dispatch(SHOW_CALLER, cookie, lambda: nothing, opened.expires_at_ms)


async def test_a_caller_without_proof_may_call_only_what_needs_no_role(core: Core) -> None:
    anonymous = Anonymous("10.0.0.9", "http")
    nothing = Received(None)
    for operation in OPERATIONS:
        if operation.role is not None:
            with pytest.raises(RoleForbidden):
                core.dispatcher.dispatch(operation, anonymous, lambda: nothing, 0)
    shown = core.dispatcher.dispatch(SHOW_CALLER, anonymous, lambda: nothing, 0)
    assert shown.role == ROLE_UNSPECIFIED
    assert GET_METRICS.role == ROLE_READER
