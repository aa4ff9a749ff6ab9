"""Endpoints through the real dispatcher, on a real store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.base.timestamps import to_ms
from hub.contract.errors import (
    EndpointDisabled,
    EndpointNotFound,
    EtagMismatch,
    LimitReached,
    ShuttingDown,
    TargetForbidden,
    ValidationFailed,
)
from hub.service.handlers import manage_endpoints
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
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
from tests.support.core import Core, running_core
from tests.support.fleet import saw

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


async def test_a_registration_has_defaults(core: Core) -> None:
    endpoint = await register(core)
    assert endpoint == core.endpoint(ID)
    assert (endpoint.id, endpoint.port, endpoint.scheme, endpoint.name) == (ID, 11434, "http", ID)
    assert (endpoint.source, endpoint.status) == (SOURCE_MANUAL, STATUS_UNKNOWN)
    assert endpoint.admin_state == ADMIN_STATE_ENABLED
    assert to_ms(endpoint.registered_at) == core.clock.now_ms()
    assert core.probes.stats.watched == 1


async def test_all_fields_can_be_registered(core: Core) -> None:
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
async def test_spellings_of_one_address_have_one_id(core: Core, host: str, id_: str) -> None:
    assert (await register(core, host=host)).id == id_
    await register(core, host=id_.rpartition(":")[0])
    assert core.ids() == [id_]


@pytest.mark.parametrize(
    "host",
    ["", "http://gpu-1", "gpu-1/path", "gpu-1:80", "a b", "1.2.3", "[::1", "a..b", "x" * 254],
)
async def test_an_invalid_host_is_a_violation_of_the_field(core: Core, host: str) -> None:
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


async def test_re_registration_keeps_observed_facts(core: Core) -> None:
    first = await register(core, name="old", labels={"zone": "a"})
    core.registry.observe(ID, saw(models=(Model(name="m"),), backend=BACKEND_OLLAMA))
    core.clock.advance(60_000)
    again = await register(core, name="new")
    assert again.registered_at == first.registered_at
    assert again.status == STATUS_HEALTHY
    assert [model.name for model in again.models] == ["m"]
    assert (again.name, dict(again.labels)) == ("new", {"zone": "a"})
    assert (again.backend, again.backend_detected) == (BACKEND_OLLAMA, True)


async def test_a_full_registry_is_reported(tmp_path: Path) -> None:
    async with running_core(tmp_path, max_endpoints=1) as core:
        await register(core)
        await register(core, name="renamed")
        with pytest.raises(LimitReached):
            await register(core, host="gpu-2")


# UpdateEndpoint.


async def test_a_mask_changes_only_the_named_fields(core: Core) -> None:
    before = await register(core, name="old", labels={"zone": "a"}, agent_id="node-1")
    after = await update(core, "name", name="new", labels={"zone": "b"}, agent_id="node-2")
    assert after.name == "new"
    assert after.etag != before.etag
    after.name, after.etag = before.name, before.etag
    assert after == before


async def test_a_mask_clears_unset_fields(core: Core) -> None:
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


async def test_without_a_mask_the_set_fields_change(core: Core) -> None:
    await register(core, name="old", labels={"zone": "a"})
    after = await update(core, name="new", admin_state=ADMIN_STATE_DRAINING, host="ignored")
    assert (after.name, after.admin_state) == ("new", ADMIN_STATE_DRAINING)
    assert (dict(after.labels), after.host) == ({"zone": "a"}, "gpu-1")


async def test_an_update_without_changes_writes_nothing(core: Core) -> None:
    before = await register(core)
    batches = core.store.batches
    assert await update(core) == before
    assert await update(core, "name", name=ID) == before
    assert core.store.batches == batches


@pytest.mark.parametrize("path", ["status", "host", "etag", "labels.zone", "*", "nope", ""])
async def test_an_unknown_path_in_the_mask_is_a_violation(core: Core, path: str) -> None:
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


async def test_an_update_obeys_the_contracts_bounds(core: Core) -> None:
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


async def test_an_update_of_a_missing_endpoint_is_not_found(core: Core) -> None:
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


async def test_validate_only_returns_the_result_and_changes_nothing(core: Core) -> None:
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


async def test_an_endpoint_can_be_removed(core: Core) -> None:
    endpoint = await register(core, api_key="sk-secret")
    with pytest.raises(EtagMismatch):
        await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID, etag="ffff"))
    reply = await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID, etag=endpoint.etag))
    assert reply.id == ID
    assert core.ids() == []
    assert core.probes.stats.watched == 0
    with pytest.raises(EndpointNotFound):
        await core.as_admin("RemoveEndpoint", RemoveEndpointRequest(id=ID))


async def test_an_endpoint_registered_after_a_removal_is_new(core: Core, tmp_path: Path) -> None:
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


async def test_a_disabled_endpoint_cannot_be_checked(core: Core) -> None:
    await register(core)
    await update(core, admin_state=ADMIN_STATE_DISABLED)
    with pytest.raises(EndpointDisabled):
        await core.as_admin("CheckEndpoint", CheckEndpointRequest(id=ID))


async def test_a_check_that_never_starts_is_a_limit_error(
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
