"""Aliases and the audit trail through the real service, on a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.base.timestamps import to_ms
from hub.contract.errors import (
    AliasNotFound,
    EtagMismatch,
    InvalidPageToken,
    ModelUnknown,
    RoleForbidden,
    ValidationFailed,
)
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    ListAuditEventsRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RemoveModelAliasRequest,
    RevokeTokenRequest,
    SetModelAliasRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.audit_pb2 import AuditEvent
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DRAINING, ADMIN_STATE_ENABLED, Endpoint
from llmhub.v1.frame_pb2 import ReportOllamaRequest
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.registry_service_pb2 import ListModelAliasesRequest, SelectEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.core import Core, running_core
from tests.support.fleet import saw
from tests.support.fleet_of import loaded

ID = "10.1.1.1:11434"


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def alias(name: str = "small", *models: str, **fields: object) -> ModelAlias:
    targets = [AliasTarget(model=model) for model in models or ("llama3:8b",)]
    return ModelAlias(name=name, targets=targets, **fields)


async def set_alias(core: Core, wanted: ModelAlias) -> ModelAlias:
    return (await core.as_admin("SetModelAlias", SetModelAliasRequest(alias=wanted))).alias


async def names(core: Core) -> list[str]:
    listed = await core.as_reader("ListModelAliases", ListModelAliasesRequest())
    return [each.name for each in listed.aliases]


async def events(core: Core, **filters: object) -> list[AuditEvent]:
    listed = await core.as_admin("ListAuditEvents", ListAuditEventsRequest(**filters))
    return list(listed.events)


async def register(core: Core, host: str = "10.1.1.1", **fields: object) -> Endpoint:
    request = RegisterEndpointRequest(host=host, **fields)
    return (await core.as_admin("RegisterEndpoint", request)).endpoint


# Aliases.


async def test_an_alias_is_set_listed_used_and_removed(core: Core) -> None:
    made = await set_alias(core, alias("small", description="for chat"))
    assert (made.description, to_ms(made.updated_at)) == ("for chat", core.clock.now_ms())
    listed = await core.as_reader("ListModelAliases", ListModelAliasesRequest())
    assert list(listed.aliases) == [made]
    assert listed.revision == core.registry.revision
    await register(core)
    core.registry.observe(ID, saw(models=(loaded("llama3:8b"),)))
    chosen = await core.as_reader("SelectEndpoint", SelectEndpointRequest(model="small"))
    assert chosen.selections[0].model == "llama3:8b"
    await core.as_admin("RemoveModelAlias", RemoveModelAliasRequest(name="small"))
    assert await names(core) == []
    with pytest.raises(ModelUnknown):
        await core.as_reader("SelectEndpoint", SelectEndpointRequest(model="small"))


async def test_aliases_come_back_after_a_restart(core: Core, tmp_path: Path) -> None:
    made = await set_alias(core, alias("a/b c", "m1", "m2"))
    await core.store.close()
    async with running_core(tmp_path) as again:
        listed = await again.as_reader("ListModelAliases", ListModelAliasesRequest())
        assert list(listed.aliases) == [made]
        assert [event.action for event in await events(again)] == ["SetModelAlias"]


async def test_etags_guard_aliases(core: Core) -> None:
    made = await set_alias(core, alias())
    changed = await set_alias(core, alias("small", "other", etag=made.etag))
    assert changed.etag != made.etag
    for attempt in (
        set_alias(core, alias("small", etag=made.etag)),
        set_alias(core, alias("new", etag="1")),
        core.as_admin("RemoveModelAlias", RemoveModelAliasRequest(name="small", etag=made.etag)),
    ):
        with pytest.raises(EtagMismatch):
            await attempt
    request = RemoveModelAliasRequest(name="small", etag=changed.etag)
    await core.as_admin("RemoveModelAlias", request)
    with pytest.raises(AliasNotFound):
        await core.as_admin("RemoveModelAlias", RemoveModelAliasRequest(name="small"))


async def test_aliases_are_paged_and_sorted(core: Core) -> None:
    for name in ("b", "é", "a", "c"):
        await set_alias(core, alias(name))
    request, found = ListModelAliasesRequest(page_size=3), []
    page = await core.as_reader("ListModelAliases", request)
    found += page.aliases
    request.page_token = page.next_page_token
    page = await core.as_reader("ListModelAliases", request)
    found += page.aliases
    assert not page.next_page_token
    assert [each.name for each in found] == ["a", "b", "c", "é"]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (ModelAlias(targets=[AliasTarget(model="m")]), "alias.name"),
        (ModelAlias(name="a\nb", targets=[AliasTarget(model="m")]), "alias.name"),
        (ModelAlias(name="a"), "alias.targets"),
        (ModelAlias(name="a", targets=[AliasTarget(quantization="Q4")]), "alias.targets[0]"),
        (
            ModelAlias(name="a", targets=[AliasTarget(model="m", min_context_length=-1)]),
            "alias.targets[0].min_context_length",
        ),
    ],
)
async def test_a_bad_alias_is_refused_by_field(core: Core, wanted: ModelAlias, field: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        await set_alias(core, wanted)
    assert [violation.field for violation in raised.value.violations] == [field]


async def test_a_reader_may_only_list_aliases(core: Core) -> None:
    for name, request in (
        ("SetModelAlias", SetModelAliasRequest(alias=alias())),
        ("RemoveModelAlias", RemoveModelAliasRequest(name="a")),
        ("ListAuditEvents", ListAuditEventsRequest()),
    ):
        with pytest.raises(RoleForbidden):
            await core.as_reader(name, request)


# Draining.


async def test_a_drains_impact_is_shown_without_draining(core: Core) -> None:
    await register(core)
    core.registry.observe(ID, saw(models=(loaded("a"), loaded("b"))))
    select = SelectEndpointRequest(model="a")
    select.lease_ttl.FromSeconds(60)
    await core.as_reader("SelectEndpoint", select)
    drain = UpdateEndpointRequest(
        endpoint=Endpoint(id=ID, admin_state=ADMIN_STATE_DRAINING), validate_only=True
    )
    asked = await core.as_admin("UpdateEndpoint", drain)
    assert list(asked.impact.last_loaded_models) == ["a", "b"]
    assert list(asked.impact.last_available_models) == ["a", "b"]
    assert asked.impact.in_flight == 1
    assert core.endpoint(ID).admin_state == ADMIN_STATE_ENABLED
    drain.validate_only = False
    done = await core.as_admin("UpdateEndpoint", drain)
    assert done.impact == asked.impact
    assert core.endpoint(ID).admin_state == ADMIN_STATE_DRAINING
    # The lease runs out; nothing more is selected.
    core.clock.advance(60_000)
    again = await core.as_admin("UpdateEndpoint", drain)
    assert again.impact.ByteSize() == 0


# The audit trail.


async def test_every_admin_change_has_an_audit_event(core: Core) -> None:
    await register(core, name="one", api_key="s3cret")
    request = UpdateEndpointRequest(endpoint=Endpoint(id=ID, name="two"))
    await core.as_admin("UpdateEndpoint", request)
    await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID))
    created = await core.as_admin("CreateToken", CreateTokenRequest(role=ROLE_READER))
    await core.as_admin("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
    await set_alias(core, alias())
    await core.as_admin("RemoveModelAlias", RemoveModelAliasRequest(name="small"))
    found = list(reversed(await events(core)))
    token = f"tokens/{created.token_info.id}"
    assert [(event.action, event.resource) for event in found] == [
        ("RegisterEndpoint", f"endpoints/{ID}"),
        ("UpdateEndpoint", f"endpoints/{ID}"),
        ("RemoveEndpoint", f"endpoints/{ID}"),
        ("CreateToken", token),
        ("RevokeToken", token),
        ("SetModelAlias", "aliases/small"),
        ("RemoveModelAlias", "aliases/small"),
    ]
    states = [
        (event.before.WhichOneof("state"), event.after.WhichOneof("state")) for event in found
    ]
    assert states == [
        (None, "endpoint"),
        ("endpoint", "endpoint"),
        ("endpoint", None),
        (None, "token_info"),
        ("token_info", None),
        (None, "model_alias"),
        ("model_alias", None),
    ]
    assert (found[1].before.endpoint.name, found[1].after.endpoint.name) == ("one", "two")
    assert [event.secret_changed for event in found] == [True] + [False] * 6
    admin = core.tokens.authenticate(core.secrets["ROLE_ADMIN"], core.clock.now_ms())
    assert {(event.token_id, event.remote_address, event.transport) for event in found} == {
        (admin.token_id, "10.9.9.9", "grpc")
    }
    shown = b"".join(event.SerializeToString() for event in found)
    assert b"s3cret" not in shown
    assert created.token.encode() not in shown


async def test_failed_unchanged_or_sidecar_calls_have_no_audit_event(core: Core) -> None:
    await register(core)
    before = len(await events(core))
    await register(core)
    drain = Endpoint(id=ID, admin_state=ADMIN_STATE_DRAINING)
    await core.as_admin("UpdateEndpoint", UpdateEndpointRequest(endpoint=drain, validate_only=True))
    with pytest.raises(EtagMismatch):
        await core.as_admin("UpdateEndpoint", UpdateEndpointRequest(endpoint=drain, etag="1"))
    report = ReportOllamaRequest(ollama_url="http://10.7.7.7")
    await core.as_agent("node-1", "ReportOllama", report)
    assert len(await events(core)) == before


async def test_events_are_filtered_and_paged(core: Core) -> None:
    for i in range(5):
        await register(core, f"10.1.1.{i}")
        core.clock.advance(1)
    (only,) = await events(core, resource="endpoints/10.1.1.3:11434")
    assert only.after.endpoint.host == "10.1.1.3"
    assert await events(core, token_id="nobody") == []
    request, found = ListAuditEventsRequest(page_size=2), []
    while True:
        page = await core.as_admin("ListAuditEvents", request)
        found += [event.after.endpoint.host for event in page.events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == [f"10.1.1.{i}" for i in range(4, -1, -1)]
    request.resource = "endpoints/x"
    with pytest.raises(InvalidPageToken):
        await core.as_admin("ListAuditEvents", request)
