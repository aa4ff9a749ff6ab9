"""The authorization matrix: who may call what, over the sockets of a running hub.

The tables say what must hold and take nothing from the hub's own table of roles. The rows
are compared with what the hub serves: its reflection lists the RPCs, its router the HTTP
routes, the contract the frames. So one that is added fails here until it has a row.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from hub.base.clock import ManualClock
from hub.contract import rpcs
from hub.transports.grpc.engines import for_gateways
from llmhub.v1 import frame_pb2
from llmhub.v1.frame_pb2 import HubFrame, IdentifyRequest, PingRequest, SidecarFrame
from tests.support.bearers import AGENT, Bearers, make_bearers
from tests.support.hub import RunningHub, failure, running_hub

OK, ROLE, SCOPE, TOKEN = "allowed", "role_forbidden", "scope_forbidden", "invalid_token"

INVALID = (
    *("none", "garbage", "forged"),
    *("revoked reader", "revoked admin", "revoked own sidecar"),
    *("expired reader", "expired admin", "expired own sidecar"),
)
VALID = ("reader", "admin", "own sidecar", "other sidecar")
# Callers with a scope, and the role that they have less than.
SCOPED = {
    "reader out of scope": "reader",
    "admin out of scope": "admin",
    "own sidecar out of scope": "own sidecar",
    "reader of a part": "reader",
    "read-only admin": "admin",
}
BEARERS = (*INVALID, *VALID, *SCOPED)

ALLOWED = {
    "anyone": BEARERS,
    "reader": ("reader", "admin"),
    "admin": ("admin",),
    "sidecar": ("own sidecar", "other sidecar"),
}

RPC_ACCESS = {
    "llmhub.v1.RegistryService/GetEndpoint": "reader",
    "llmhub.v1.RegistryService/GetResources": "reader",
    "llmhub.v1.RegistryService/GetSnapshot": "reader",
    "llmhub.v1.RegistryService/ListEndpoints": "reader",
    "llmhub.v1.RegistryService/ListModelAliases": "reader",
    "llmhub.v1.RegistryService/ListModels": "reader",
    "llmhub.v1.RegistryService/ReleaseSelection": "reader",
    "llmhub.v1.RegistryService/SelectEndpoint": "reader",
    "llmhub.v1.RegistryService/WatchRegistry": "reader",
    "llmhub.v1.AdminService/CheckEndpoint": "admin",
    "llmhub.v1.AdminService/CreateToken": "admin",
    "llmhub.v1.AdminService/DisconnectSidecar": "admin",
    "llmhub.v1.AdminService/GetServerInfo": "admin",
    "llmhub.v1.AdminService/ListAuditEvents": "admin",
    "llmhub.v1.AdminService/ListSidecars": "admin",
    "llmhub.v1.AdminService/ListTokens": "admin",
    "llmhub.v1.AdminService/LoadModel": "admin",
    "llmhub.v1.AdminService/RegisterEndpoint": "admin",
    "llmhub.v1.AdminService/RemoveEndpoint": "admin",
    "llmhub.v1.AdminService/RemoveModelAlias": "admin",
    "llmhub.v1.AdminService/RevokeToken": "admin",
    "llmhub.v1.AdminService/SetModelAlias": "admin",
    "llmhub.v1.AdminService/UnloadModel": "admin",
    "llmhub.v1.AdminService/UpdateEndpoint": "admin",
    # Its frames prove who calls, see FRAME_ACCESS.
    "llmhub.v1.SidecarService/Connect": "anyone",
    "llmhub.v1.SidecarService/Identify": "sidecar",
    "llmhub.v1.SidecarService/Ping": "sidecar",
    "llmhub.v1.SidecarService/ReportEndpoint": "sidecar",
    "llmhub.v1.SidecarService/ReportModelAction": "sidecar",
    "llmhub.v1.SidecarService/ReportOllama": "sidecar",
    "llmhub.v1.SidecarService/ReportResources": "sidecar",
    "grpc.health.v1.Health/Check": "anyone",
    "grpc.health.v1.Health/List": "anyone",
    "grpc.health.v1.Health/Watch": "anyone",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": "anyone",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "anyone",
}

# A picker's stream gets the endpoints' API keys.
GATEWAY_ACCESS = {
    "envoy.service.ext_proc.v3.ExternalProcessor/Process": "admin",
    "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": "reader",
    "envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints": "reader",
}

FRAME_ACCESS = {
    "identify": "own sidecar",
    "ollama_report": "identified",
    "endpoint_report": "identified",
    "resource_report": "identified",
    "ping": "identified",
    "model_action_result": "identified",
}

# What an identify frame of the agent gets, if it is not "invalid_token".
IDENTIFY = {
    "own sidecar": "identified",
    "own sidecar out of scope": "identified",
    "other sidecar": "token_agent_mismatch",
}

_ADMIN_API = "/api/admin/llm-registry"
_SESSION = "/api/dashboard/session"
ROUTE_ACCESS = {
    "GET /": "anyone",
    "GET /dashboard/{build}/{name}": "anyone",
    "GET /healthz": "anyone",
    "GET /readyz": "anyone",
    f"GET {_SESSION}": "anyone",
    f"DELETE {_SESSION}": "anyone",
    f"POST {_SESSION}": "reader",
    "GET /api/dashboard/stream": "reader",
    "GET /metrics": "reader",
    "GET /api/models": "reader",
    "GET /api/schemas": "reader",
    "GET /api/descriptors": "reader",
    "GET /api/openapi.json": "anyone",
    "GET /api/discovery/prometheus": "reader",
    "GET /api/discovery/traefik": "reader",
    "POST /v3/discovery:endpoints": "reader",
    f"GET {_ADMIN_API}": "reader",
    f"GET {_ADMIN_API}/snapshot": "reader",
    f"GET {_ADMIN_API}/{{id}}": "reader",
    f"POST {_ADMIN_API}": "admin",
    f"PATCH {_ADMIN_API}/{{id}}": "admin",
    f"DELETE {_ADMIN_API}/{{id}}": "admin",
    f"POST {_ADMIN_API}/{{id}}/check": "admin",
    "GET /api/admin/backup": "admin",
    # Every unary RPC of services and admins, for the same callers as over gRPC.
    **{
        f"POST /api/rpc/{path.rpartition('/')[2]}": who
        for path, who in RPC_ACCESS.items()
        if who in ("reader", "admin") and not path.endswith(("/WatchRegistry", "/GetSnapshot"))
    },
}
IN_SCOPE = {
    "reader out of scope": {"GET /api/schemas"},
    "admin out of scope": {"GET /api/schemas"},
    "own sidecar out of scope": {
        "llmhub.v1.SidecarService/Identify",
        "llmhub.v1.SidecarService/Ping",
    },
    # The endpoint that the row names is beyond the part, so its route is, too.
    "reader of a part": {
        *(row for row in RPC_ACCESS if row.startswith("llmhub.v1.RegistryService/")),
        *(
            f"POST /api/rpc/{path.rpartition('/')[2]}"
            for path in RPC_ACCESS
            if path.startswith("llmhub.v1.RegistryService/")
        ),
        *(f"GET {_ADMIN_API}", f"GET {_ADMIN_API}/snapshot", "GET /api/schemas"),
        *("GET /api/descriptors", "GET /api/models"),
    },
    "read-only admin": {
        *(
            row
            for row, who in (RPC_ACCESS | ROUTE_ACCESS | GATEWAY_ACCESS).items()
            if who == "reader"
        ),
        *(
            before + name
            for before in ("llmhub.v1.AdminService/", "POST /api/rpc/")
            for name in ("GetServerInfo", "ListAuditEvents", "ListSidecars", "ListTokens")
        ),
    },
}
WITHOUT_HEAD = {"GET /api/dashboard/stream", "GET /api/admin/backup"}

_DEADLINE_S = 30.0


@asynccontextmanager
async def hub_and_bearers(tmp_path) -> AsyncIterator[tuple[RunningHub, Bearers]]:
    clock = ManualClock()
    # No limit but authorization may refuse a cell.
    async with running_hub(tmp_path, clock, rate_limits={"enabled": False}) as hub:
        bearers = await make_bearers(hub, clock)
        assert set(bearers.tokens) == set(BEARERS)
        yield hub, bearers


def expected(row: str, access: str) -> dict[str, str]:
    """The outcome of a row by each caller."""
    cells = dict.fromkeys(VALID, ROLE) | dict.fromkeys(INVALID, TOKEN)
    cells |= dict.fromkeys(ALLOWED[access], OK)
    # A scope takes away; what the role may not do is refused for the role.
    for name, role in SCOPED.items():
        is_left = access == "anyone" or row.replace("HEAD ", "GET ") in IN_SCOPE[name]
        # The response to HEAD has no body that could tell the one from the other.
        beyond = ROLE if row.startswith("HEAD") else SCOPE
        cells[name] = beyond if cells[role] == OK and not is_left else cells[role]
    return cells


def different(actual: dict[str, dict[str, str]], rows: dict[str, dict[str, str]]) -> list[str]:
    """The cells that are not as they must be, in a form that is short to read."""
    assert set(actual) == set(rows)
    return [
        f"{row} by {bearer}: {actual[row].get(bearer)}, not {outcome}"
        for row, cells in rows.items()
        for bearer, outcome in cells.items()
        if actual[row].get(bearer) != outcome
    ]


# RPCs


@pytest.mark.usefixtures("grpc_engine")
async def test_every_rpc_by_every_caller(tmp_path):
    async with hub_and_bearers(tmp_path) as (hub, bearers):
        served = await served_rpcs(hub.channel)
        assert {path: RPC_ACCESS.get(path, "has no row") for path in served} == RPC_ACCESS
        actual = {
            path: {
                name: await rpc_outcome(hub, path, token) for name, token in bearers.tokens.items()
            }
            for path in RPC_ACCESS
        }
    assert different(actual, {path: expected(path, who) for path, who in RPC_ACCESS.items()}) == []


@pytest.mark.usefixtures("grpc_engine")
async def test_every_method_of_gateways_by_every_caller(tmp_path):
    """Reflection does not list them, because the hub knows only a part of Envoy's messages."""
    clock = ManualClock()
    options = {"rate_limits": {"enabled": False}, "gateway": {"enabled": True}}
    async with running_hub(tmp_path, clock, **options) as hub:
        listeners = hub.hub._listeners
        assert listeners is not None
        served = for_gateways(hub.settings, listeners._http._context).methods
        assert {each.path.removeprefix("/") for each in served} == set(GATEWAY_ACCESS)
        bearers = await make_bearers(hub, clock)
        actual = {
            path: {
                name: await rpc_outcome(hub, path, token) for name, token in bearers.tokens.items()
            }
            for path in GATEWAY_ACCESS
        }
    rows = {path: expected(path, who) for path, who in GATEWAY_ACCESS.items()}
    assert different(actual, rows) == []


