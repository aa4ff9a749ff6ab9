"""The one way in, with the real tokens, limiters and handlers."""

import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import CoroutineType
from typing import Any

import pytest
from structlog.testing import capture_logs

from hub.base.clock import ManualClock
from hub.contract.errors import (
    EndpointNotFound,
    FieldViolation,
    HubError,
    InvalidToken,
    NotImplementedYet,
    RateLimited,
    RoleForbidden,
    ValidationFailed,
)
from hub.contract.rpcs import RPCS, Tier, rpc
from hub.service.access.access_control import AccessControl, BearerToken
from hub.service.access.browser_sessions import BrowserSessions
from hub.service.access.caller import Caller, Principal
from hub.service.access.rate_limits import RateDecision, RateLimiter
from hub.service.access.tokens import TokenRegistry
from hub.service.dispatcher import Called, Dispatcher, Received
from hub.service.live_streams import LiveStreams
from hub.service.operations import CLOSE_BROWSER_SESSION, OPERATIONS
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RevokeTokenRequest,
)
from llmhub.v1.frame_pb2 import PingRequest, PingResponse, ReportResourcesRequest
from llmhub.v1.registry_service_pb2 import GetEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, Role
from tests.support.core import Core, running_core
from tests.support.fleet import NOW


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def caller(role: Role, agent_id: str = "", token_id: str = "t") -> Caller:
    return Caller(Principal(role, agent_id, token_id), "10.0.0.9", "grpc")


def dispatch(
    core: Core,
    name: str,
    who: Caller,
    request: object = None,
    now_ms: int = NOW,
    violations: Sequence[FieldViolation] = (),
    **options: Any,
) -> Any:
    called = rpc(name)
    received = Received(request if request is not None else called.request(), violations)
    return core.dispatcher.dispatch(called, who, lambda: received, now_ms, **options)


class Reached(Exception):
    """Access was granted: the request is about to be read."""


def reach() -> Received:
    raise Reached


MAY = {
    ROLE_ADMIN: {ROLE_ADMIN, ROLE_READER},
    ROLE_READER: {ROLE_READER},
    ROLE_SIDECAR: {ROLE_SIDECAR},
}


@pytest.mark.parametrize("called", [*RPCS, *OPERATIONS], ids=lambda called: called.name)
async def test_each_role_may_call_its_services(core: Core, called: Called) -> None:
    for role, allowed in MAY.items():
        who = caller(role, "node-1" if role == ROLE_SIDECAR else "")
        expected = Reached if called.role is None or called.role in allowed else RoleForbidden
        with pytest.raises(expected):
            core.dispatcher.dispatch(called, who, reach, NOW)


async def test_the_caller_is_known_and_within_its_limit_before_the_request_is_read(
    tmp_path: Path,
) -> None:
    async with running_core(tmp_path, per_minute={Tier.NORMAL: 1}) as core:
        called = rpc("GetEndpoint")
        wrong = BearerToken("nonsense", "10.0.0.9", "grpc")
        with pytest.raises(InvalidToken):
            core.dispatcher.dispatch(called, wrong, reach, NOW)
        reader = caller(ROLE_READER)
        with pytest.raises(Reached):
            core.dispatcher.dispatch(called, reader, reach, NOW)
        with pytest.raises(RateLimited):
            core.dispatcher.dispatch(called, reader, reach, NOW)


async def test_a_connections_caller_is_valid_until_its_token_expires(core: Core) -> None:
    agent = Caller(Principal(ROLE_SIDECAR, "node-1", "t", NOW + 1_000), "10.0.0.9", "ws")
    assert isinstance(dispatch(core, "Ping", agent, now_ms=NOW + 999), PingResponse)
    with pytest.raises(InvalidToken):
        dispatch(core, "Ping", agent, now_ms=NOW + 1_000)


async def test_permission_comes_before_existence_and_validity(core: Core) -> None:
    await core.as_admin("RegisterEndpoint", RegisterEndpointRequest(host="gpu-1"))
    refusals = set()
    for request in (
        RemoveEndpointRequest(id="gpu-1:11434"),
        RemoveEndpointRequest(id="not-there:1"),
        RemoveEndpointRequest(),
    ):
        with pytest.raises(RoleForbidden) as refused:
            await core.as_reader("RemoveEndpoint", request)
        refusals.add((str(refused.value), tuple(refused.value.metadata)))
    assert len(refusals) == 1
    assert core.ids() == ["gpu-1:11434"]


