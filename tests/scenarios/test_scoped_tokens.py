"""Tokens that are limited to less than their role, over the sockets of a running hub."""

import asyncio
from pathlib import Path

import grpc
import pytest

from hub.base.clock import ManualClock
from hub.contract import rpcs
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    ListTokensRequest,
    RegisterEndpointRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.frame_pb2 import IdentifyRequest, ReportEndpointRequest
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    SelectEndpointRequest,
    WatchRegistryRequest,
    WatchRegistryResponse,
)
from llmhub.v1.resources_pb2 import (
    EVENT_TYPE_DELETE,
    ROLE_ADMIN,
    ROLE_READER,
    ROLE_SIDECAR,
    TokenInfo,
    TokenScope,
)
from tests.support.fleet import saw
from tests.support.fleet_of import loaded
from tests.support.hub import REGISTRY_PATH, RunningHub, failure_of, running_hub

pytestmark = pytest.mark.usefixtures("grpc_engine")

LAB, WEB = "127.0.0.1:1", "127.0.0.1:2"


async def two_endpoints(hub: RunningHub) -> None:
    for port, site in ((1, "lab"), (2, "web")):
        request = RegisterEndpointRequest(
            host="127.0.0.1", port=port, labels={"site": site}, agent_id=f"gpu-{site}"
        )
        await hub.call("RegisterEndpoint", request)
        fleet = hub.hub._fleet
        assert fleet is not None
        fleet.registry.observe(f"127.0.0.1:{port}", saw(models=(loaded("m"), loaded(site))))


async def scoped(hub: RunningHub, role: int, agent_id: str = "", **limits: object) -> str:
    created = await hub.created_token(role, agent_id, scope=TokenScope(**limits))
    assert created.token_info.HasField("scope")
    return created.token