async def served_rpcs(channel: grpc.aio.Channel) -> set[str]:
    """The full names of all methods, as the hub's own reflection lists them."""
    stub = ServerReflectionStub(channel)

    async def reflected(**question: str) -> Any:
        call = stub.ServerReflectionInfo(
            iter([ServerReflectionRequest(**question)]), timeout=_DEADLINE_S
        )
        async for answer in call:
            return answer
        raise AssertionError("reflection did not answer")

    names = [s.name for s in (await reflected(list_services="")).list_services_response.service]
    found = set()
    for name in names:
        answer = await reflected(file_containing_symbol=name)
        for encoded in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
            for service in file.service:
                if f"{file.package}.{service.name}" == name:
                    found |= {f"{name}/{method.name}" for method in service.method}
    return found


async def rpc_outcome(hub: RunningHub, path: str, token: str) -> str:
    """Calls with an empty request, which changes nothing even where it is allowed."""
    request = b""
    if path.endswith("SidecarService/Connect"):
        request = SidecarFrame(ping=PingRequest()).SerializeToString()
    # One message and the end of the requests, which every kind of method takes.
    method = hub.channel.unary_stream(f"/{path}")
    call = method(request, metadata=hub.metadata(token), timeout=_DEADLINE_S)
    try:
        async for _reply in call:
            return OK
    except grpc.aio.AioRpcError as error:
        if path.startswith("grpc."):
            # These services are older than the hub's error details.
            return OK if error.code() is grpc.StatusCode.UNIMPLEMENTED else f"{error.code()}"
        refused = {"INVALID_TOKEN": TOKEN, "ROLE_FORBIDDEN": ROLE, "SCOPE_FORBIDDEN": SCOPE}
        return refused.get(failure(error).reason, OK)
    finally:
        call.cancel()
    return OK


