"""The calls of an admin, with a real hub in a separate process."""

import inspect
import json
from collections.abc import Iterator
from time import monotonic

import grpc
import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from hub.client import AsyncHub, CallFailed, ClientError
from hub.client.hub_address import METHODS
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    BACKEND_VLLM,
    FAULT_NO_ANSWER,
)
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.hub_process import HubProcess, running_hub


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with running_hub(tmp_path_factory.mktemp("admin") / "data") as running:
        yield running


def hub_of(process: HubProcess, token: str | None = None) -> AsyncHub:
    return AsyncHub(process.grpc, token or process.admin_token)


async def test_the_life_of_an_endpoint(process: HubProcess) -> None:
    async with hub_of(process) as hub:
        registered = await hub.register(
            "http://127.0.0.1:1/base", name="one", backend=BACKEND_VLLM, labels={"zone": "a"}
        )
        id_ = registered.id
        assert (id_, registered.base_path, registered.name) == ("127.0.0.1:1", "/base", "one")
        assert registered.backend == BACKEND_VLLM
        checked = await hub.check(id_)
        assert (checked.fault, checked.last_error) == (FAULT_NO_ANSWER, "connection refused")
        updated = (await hub.update(id_, name="two", labels={})).endpoint
        assert (updated.name, dict(updated.labels)) == ("two", {})
        assert updated.backend == BACKEND_VLLM, "fields that are not named stay"
        tried = await hub.drain(id_, validate_only=True)
        assert tried.endpoint.admin_state == ADMIN_STATE_DRAINING
        assert (await hub.get_endpoint(id_)).admin_state == ADMIN_STATE_ENABLED
        for change, state in (
            (hub.drain, ADMIN_STATE_DRAINING),
            (hub.disable, ADMIN_STATE_DISABLED),
            (hub.enable, ADMIN_STATE_ENABLED),
        ):
            assert (await change(id_)).endpoint.admin_state == state
        with pytest.raises(CallFailed) as raised:
            await hub.remove(id_, etag=registered.etag)
        assert raised.value.reason == "ETAG_MISMATCH"
        await hub.remove(id_)
        with pytest.raises(CallFailed) as raised:
            await hub.remove(id_)
        assert raised.value.reason == "ENDPOINT_NOT_FOUND"


async def test_errors_of_a_request_are_in_fields(process: HubProcess) -> None:
    async with hub_of(process) as hub:
        with pytest.raises(ClientError, match="scheme"):
            await hub.register("ftp://127.0.0.1")
        with pytest.raises(CallFailed) as raised:
            await hub.register("127.0.0.1:2", name="a\nb", labels={"b d": "x"})
        assert raised.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert {each.field for each in raised.value.violations} == {"name", 'labels["b d"]'}
        assert all(each.description and each.reason for each in raised.value.violations)
        with pytest.raises(CallFailed) as raised:
            await hub.register("192.0.2.1")
        assert raised.value.reason == "TARGET_FORBIDDEN"


async def test_tokens(process: HubProcess) -> None:
    async with hub_of(process) as hub:
        created = await hub.create_token(ROLE_READER, ttl_s=90, description="a service")
        info = created.token_info
        assert info.expires_at.seconds - info.created_at.seconds == 90
        listed = [each async for each in hub.list_tokens(include_expired=True)]
        assert info in listed
        async with hub_of(process, created.token) as reader:
            with pytest.raises(CallFailed) as raised:
                await reader.server_info()
            assert raised.value.reason == "ROLE_FORBIDDEN"
        await hub.revoke_token(info.id)
        assert info not in [each async for each in hub.list_tokens()]
        with pytest.raises(CallFailed) as raised:
            await hub.revoke_token(info.id)
        assert raised.value.reason == "TOKEN_NOT_FOUND"


async def test_aliases(process: HubProcess) -> None:
    async with hub_of(process) as hub:
        alias = ModelAlias(name="small", targets=[AliasTarget(model="llama3.2:3b")])
        stored = await hub.set_alias(alias)
        assert [each async for each in hub.list_aliases()] == [stored]
        with pytest.raises(CallFailed) as raised:
            await hub.remove_alias("small", etag="other")
        assert raised.value.reason == "ETAG_MISMATCH"
        await hub.remove_alias("small", etag=stored.etag)
        assert [each async for each in hub.list_aliases()] == []
        with pytest.raises(CallFailed) as raised:
            await hub.remove_alias("small")
        assert raised.value.reason == "ALIAS_NOT_FOUND"


async def test_changes_are_in_the_audit_trail(process: HubProcess) -> None:
    async with hub_of(process) as hub:
        await hub.register("127.0.0.1:3")
        await hub.remove("127.0.0.1:3")
        resource = "endpoints/127.0.0.1:3"
        events = [each async for each in hub.list_audit_events(resource=resource)]
        assert [each.action for each in events] == ["RemoveEndpoint", "RegisterEndpoint"]
        author = events[0].token_id
        assert [each async for each in hub.list_audit_events(token_id="t-other")] == []
        assert events[0] in [each async for each in hub.list_audit_events(token_id=author)]


async def test_sidecars_and_the_hub_itself(process: HubProcess) -> None:
    async with hub_of(process) as hub:
        token = (await hub.create_token(ROLE_SIDECAR, agent_id="node-1")).token
        with connect(f"ws://{process.ws}/ws", proxy=None) as sidecar:
            sidecar.send(json.dumps({"type": "identify", "agent_id": "node-1", "token": token}))
            assert json.loads(sidecar.recv(30))["type"] == "identified"
            assert [each.agent_id async for each in hub.list_sidecars()] == ["node-1"]
            info = await hub.server_info()
            assert (info.sidecar_count, info.grpc_address) == (1, process.grpc)
            await hub.disconnect_sidecar("node-1", reason="maintenance")
            with pytest.raises(ConnectionClosedOK, match="maintenance"):
                sidecar.recv(30)
        # The hub keeps the sidecar until the connection is closed on both sides.
        ends_s = monotonic() + 30
        while [each async for each in hub.list_sidecars()] and monotonic() < ends_s:
            pass
        with pytest.raises(CallFailed) as raised:
            await hub.disconnect_sidecar("node-1")
        assert raised.value.reason == "SIDECAR_NOT_FOUND"


def test_every_rpc_has_a_method_of_its_own() -> None:
    methods = (each for _, each in inspect.getmembers(AsyncHub, inspect.isfunction))
    assert set(METHODS) <= {constant for each in methods for constant in each.__code__.co_consts}


async def test_a_disallowed_action_fails_with_its_reason(process: HubProcess) -> None:
    async with hub_of(process) as hub:
        for act in (hub.load_model, hub.unload_model):
            with pytest.raises(CallFailed) as raised:
                await act("127.0.0.1:1", "a:1", timeout_s=5.0, validate_only=True)
            assert raised.value.reason == "ACTIONS_DISABLED"