def missing(core: Core, who: Caller, now_ms: int = NOW) -> HubError:
    with pytest.raises(HubError) as refused:
        dispatch(core, "GetEndpoint", who, GetEndpointRequest(id="a:1"), now_ms)
    return refused.value


async def test_a_forbidden_call_costs_nothing(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.NORMAL: 1}) as core:
        reader = caller(ROLE_READER)
        for _ in range(3):
            with pytest.raises(RoleForbidden):
                dispatch(core, "RemoveEndpoint", reader)
        assert not isinstance(missing(core, reader), RateLimited)
        refused = missing(core, reader)
        assert isinstance(refused, RateLimited)
        assert refused.tier == "normal"
        assert refused.retry_after_ms == 60_000
        assert not isinstance(missing(core, reader, NOW + 60_000), RateLimited)


async def test_an_agent_has_one_bucket_over_all_its_tokens(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.LIGHT: 1}) as core:
        dispatch(core, "Ping", caller(ROLE_SIDECAR, "a", "t1"))
        with pytest.raises(RateLimited):
            dispatch(core, "Ping", caller(ROLE_SIDECAR, "a", "t2"))
        dispatch(core, "Ping", caller(ROLE_SIDECAR, "b", "t3"))


async def test_other_callers_have_a_bucket_per_token(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.NORMAL: 1}) as core:
        for token_id in ("t1", "t2"):
            refused = missing(core, caller(ROLE_READER, token_id=token_id))
            assert not isinstance(refused, RateLimited)
        # An agent that is called like a token's id takes nothing from its bucket.
        dispatch(core, "ReportResources", caller(ROLE_SIDECAR, "t1"))


async def test_an_operation_without_a_role_is_not_rate_limited(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.NORMAL: 1}) as core:
        reader = caller(ROLE_READER)
        for _ in range(3):
            await core.dispatcher.dispatch(
                CLOSE_BROWSER_SESSION, reader, lambda: Received("none"), NOW
            )
        assert not isinstance(missing(core, reader), RateLimited)


async def test_a_caller_learns_that_few_calls_are_left(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.LIGHT: 5}) as core:
        low: list[RateDecision] = []
        for _ in range(5):
            dispatch(core, "Ping", caller(ROLE_SIDECAR, "a"), on_low=low.append)
        assert [verdict.remaining for verdict in low] == [1, 0]


async def test_an_invalid_request_reaches_no_handler(core: Core) -> None:
    with pytest.raises(ValidationFailed) as refused:
        dispatch(core, "RegisterEndpoint", caller(ROLE_ADMIN))
    assert [violation.field for violation in refused.value.violations] == ["host"]
    assert len(core.registry) == 0


async def test_a_request_that_is_known_to_be_valid_is_not_validated_again(core: Core) -> None:
    # The rules forbid this report, but the transport says that they have been applied.
    report = Received(ReportResourcesRequest(cpu_percent=101), is_valid=True)
    agent = caller(ROLE_SIDECAR, "node-1")
    core.dispatcher.dispatch(rpc("ReportResources"), agent, lambda: report, NOW)
    record = core.registry.resources.get("node-1")
    assert record is not None
    assert record.report.cpu_percent == 101


async def test_transport_error_stops_the_call(core: Core) -> None:
    wrong = FieldViolation("cpu_percent", "wrong_type", "expected number, got string", "12")
    agent = caller(ROLE_SIDECAR, "node-1")
    with pytest.raises(ValidationFailed) as refused:
        dispatch(core, "ReportResources", agent, violations=[wrong])
    assert refused.value.violations == [wrong]
    assert core.registry.resources.get("node-1") is None


async def test_a_call_that_needs_no_disk_is_answered_at_once(core: Core) -> None:
    agent = caller(ROLE_SIDECAR, "node-1")
    dispatch(core, "ReportResources", agent, ReportResourcesRequest(cpu_percent=5))
    assert core.registry.resources.get("node-1") is not None
    assert isinstance(dispatch(core, "Ping", agent), PingResponse)