@pytest.mark.usefixtures("grpc_engine")
async def test_identify_is_for_the_tokens_own_agent(tmp_path):
    async with hub_and_bearers(tmp_path) as (hub, bearers):
        actual = {}
        for name, token in bearers.tokens.items():
            request = IdentifyRequest(agent_id=AGENT, token=token or "none")
            try:
                await hub.call("Identify", request, token=token)
                actual[name] = OK
            except grpc.aio.AioRpcError as error:
                actual[name] = failure(error).reason.lower()
    wanted = expected("llmhub.v1.SidecarService/Identify", "sidecar") | {
        "other sidecar": "token_agent_mismatch"
    }
    assert actual == wanted


async def test_a_token_of_the_call_does_not_prove_another_in_the_request(tmp_path):
    async with hub_and_bearers(tmp_path) as (hub, bearers):
        for stolen in ("other sidecar", "admin", "revoked own sidecar", "expired own sidecar"):
            request = IdentifyRequest(agent_id=AGENT, token=bearers.tokens[stolen])
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await hub.call("Identify", request, token=bearers.tokens["own sidecar"])
            assert failure(refused.value).reason == "INVALID_TOKEN", stolen


# Frames


def test_every_frame_has_a_row():
    fields = frame_pb2.SidecarFrame.DESCRIPTOR.oneofs_by_name["frame"].fields
    assert {field.name for field in fields} == set(FRAME_ACCESS)