async def test_a_limit_that_only_a_newer_hub_knows_refuses_every_call(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        storage = hub.hub._storage
        tokens = {}
        for role, agent_id in ((ROLE_READER, ""), (ROLE_ADMIN, ""), (ROLE_SIDECAR, "gpu-1")):
            scope = TokenScope()
            scope.MergeFromString(b"\x7a\x03new")
            minted = storage.access.tokens.mint(role, agent_id, None, "", 0, scope)
            await storage.store.commit([minted[2]])
            tokens[role] = minted[0]
        for role in (ROLE_READER, ROLE_ADMIN):
            refused = await failure_of(hub.call("GetSnapshot", token=tokens[role]))
            assert (refused.reason, refused.metadata) == ("SCOPE_FORBIDDEN", {"scope": "unknown"})
            assert "upgrade the hub" in refused.message
            assert (await hub.http("GET", REGISTRY_PATH, token=tokens[role])).status == 403
            body, headers = {"token": tokens[role]}, {"X-LLM-Hub": "1"}
            answer = await hub.http(
                "POST", "/api/dashboard/session", body=body, token="", headers=headers
            )
            assert (answer.status, answer.json["error"]) == (403, "forbidden")
        identify = IdentifyRequest(agent_id="gpu-1", token=tokens[ROLE_SIDECAR])
        refused = await failure_of(hub.call("Identify", identify, token=tokens[ROLE_SIDECAR]))
        assert refused.reason == "SCOPE_FORBIDDEN"
        async with hub.socket() as socket:
            said = await socket.ask(
                {"type": "identify", "agent_id": "gpu-1", "token": tokens[ROLE_SIDECAR]}
            )
            assert said["error"] == "scope_forbidden"


async def test_a_reader_of_a_label_sees_and_selects_nothing_else(tmp_path: Path) -> None:
    async with running_hub(tmp_path, ManualClock()) as hub:
        await two_endpoints(hub)
        token = await scoped(hub, ROLE_READER, labels={"site": "lab"})
        snapshot = (await hub.call("GetSnapshot", token=token)).snapshot
        assert [endpoint.id for endpoint in snapshot.endpoints] == [LAB]
        assert dict(snapshot.fleet_models) == {"lab": 1, "m": 1}
        over_http = await hub.http("GET", REGISTRY_PATH, token=token)
        assert [endpoint["id"] for endpoint in over_http.json["endpoints"]] == [LAB]

        beyond = GetEndpointRequest(id=WEB)
        refused = await failure_of(hub.call("GetEndpoint", beyond, token=token))
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED
        assert (refused.reason, refused.metadata) == ("SCOPE_FORBIDDEN", {"scope": "labels"})
        assert refused.message == f"the token's scope (labels) does not include the endpoint {WEB}"
        answer = await hub.http("GET", f"{REGISTRY_PATH}/{WEB}", token=token)
        assert (answer.status, answer.json) == (
            403,
            {"error": "forbidden", "detail": refused.message},
        )
        for _ in range(5):
            selected = await hub.call(
                "SelectEndpoint", SelectEndpointRequest(model="m"), token=token
            )
            assert [each.endpoint.id for each in selected.selections] == [LAB]


async def test_a_watch_follows_what_enters_and_leaves_the_scope(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        await two_endpoints(hub)
        token = await scoped(hub, ROLE_READER, labels={"site": "lab"})
        called = rpcs.rpc("WatchRegistry")
        watch = hub.channel.unary_stream(
            called.path,
            request_serializer=WatchRegistryRequest.SerializeToString,
            response_deserializer=WatchRegistryResponse.FromString,
        )(WatchRegistryRequest(), metadata=hub.metadata(token), timeout=60)
        seen: dict[str, str] = {}

        async def until(wanted: set[str]) -> None:
            async with asyncio.timeout(30):
                while set(seen) != wanted:
                    for event in (await watch.read()).events:
                        if event.type == EVENT_TYPE_DELETE:
                            seen.pop(event.endpoint.id)
                        else:
                            seen[event.endpoint.id] = event.endpoint.labels["site"]
                        assert set(seen.values()) <= {"lab"}

        async def relabel(id_: str, site: str) -> None:
            change = UpdateEndpointRequest(endpoint=Endpoint(id=id_, labels={"site": site}))
            await hub.call("UpdateEndpoint", change)

        await until({LAB})
        await relabel(WEB, "lab")
        await until({LAB, WEB})
        await relabel(LAB, "web")
        await until({WEB})
        watch.cancel()


async def test_a_sidecar_registers_only_where_its_scope_allows(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        token = await scoped(hub, ROLE_SIDECAR, "gpu-1", addresses=["127.0.0.1:11434"])
        allowed = ReportEndpointRequest(url="127.0.0.1")
        assert (await hub.call("ReportEndpoint", allowed, token=token)).status == "registered"
        for name, request in (
            ("ReportEndpoint", ReportEndpointRequest(url="127.0.0.1:9")),
            ("Identify", IdentifyRequest(agent_id="gpu-1", token=token, ollama_url="127.0.0.1:9")),
        ):
            refused = await failure_of(hub.call(name, request, token=token))
            assert refused.reason == "SCOPE_FORBIDDEN", name
            assert "does not include the address" in refused.message
        async with hub.sidecar("gpu-1", token=token) as socket:
            said = await socket.ask({"type": "endpoint_report", "url": "http://127.0.0.1:9"})
            assert said["error"] == "scope_forbidden"
            assert said["detail"].endswith("does not include the address localhost:9") or said[
                "detail"
            ].endswith("does not include the address 127.0.0.1:9")
        assert len((await hub.snapshot()).endpoints) == 1


async def test_a_read_only_admin_reads_and_creates_nothing(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        token = await scoped(hub, ROLE_ADMIN, read_only=True)
        assert len((await hub.call("ListTokens", token=token)).tokens) == 2
        request = CreateTokenRequest(role=ROLE_ADMIN)
        refused = await failure_of(hub.call("CreateToken", request, token=token))
        assert refused.reason == "SCOPE_FORBIDDEN"
        body = {"host": "127.0.0.1"}
        answer = await hub.http("POST", REGISTRY_PATH, token=token, body=body)
        assert answer.status == 403
        assert answer.json["detail"].startswith("the token is read-only")
        headers = {"X-LLM-Hub": "1", "Sec-Fetch-Site": "same-origin"}
        signed_in = await hub.http(
            "POST", "/api/dashboard/session", token="", body={"token": token}, headers=headers
        )
        # The dashboard offers what a reader may do.
        assert (signed_in.status, signed_in.json["role"]) == (200, "reader")


async def test_an_admin_without_the_call_cannot_widen_itself(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        token = await scoped(hub, ROLE_ADMIN, rpcs=["RevokeToken", "GetSnapshot"])
        await hub.call("GetSnapshot", token=token)
        for name in ("CreateToken", "ListTokens", "RegisterEndpoint"):
            refused = await failure_of(hub.call(name, token=token))
            assert refused.reason == "SCOPE_FORBIDDEN", name


async def test_scopes_and_last_uses_outlive_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_hub(tmp_path, clock) as hub:
        await two_endpoints(hub)
        token = await scoped(hub, ROLE_READER, models=["lab"])
        unused = await hub.created_token(ROLE_READER)
        clock.advance(5_000)
        await hub.call("GetSnapshot", token=token)
        used_at = clock.now_ms()
    async with running_hub(tmp_path, clock) as hub:
        snapshot = (await hub.call("GetSnapshot", token=token)).snapshot
        # What a restart restores is within the scope, too.
        assert {model.name for each in snapshot.endpoints for model in each.models} <= {"lab"}
        listed = (await hub.call("ListTokens", ListTokensRequest())).tokens
        infos: dict[str, TokenInfo] = {info.id: info for info in listed}
        info = infos[token[7:19]]
        assert list(info.scope.models) == ["lab"]
        assert (info.last_used_at.ToMilliseconds(), info.last_used_from) == (used_at, "127.0.0.1")
        assert not infos[unused.token_info.id].HasField("last_used_at")