async def test_a_request_that_has_not_arrived_is_awaited(core: Core) -> None:
    async def read() -> Received:
        return Received(PingRequest())

    reply = core.dispatcher.dispatch(rpc("Ping"), caller(ROLE_SIDECAR, "a"), read, NOW)
    assert isinstance(reply, CoroutineType)
    assert isinstance(await reply, PingResponse)


@pytest.mark.parametrize("name", ["WatchRegistry", "ListTokens"])
async def test_a_token_that_is_revoked_before_the_request_arrives_opens_nothing(
    core: Core, name: str
) -> None:
    wanted = CreateTokenRequest(role=ROLE_ADMIN)
    created = await core.as_admin("CreateToken", wanted)
    called = rpc(name)

    async def arrive_late() -> Received:
        await core.as_admin("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
        return Received(called.request())

    who = BearerToken(created.token, "10.0.0.9", "grpc")
    with pytest.raises(InvalidToken):
        await core.dispatcher.dispatch(called, who, arrive_late, NOW)


async def test_the_reply_is_encoded_last(core: Core) -> None:
    agent = caller(ROLE_SIDECAR, "a")
    encoded = dispatch(core, "Ping", agent, encode=lambda reply: reply.SerializeToString())
    assert PingResponse.FromString(encoded).HasField("timestamp")
    registering = dispatch(
        core,
        "RegisterEndpoint",
        caller(ROLE_ADMIN),
        RegisterEndpointRequest(host="h"),
        encode=lambda reply: reply.endpoint.id,
    )
    assert await registering == "h:11434"


async def test_a_change_is_logged_regardless_of_the_replys_encoding(
    core: Core, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "hub.audit")
    await core.as_admin("RegisterEndpoint", RegisterEndpointRequest(host="h"))
    request = RemoveEndpointRequest(id="h:11434")
    with capture_logs() as events:
        removing = dispatch(core, "RemoveEndpoint", caller(ROLE_ADMIN), request, encode=bool)
        assert await removing in (True, False)
    assert [event["event"] for event in events] == ["endpoint removed"]


async def test_every_rpc_and_operation_has_the_handler_that_is_named_after_it(core: Core) -> None:
    """A handler that is misspelt must not go unnoticed."""
    missing = set()
    for called, route in core.dispatcher._routes.items():
        if route.handler.__name__ == "refuse":
            missing.add(called.name)
        else:
            assert route.handler.__name__ == called.handler
    served_elsewhere = {
        *("WatchRegistry", "Connect", "ListEndpointsJson", "GetEndpointJson", "GetSnapshotJson"),
        *("GetSchemas", "GetMetrics", "GetPublicMetrics", "ListPrometheusTargets"),
        "GetTraefikConfig",
        *("ListOpenAiModels", "CopyStore", "GetDescriptors"),
        *("GetOpenAiModel", "ListOllamaModels", "ProcessRequests", "PickEndpoint"),
        *("DiscoverEndpoints", "WatchEndpointSet"),
        *("LoadModel", "UnloadModel", "ReportModelAction"),
    }
    assert missing == served_elsewhere


def test_an_rpc_without_a_handler_is_not_implemented() -> None:
    tokens = TokenRegistry()
    access = AccessControl(tokens, BrowserSessions(tokens), {ROLE_READER: RateLimiter()})
    dispatcher = Dispatcher(access, [], LiveStreams(ManualClock()))
    request = Received(GetEndpointRequest(id="a:1"))
    with pytest.raises(NotImplementedYet, match="GetEndpoint"):
        dispatcher.dispatch(rpc("GetEndpoint"), caller(ROLE_READER), lambda: request, NOW)


async def test_a_request_that_is_passed_again_stays_judged(core: Core) -> None:
    called, who = rpc("GetEndpoint"), caller(ROLE_READER)
    for message, error in (
        (GetEndpointRequest(id="a:1"), EndpointNotFound),
        (GetEndpointRequest(), ValidationFailed),
    ):
        received = Received(message)
        for _ in range(2):
            with pytest.raises(error):
                core.dispatcher.dispatch(called, who, lambda received=received: received, NOW)