@pytest.mark.usefixtures("grpc_engine")
@pytest.mark.parametrize("transport", ["ws", "grpc"])
async def test_every_frame_by_every_caller(tmp_path, transport):
    converse = over_websocket if transport == "ws" else over_grpc
    async with hub_and_bearers(tmp_path) as (hub, bearers):
        for name, token in bearers.tokens.items():
            wanted = dict.fromkeys(FRAME_ACCESS, "not_identified")
            wanted["identify"] = IDENTIFY.get(name, "invalid_token")
            if wanted["identify"] == "identified":
                wanted |= dict.fromkeys(set(FRAME_ACCESS) - {"identify"}, OK)
            if name == "own sidecar out of scope":
                wanted |= dict.fromkeys(set(FRAME_ACCESS) - {"identify", "ping"}, SCOPE)
            async with converse(hub) as ask:
                # An empty token would be an invalid frame, not a wrong token.
                actual = {"identify": await ask("identify", {"token": token or "none"})}
                for kind in set(FRAME_ACCESS) - {"identify"}:
                    said = await ask(kind, {})
                    actual[kind] = said if said in ("not_identified", SCOPE) else OK
            assert actual == wanted, name


@asynccontextmanager
async def over_websocket(hub: RunningHub) -> AsyncIterator[Any]:
    async with hub.socket() as socket:

        async def ask(kind: str, fields: dict[str, str]) -> str:
            agent = {"agent_id": AGENT} if kind == "identify" else {}
            said = await socket.ask({"type": kind, **agent, **fields}) if answers(kind) else None
            if said is None:
                await socket.send({"type": kind, **fields})
                # A frame without an answer is followed by one that has one.
                said = await socket.ask({"type": "ping"})
                if said["type"] != "pong":
                    await socket.receive()
            return said["error"] if said["type"] == "error" else said["type"]

        yield ask


@asynccontextmanager
async def over_grpc(hub: RunningHub) -> AsyncIterator[Any]:
    method = hub.channel.stream_stream(
        rpcs.rpc("Connect").path,
        request_serializer=SidecarFrame.SerializeToString,
        response_deserializer=HubFrame.FromString,
    )
    call = method(timeout=_DEADLINE_S)

    async def said() -> str:
        frame = await call.read()
        kind = frame.WhichOneof("frame")
        return frame.error.error if kind == "error" else kind

    async def ask(kind: str, fields: dict[str, str]) -> str:
        agent = {"agent_id": AGENT} if kind == "identify" else {}
        await call.write(SidecarFrame(**{kind: {**agent, **fields}}))
        if answers(kind):
            return await said()
        await call.write(SidecarFrame(ping=PingRequest()))
        first = await said()
        if first != "pong":
            await said()
        return first

    try:
        yield ask
    finally:
        call.cancel()


