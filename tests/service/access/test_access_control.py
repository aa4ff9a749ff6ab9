from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import InvalidToken, RoleForbidden, TokenAgentMismatch
from hub.service.access.access_control import (
    AccessControl,
    Anonymous,
    BearerToken,
    BrowserCookie,
    bearer_token,
)
from hub.service.access.browser_sessions import BrowserSessions
from hub.service.dispatcher import Received
from hub.service.operations import (
    GET_METRICS,
    OPEN_BROWSER_SESSION,
    OPERATIONS,
    SHOW_CALLER,
)
from hub.service.records import token_key
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, ROLE_UNSPECIFIED
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


async def test_a_token_is_refused_from_its_expiry_on(core: Core) -> None:
    access, now = access_of(core), core.clock.now_ms()
    token = await core.token(ROLE_SIDECAR, "node-1", ttl_ms=1_000)
    access.authenticate_agent(token, "node-1", now + 999)
    with pytest.raises(InvalidToken):
        access.authenticate_agent(token, "node-1", now + 1_000)


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
def test_a_bearer_token_is_read_from_the_header(authorization: str, token: str | None) -> None:
    assert bearer_token(authorization) == token


async def test_a_cookie_has_the_principal_of_its_token(core: Core) -> None:
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


async def test_credentials_that_a_transport_keeps_follow_their_token(core: Core) -> None:
    access, now = access_of(core), core.clock.now_ms()
    lasting = BearerToken(await core.token(ROLE_READER), "10.0.0.9", "grpc")
    short = BearerToken(await core.token(ROLE_READER, ttl_ms=1_000), "10.0.0.9", "grpc")
    caller = lasting.authenticate(access, now)
    assert lasting.authenticate(access, now) is caller
    assert short.authenticate(access, now + 999).principal.role == ROLE_READER
    with pytest.raises(InvalidToken, match="revoked or expired"):
        short.authenticate(access, now + 1_000)
    core.tokens.apply_delete(token_key(caller.principal.token_id))
    with pytest.raises(InvalidToken):
        lasting.authenticate(access, now)


async def test_kept_credentials_mean_nothing_to_another_hub(core: Core, tmp_path: Path) -> None:
    token = BearerToken(await core.token(ROLE_READER), "10.0.0.9", "grpc")
    token.authenticate(access_of(core), core.clock.now_ms())
    (tmp_path / "other").mkdir()
    async with running_core(tmp_path / "other") as other:
        await other.token(ROLE_READER)
        with pytest.raises(InvalidToken):
            token.authenticate(access_of(other), core.clock.now_ms())
