"""Tokens through the real dispatcher, on a real store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.base.timestamps import to_ms
from hub.contract.errors import (
    InvalidToken,
    LimitReached,
    TokenNotFound,
    ValidationFailed,
)
from hub.service.access.tokens import KEPT_EXPIRED_MS
from hub.service.presence import TOKEN_REVOKED
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    CreateTokenResponse,
    ListTokensRequest,
    RevokeTokenRequest,
)
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, ROLE_UNSPECIFIED, Role
from tests.support.core import Core, running_core
from tests.support.sidecars import sidecar


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


async def violated(core: Core, name: str, request: object) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as refused:
        await core.as_admin(name, request)
    return {violation.field: violation.error for violation in refused.value.violations}


async def create(core: Core, role: Role, agent_id: str = "", ttl_s: int = 0) -> CreateTokenResponse:
    request = CreateTokenRequest(role=role, agent_id=agent_id, description="a note")
    if ttl_s:
        request.ttl.FromSeconds(ttl_s)
    reply = await core.as_admin("CreateToken", request)
    assert isinstance(reply, CreateTokenResponse)
    return reply


@pytest.mark.parametrize(
    ("role", "agent_id"), [(ROLE_ADMIN, ""), (ROLE_READER, ""), (ROLE_SIDECAR, "node-1")]
)
async def test_a_created_token_is_valid_at_once(core: Core, role: Role, agent_id: str) -> None:
    reply = await create(core, role, agent_id)
    principal = core.tokens.authenticate(reply.token, core.clock.now_ms())
    assert (principal.role, principal.agent_id) == (role, agent_id)
    info = reply.token_info
    assert (info.id, info.role, info.agent_id) == (principal.token_id, role, agent_id)
    assert info.description == "a note"
    assert to_ms(info.created_at) == core.clock.now_ms()
    assert not info.HasField("expires_at")


@pytest.mark.parametrize(
    ("role", "agent_id", "field", "kind"),
    [
        (ROLE_SIDECAR, "", "agent_id", "invalid"),
        (ROLE_ADMIN, "node-1", "agent_id", "invalid"),
        (ROLE_READER, "node-1", "agent_id", "invalid"),
        (ROLE_UNSPECIFIED, "", "role", "required"),
        (ROLE_SIDECAR, "node\n1", "agent_id", "invalid"),
        (9, "", "role", "invalid"),
    ],
)
async def test_a_sidecar_token_needs_an_agent_and_no_other_has_one(
    core: Core, role: Role, agent_id: str, field: str, kind: str
) -> None:
    await core.as_admin("GetServerInfo")
    batches = core.store.batches
    request = CreateTokenRequest(role=role, agent_id=agent_id)
    assert await violated(core, "CreateToken", request) == {field: kind}
    assert core.store.batches == batches


async def test_an_expired_token_is_refused_and_no_longer_listed(core: Core) -> None:
    reply = await create(core, ROLE_READER, ttl_s=60)
    assert to_ms(reply.token_info.expires_at) == core.clock.now_ms() + 60_000
    core.clock.advance(59_999)
    await core.call("GetSnapshot", token=reply.token)
    core.clock.advance(1)
    with pytest.raises(InvalidToken):
        await core.call("GetSnapshot", token=reply.token)
    listed = (await core.as_admin("ListTokens")).tokens
    assert reply.token_info.id not in {info.id for info in listed}
    listed = (await core.as_admin("ListTokens", ListTokensRequest(include_expired=True))).tokens
    [expired] = [info for info in listed if info.expired]
    assert (expired.id, expired.expires_at) == (reply.token_info.id, reply.token_info.expires_at)
    await core.as_admin("RevokeToken", RevokeTokenRequest(id=expired.id))
    listed = (await core.as_admin("ListTokens", ListTokensRequest(include_expired=True))).tokens
    assert expired.id not in {info.id for info in listed}


async def test_creating_a_token_removes_long_expired_ones(core: Core) -> None:
    old = await create(core, ROLE_READER, ttl_s=1)
    core.clock.advance(1_000)
    await create(core, ROLE_READER)
    assert core.tokens.get(old.token_info.id) is not None
    core.clock.advance(KEPT_EXPIRED_MS)
    assert core.tokens.get(old.token_info.id) is not None
    await create(core, ROLE_READER)
    assert core.tokens.get(old.token_info.id) is None


async def test_the_number_of_valid_tokens_is_bounded(tmp_path: Path) -> None:
    async with running_core(tmp_path, max_tokens=3) as core:
        await create(core, ROLE_READER, ttl_s=1)  # the second, after the admin's own
        third = await create(core, ROLE_READER)
        with pytest.raises(LimitReached):
            await create(core, ROLE_READER)
        core.clock.advance(1_000)
        await create(core, ROLE_READER)
        with pytest.raises(LimitReached):
            await create(core, ROLE_READER)
        await core.as_admin("RevokeToken", RevokeTokenRequest(id=third.token_info.id))
        await create(core, ROLE_READER)


async def test_tokens_being_written_count_for_the_limit(tmp_path: Path) -> None:
    async with running_core(tmp_path, max_tokens=4) as core:
        await core.as_admin("ListTokens")
        done = await asyncio.gather(
            *(create(core, ROLE_READER) for _ in range(10)), return_exceptions=True
        )
        assert sum(isinstance(each, CreateTokenResponse) for each in done) == 3
        assert sum(isinstance(each, LimitReached) for each in done) == 7


async def test_only_one_of_many_concurrent_revocations_succeeds(core: Core) -> None:
    id_ = (await create(core, ROLE_READER)).token_info.id
    request = RevokeTokenRequest(id=id_)
    done = await asyncio.gather(
        *(core.as_admin("RevokeToken", request) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(each, TokenNotFound) for each in done) == 4
    events = (await core.as_admin("ListAuditEvents")).events
    assert sum(event.resource == f"tokens/{id_}" for event in events) == 2, "created, revoked"


async def test_tokens_are_listed_in_pages_without_secrets(core: Core) -> None:
    made = [await create(core, ROLE_READER) for _ in range(4)]
    seen: list[str] = []
    request = ListTokensRequest(page_size=2)
    while True:
        page = await core.as_admin("ListTokens", request)
        assert 0 < len(page.tokens) <= 2
        seen += [info.id for info in page.tokens]
        assert not any(reply.token[20:] in str(page) for reply in made)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == sorted(seen)
    assert set(seen) >= {reply.token_info.id for reply in made}
    assert len(seen) == 5, "the admin's own too"


async def test_a_revoked_token_is_refused_and_its_sidecar_disconnected(core: Core) -> None:
    reply = await create(core, ROLE_SIDECAR, "node-1")
    other = await create(core, ROLE_SIDECAR, "node-2")
    connected = sidecar("node-1", token_id=reply.token_info.id)
    bystander = sidecar("node-2", token_id=other.token_info.id)
    core.presence.join(connected)
    core.presence.join(bystander)
    await core.as_admin("RevokeToken", RevokeTokenRequest(id=reply.token_info.id))
    assert connected.connection.closes == [TOKEN_REVOKED]
    assert bystander.connection.closes == []
    with pytest.raises(InvalidToken):
        await core.call("Ping", token=reply.token)
    await core.call("Ping", token=other.token)
    with pytest.raises(TokenNotFound):
        await core.as_admin("RevokeToken", RevokeTokenRequest(id=reply.token_info.id))


async def test_expired_tokens_are_removed_a_few_at_a_time(core: Core) -> None:
    await core.as_admin("ListTokens")
    for n in range(150):
        await core.token(ROLE_SIDECAR, f"node-{n}", ttl_ms=1_000)
    core.clock.advance(1_000 + KEPT_EXPIRED_MS)
    left = []
    for _ in range(3):
        await create(core, ROLE_READER)
        left.append(len(core.tokens.outdated(core.clock.now_ms())))
    # A transaction of etcd has 128 operations at the most.
    assert left == [102, 54, 6]