def answers(kind: str) -> bool:
    return kind not in ("resource_report", "model_action_result")


# HTTP routes


async def test_every_route_by_every_caller(tmp_path):
    async with hub_and_bearers(tmp_path) as (hub, bearers):
        rows = ROUTE_ACCESS | {
            row.replace("GET", "HEAD", 1): who
            for row, who in ROUTE_ACCESS.items()
            if row.startswith("GET") and row not in WITHOUT_HEAD
        }
        served = served_routes(hub)
        assert {route: rows.get(route, "has no row") for route in served} == rows
        actual = {
            row: {
                name: await route_outcome(hub, row, token) for name, token in bearers.tokens.items()
            }
            for row in rows
        }
    assert different(actual, {row: expected(row, who) for row, who in rows.items()}) == []


def served_routes(hub: RunningHub) -> set[str]:
    """Every method and path of the running server's router."""
    listeners = hub.hub._listeners
    assert listeners is not None
    runner = listeners._http._runner
    assert runner is not None
    routes = runner.app.router.routes()
    return {f"{each.method} {each.resource.canonical}" for each in routes if each.resource}


async def route_outcome(
    hub: RunningHub, row: str, token: str, headers: dict[str, str] | None = None
) -> str:
    method, _, template = row.partition(" ")
    path = template.format(id="127.0.0.1:9", build="none", name="none")
    sent = {name.title(): value for name, value in hub.metadata(token)}
    if path == _SESSION:
        sent |= OWN_PAGE
    body = {"token": token} if (method, path) == ("POST", _SESSION) else {}
    async with hub.session.request(
        method,
        f"http://{hub.http_address}{path}",
        headers=sent | (headers or {}),
        json=body if method in ("POST", "PATCH") else None,
        timeout=aiohttp.ClientTimeout(total=_DEADLINE_S),
    ) as response:
        hub.session.cookie_jar.clear()
        if response.status == 403:
            body = await response.read()
            return SCOPE if b"scope" in body or b"read-only" in body else ROLE
        return TOKEN if response.status == 401 else OK


# Browser sessions

OWN_PAGE = {"X-LLM-Hub": "1", "Sec-Fetch-Site": "same-origin"}
OTHER_PAGE = {"X-LLM-Hub": "1", "Sec-Fetch-Site": "cross-site"}

SESSIONS = {
    "session of reader": "reader",
    "session of admin": "admin",
    "session of read-only admin": "read-only admin",
    "session of revoked reader": TOKEN,
    "session of revoked admin": TOKEN,
    "session of expired reader": TOKEN,
    "session of expired admin": TOKEN,
}


async def test_every_route_by_every_browser_session(tmp_path):
    # Signing in reads the token of the request's body, never the cookie.
    rows = {row: who for row, who in ROUTE_ACCESS.items() if row != f"POST {_SESSION}"}
    # Signing out would end the session that the next rows need.
    del rows[f"DELETE {_SESSION}"]
    async with hub_and_bearers(tmp_path) as (hub, bearers):
        assert set(bearers.cookies) == set(SESSIONS)
        wanted, actual = {}, {}
        for row, who in rows.items():
            for name, role in SESSIONS.items():
                cookie = {"Cookie": bearers.cookies[name]}
                cell = f"{row} by {name}"
                as_token = expected(row, who).get(role, role)
                wanted[cell] = OK if who == "anyone" else as_token
                actual[cell] = await route_outcome(hub, row, "", cookie | OWN_PAGE)
                # A page of another origin, or one that cannot set the header, gets nothing.
                for page in (OTHER_PAGE, {}) if row != f"GET {_SESSION}" else ():
                    foreign = f"{cell} from {page or 'a plain link'}"
                    wanted[foreign] = OK if who == "anyone" else ROLE
                    actual[foreign] = await route_outcome(hub, row, "", cookie | page)
    assert {c: o for c, o in actual.items() if o != wanted[c]} == {}
