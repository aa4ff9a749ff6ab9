"""AdminService through the real service, on a real store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.base.timestamps import to_ms
from hub.contract.errors import (
    EndpointDisabled,
    EndpointNotFound,
    EtagMismatch,
    InvalidPageToken,
    InvalidToken,
    LimitReached,
    ShuttingDown,
    SidecarNotFound,
    TargetForbidden,
    TokenNotFound,
    ValidationFailed,
)
from hub.service.access.tokens import KEPT_EXPIRED_MS
from hub.service.handlers import manage_endpoints
from hub.service.presence import TOKEN_REVOKED, disconnected
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    CreateTokenRequest,
    CreateTokenResponse,
    DisconnectSidecarRequest,
    ListSidecarsRequest,
    ListTokensRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RevokeTokenRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    SOURCE_MANUAL,
    STATUS_HEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    Model,
)
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, ROLE_UNSPECIFIED, Role
from tests.support.core import Core, running_core
from tests.support.fleet import saw
from tests.support.sidecars import sidecar

ID = "gpu-1:11434"


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


async def register(core: Core, **fields: object) -> Endpoint:
    request = RegisterEndpointRequest(**({"host": "gpu-1"} | fields))
    return (await core.as_admin("RegisterEndpoint", request)).endpoint


async def update(
    core: Core, *paths: str, etag: str = "", validate_only: bool = False, **fields: object
) -> Endpoint:
    request = UpdateEndpointRequest(
        endpoint=Endpoint(**({"id": ID} | fields)), etag=etag, validate_only=validate_only
    )
    request.update_mask.paths.extend(paths)
    return (await core.as_admin("UpdateEndpoint", request)).endpoint


async def violated(core: Core, name: str, request: object) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as refused:
        await core.as_admin(name, request)
    return {violation.field: violation.error for violation in refused.value.violations}


# RegisterEndpoint.


async def test_the_defaults_of_a_registration(core: Core) -> None:
    endpoint = await register(core)
    assert endpoint == core.endpoint(ID)
    assert (endpoint.id, endpoint.port, endpoint.scheme, endpoint.name) == (ID, 11434, "http", ID)
    assert (endpoint.source, endpoint.status) == (SOURCE_MANUAL, STATUS_UNKNOWN)
    assert endpoint.admin_state == ADMIN_STATE_ENABLED
    assert to_ms(endpoint.registered_at) == core.clock.now_ms()
    assert core.probes.stats.watched == 1


async def test_everything_that_can_be_registered(core: Core) -> None:
    endpoint = await register(
        core,
        port=8000,
        scheme="https",
        name="big one",
        backend=BACKEND_VLLM,
        labels={"zone": "a"},
        agent_id="node-1",
        api_key="sk-secret",
        base_path="/v2",
    )
    assert endpoint.id == "gpu-1:8000"
    assert (endpoint.scheme, endpoint.base_path, endpoint.name) == ("https", "/v2", "big one")
    assert (endpoint.backend, endpoint.agent_id) == (BACKEND_VLLM, "node-1")
    assert dict(endpoint.labels) == {"zone": "a"}
    assert "sk-secret" not in str(endpoint)


@pytest.mark.parametrize(
    ("host", "id_"),
    [
        ("GPU-1.Lan.", "gpu-1.lan:11434"),
        ("[2001:DB8::1]", "[2001:db8::1]:11434"),
        ("2001:db8:0::1", "[2001:db8::1]:11434"),
        ("10.0.0.1", "10.0.0.1:11434"),
    ],
)
async def test_one_server_has_one_id(core: Core, host: str, id_: str) -> None:
    assert (await register(core, host=host)).id == id_
    await register(core, host=id_.rpartition(":")[0])
    assert core.ids() == [id_]


@pytest.mark.parametrize(
    "host",
    ["", "http://gpu-1", "gpu-1/path", "gpu-1:80", "a b", "1.2.3", "[::1", "a..b", "x" * 254],
)
async def test_what_is_no_host_is_a_violation_of_the_host(core: Core, host: str) -> None:
    assert set(await violated(core, "RegisterEndpoint", RegisterEndpointRequest(host=host))) == {
        "host"
    }
    assert core.ids() == []
    assert core.store.batches == 1, "the admin's token alone"


@pytest.mark.parametrize("host", ["169.254.169.254", "fe80::1", "[::ffff:169.254.169.254]"])
async def test_metadata_and_link_local_addresses_are_forbidden(core: Core, host: str) -> None:
    with pytest.raises(TargetForbidden):
        await register(core, host=host)
    assert core.ids() == []


async def test_re_registration_keeps_what_the_hub_found_out(core: Core) -> None:
    first = await register(core, name="old", labels={"zone": "a"})
    core.registry.observe(ID, saw(models=(Model(name="m"),), backend=BACKEND_OLLAMA))
    core.clock.advance(60_000)
    again = await register(core, name="new")
    assert again.registered_at == first.registered_at
    assert again.status == STATUS_HEALTHY
    assert [model.name for model in again.models] == ["m"]
    assert (again.name, dict(again.labels)) == ("new", {"zone": "a"})
    assert (again.backend, again.backend_detected) == (BACKEND_OLLAMA, True)


async def test_a_full_registry_says_so(tmp_path: Path) -> None:
    async with running_core(tmp_path, max_endpoints=1) as core:
        await register(core)
        await register(core, name="renamed")
        with pytest.raises(LimitReached):
            await register(core, host="gpu-2")


# UpdateEndpoint.


async def test_a_mask_changes_what_it_names_and_nothing_else(core: Core) -> None:
    before = await register(core, name="old", labels={"zone": "a"}, agent_id="node-1")
    after = await update(core, "name", name="new", labels={"zone": "b"}, agent_id="node-2")
    assert after.name == "new"
    assert after.etag != before.etag
    after.name, after.etag = before.name, before.etag
    assert after == before


async def test_a_mask_clears_what_is_not_set(core: Core) -> None:
    await register(
        core, name="n", labels={"zone": "a", "tier": "1"}, agent_id="node-1", backend=BACKEND_VLLM
    )
    assert dict((await update(core, "labels")).labels) == {}
    assert (await update(core, "agent_id")).agent_id == ""
    assert (await update(core, "name")).name == ID, "a name there always is"
    assert (await update(core, "backend")).backend == BACKEND_UNSPECIFIED


async def test_labels_are_replaced_and_not_merged(core: Core) -> None:
    await register(core, labels={"zone": "a", "tier": "1"})
    assert dict((await update(core, "labels", labels={"zone": "b"})).labels) == {"zone": "b"}


async def test_clearing_the_admin_state_enables(core: Core) -> None:
    await register(core)
    assert (await update(core, admin_state=ADMIN_STATE_DISABLED)).admin_state == (
        ADMIN_STATE_DISABLED
    )
    assert core.probes.stats.watched == 0
    assert (await update(core, "admin_state")).admin_state == ADMIN_STATE_ENABLED
    assert core.probes.stats.watched == 1


async def test_without_a_mask_what_is_set_is_changed(core: Core) -> None:
    await register(core, name="old", labels={"zone": "a"})
    after = await update(core, name="new", admin_state=ADMIN_STATE_DRAINING, host="ignored")
    assert (after.name, after.admin_state) == ("new", ADMIN_STATE_DRAINING)
    assert (dict(after.labels), after.host) == ({"zone": "a"}, "gpu-1")


async def test_an_update_of_nothing_writes_nothing(core: Core) -> None:
    before = await register(core)
    batches = core.store.batches
    assert await update(core) == before
    assert await update(core, "name", name=ID) == before
    assert core.store.batches == batches


@pytest.mark.parametrize("path", ["status", "host", "etag", "labels.zone", "*", "nope", ""])
async def test_a_mask_of_what_cannot_be_changed_is_refused_by_its_place(
    core: Core, path: str
) -> None:
    before = await register(core)
    request = UpdateEndpointRequest(endpoint=Endpoint(id=ID, name="new"))
    request.update_mask.paths.extend(["name", path])
    assert await violated(core, "UpdateEndpoint", request) == {"update_mask.paths[1]": "invalid"}
    assert core.endpoint(ID) == before


async def test_an_update_needs_an_endpoint_with_an_id(core: Core) -> None:
    assert await violated(core, "UpdateEndpoint", UpdateEndpointRequest()) == {
        "endpoint": "required"
    }
    request = UpdateEndpointRequest(endpoint=Endpoint(name="n"))
    assert await violated(core, "UpdateEndpoint", request) == {"endpoint.id": "required"}


async def test_the_bounds_of_an_update_are_those_of_the_contract(core: Core) -> None:
    await register(core)
    request = UpdateEndpointRequest(endpoint=Endpoint(id=ID, name="n" * 257, labels={"-": "x"}))
    assert await violated(core, "UpdateEndpoint", request) == {
        "endpoint.name": "too_long",
        'endpoint.labels["-"]': "invalid",
    }


async def test_a_name_with_control_characters_is_refused_everywhere(core: Core) -> None:
    await register(core)
    for name, request, field in (
        ("RegisterEndpoint", RegisterEndpointRequest(host="h", name="a\x1b[2J"), "name"),
        (
            "UpdateEndpoint",
            UpdateEndpointRequest(endpoint=Endpoint(id=ID, name="a\n")),
            "endpoint.name",
        ),
    ):
        assert await violated(core, name, request) == {field: "invalid"}


async def test_an_update_of_what_is_not_there(core: Core) -> None:
    for validate_only in (False, True):
        with pytest.raises(EndpointNotFound):
            await update(core, name="n", validate_only=validate_only)


@pytest.mark.parametrize("validate_only", [False, True])
async def test_an_etag_read_before_a_change_is_refused(core: Core, validate_only: bool) -> None:
    old = (await register(core)).etag
    new = (await update(core, name="a", etag=old)).etag
    with pytest.raises(EtagMismatch):
        await update(core, name="b", etag=old, validate_only=validate_only)
    request = UpdateEndpointRequest(
        endpoint=Endpoint(id=ID, name="b", etag=old), validate_only=validate_only
    )
    with pytest.raises(EtagMismatch):
        await core.as_admin("UpdateEndpoint", request)
    assert core.endpoint(ID).name == "a"
    assert (await update(core, name="b", etag=new, validate_only=validate_only)).name == "b"


async def test_validate_only_answers_what_would_be_and_changes_nothing(core: Core) -> None:
    before = Endpoint()
    before.CopyFrom(await register(core, labels={"zone": "a"}))
    revision, batches = core.registry.revision, core.store.batches
    shown = await update(
        core, "labels", "name", name="would be", labels={"zone": "b"}, validate_only=True
    )
    assert (shown.name, dict(shown.labels)) == ("would be", {"zone": "b"})
    assert core.endpoint(ID) == before
    assert (core.registry.revision, core.store.batches) == (revision, batches)
    request = UpdateEndpointRequest(endpoint=Endpoint(id=ID), validate_only=True)
    request.update_mask.paths.append("status")
    assert await violated(core, "UpdateEndpoint", request)


async def test_pinning_a_backend_ends_its_detection(core: Core) -> None:
    await register(core)
    core.registry.observe(ID, saw(backend=BACKEND_OLLAMA, models=(Model(name="m"),)))
    pinned = await update(core, backend=BACKEND_OLLAMA)
    assert (pinned.backend, pinned.backend_detected) == (BACKEND_OLLAMA, False)
    assert pinned.status == STATUS_HEALTHY
    other = await update(core, backend=BACKEND_VLLM)
    assert (other.status, list(other.models)) == (STATUS_UNKNOWN, [])


# RemoveEndpoint and CheckEndpoint.


async def test_removing(core: Core) -> None:
    endpoint = await register(core, api_key="sk-secret")
    with pytest.raises(EtagMismatch):
        await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID, etag="ffff"))
    reply = await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID, etag=endpoint.etag))
    assert reply.id == ID
    assert core.ids() == []
    assert core.probes.stats.watched == 0
    with pytest.raises(EndpointNotFound):
        await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID))


async def test_removed_and_registered_anew_it_is_another(core: Core, tmp_path: Path) -> None:
    first = await register(core, api_key="sk-secret", labels={"zone": "a"})
    await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID))
    core.clock.advance(1)
    second = await register(core)
    assert second.etag != first.etag
    assert second.registered_at != first.registered_at
    assert dict(second.labels) == {}
    await core.store.close()
    async with running_core(tmp_path) as again:
        assert again.ids() == [ID]
        with pytest.raises(EtagMismatch):
            await update(again, name="n", etag=first.etag)


async def test_a_check_needs_an_endpoint_and_running_probes(core: Core) -> None:
    with pytest.raises(EndpointNotFound):
        await core.as_admin("CheckEndpoint", CheckEndpointRequest(id=ID))
    await register(core)
    with pytest.raises(ShuttingDown):
        await core.as_admin("CheckEndpoint", CheckEndpointRequest(id=ID))


async def test_a_check_shows_what_the_probe_found(core: Core) -> None:
    """Nobody listens on a port that was free a moment ago."""
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    await core.probes.start()
    try:
        await register(core, host="127.0.0.1", port=port)
        request = CheckEndpointRequest(id=f"127.0.0.1:{port}")
        async with asyncio.timeout(20):
            endpoint = (await core.as_admin("CheckEndpoint", request)).endpoint
    finally:
        await core.probes.stop()
    assert endpoint.last_error
    assert endpoint.consecutive_failures >= 1
    assert endpoint.HasField("last_checked_at")


async def test_a_disabled_endpoint_is_there_and_not_checked(core: Core) -> None:
    await register(core)
    await update(core, admin_state=ADMIN_STATE_DISABLED)
    with pytest.raises(EndpointDisabled):
        await core.as_admin("CheckEndpoint", CheckEndpointRequest(id=ID))


async def test_a_check_that_has_no_turn_says_so(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage_endpoints, "_CHECK_TIMEOUT_S", 0.0)
    await core.probes.start()
    try:
        await register(core, host="127.0.0.1", port=9)
        with pytest.raises(LimitReached):
            await core.as_admin("CheckEndpoint", CheckEndpointRequest(id="127.0.0.1:9"))
    finally:
        await core.probes.stop()


# Sidecars.


async def test_sidecars_in_pages(core: Core) -> None:
    for agent_id in ("c", "a", "b"):
        core.presence.join(sidecar(agent_id))
    first = await core.as_admin("ListSidecars", ListSidecarsRequest(page_size=2))
    assert [info.agent_id for info in first.sidecars] == ["a", "b"]
    core.presence.join(sidecar("aa"))
    request = ListSidecarsRequest(page_size=2, page_token=first.next_page_token)
    second = await core.as_admin("ListSidecars", request)
    assert [info.agent_id for info in second.sidecars] == ["c"]
    assert second.next_page_token == ""
    with pytest.raises(InvalidPageToken):
        await core.as_admin("ListSidecars", ListSidecarsRequest(page_token="x"))


async def test_disconnecting(core: Core) -> None:
    one = sidecar("node-1")
    core.presence.join(one)
    await core.as_admin(
        "DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-1", reason="maintenance")
    )
    assert one.connection.closes == [disconnected("maintenance")]
    with pytest.raises(SidecarNotFound) as refused:
        await core.as_admin("DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-2"))
    assert refused.value.metadata == {"agent_id": "node-2"}


# Tokens.


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


async def test_whoever_makes_a_token_takes_out_those_expired_long_ago(core: Core) -> None:
    old = await create(core, ROLE_READER, ttl_s=1)
    core.clock.advance(1_000)
    await create(core, ROLE_READER)
    assert core.tokens.get(old.token_info.id) is not None
    core.clock.advance(KEPT_EXPIRED_MS)
    assert core.tokens.get(old.token_info.id) is not None
    await create(core, ROLE_READER)
    assert core.tokens.get(old.token_info.id) is None


async def test_there_are_as_many_tokens_as_the_settings_say(tmp_path: Path) -> None:
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


async def test_tokens_on_their_way_to_the_disk_count(tmp_path: Path) -> None:
    async with running_core(tmp_path, max_tokens=4) as core:
        await core.as_admin("ListTokens")
        done = await asyncio.gather(
            *(create(core, ROLE_READER) for _ in range(10)), return_exceptions=True
        )
        assert sum(isinstance(each, CreateTokenResponse) for each in done) == 3
        assert sum(isinstance(each, LimitReached) for each in done) == 7


async def test_of_many_who_revoke_a_token_one_has_done_it(core: Core) -> None:
    id_ = (await create(core, ROLE_READER)).token_info.id
    request = RevokeTokenRequest(id=id_)
    done = await asyncio.gather(
        *(core.as_admin("RevokeToken", request) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(each, TokenNotFound) for each in done) == 4
    events = (await core.as_admin("ListAuditEvents")).events
    assert sum(event.resource == f"tokens/{id_}" for event in events) == 2, "created, revoked"


async def test_tokens_in_pages_and_without_their_secrets(core: Core) -> None:
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


async def test_the_server_tells_about_itself(core: Core) -> None:
    assert (await core.as_admin("GetServerInfo")).version == "test"


async def test_expired_tokens_are_taken_out_some_at_a_time(core: Core) -> None:
    await core.as_admin("ListTokens")
    for n in range(150):
        await core.token(ROLE_SIDECAR, f"node-{n}", ttl_ms=1_000)
    core.clock.advance(1_000 + KEPT_EXPIRED_MS)
    left = []
    for _ in range(3):
        await create(core, ROLE_READER)
        left.append(len(core.tokens.outdated(core.clock.now_ms())))
    # A transaction of etcd has 128 operations at the most.
    assert left == [86, 22, 0]
