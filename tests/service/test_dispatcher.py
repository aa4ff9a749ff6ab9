"""The one way in, with the real tokens, limiters and handlers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import (
    FieldViolation,
    InvalidToken,
    NotImplementedYet,
    RateLimited,
    RoleForbidden,
    TokenAgentMismatch,
    ValidationFailed,
)
from hub.contract.rpcs import RPCS, Tier, rpc
from hub.service.access.principal import Principal
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.tokens import TokenRegistry
from hub.service.dispatcher import Caller, Service
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest, RemoveEndpointRequest
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


MAY = {
    ROLE_ADMIN: {ROLE_ADMIN, ROLE_READER},
    ROLE_READER: {ROLE_READER},
    ROLE_SIDECAR: {ROLE_SIDECAR},
}


@pytest.mark.parametrize("called", RPCS, ids=lambda called: called.name)
async def test_who_may_call_what(core: Core, called: object) -> None:
    for role, allowed in MAY.items():
        who = caller(role, "node-1" if role == ROLE_SIDECAR else "")
        if called.role in allowed:
            assert core.service.admit(called, who, NOW).allowed
        else:
            with pytest.raises(RoleForbidden, match=called.name):
                core.service.admit(called, who, NOW)


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


async def test_a_forbidden_call_costs_nothing(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.NORMAL: 1}) as core:
        reader = caller(ROLE_READER)
        for _ in range(3):
            with pytest.raises(RoleForbidden):
                core.service.admit(rpc("RemoveEndpoint"), reader, NOW)
        core.service.admit_or_raise(rpc("GetEndpoint"), reader, NOW)
        with pytest.raises(RateLimited) as refused:
            core.service.admit_or_raise(rpc("GetEndpoint"), reader, NOW)
        assert refused.value.tier == "normal"
        assert refused.value.retry_after_ms == 60_000
        core.service.admit_or_raise(rpc("GetEndpoint"), reader, NOW + 60_000)


async def test_an_agent_has_one_bucket_over_all_its_tokens(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.LIGHT: 1}) as core:
        core.service.admit_or_raise(rpc("Ping"), caller(ROLE_SIDECAR, "a", "t1"), NOW)
        with pytest.raises(RateLimited):
            core.service.admit_or_raise(rpc("Ping"), caller(ROLE_SIDECAR, "a", "t2"), NOW)
        core.service.admit_or_raise(rpc("Ping"), caller(ROLE_SIDECAR, "b", "t3"), NOW)


async def test_people_have_a_bucket_for_each_token(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.NORMAL: 1}) as core:
        for token_id in ("t1", "t2"):
            who = caller(ROLE_READER, token_id=token_id)
            core.service.admit_or_raise(rpc("GetEndpoint"), who, NOW)
        # An agent that is called like a token's id takes nothing from it.
        core.service.admit_or_raise(rpc("ReportResources"), caller(ROLE_SIDECAR, "t1"), NOW)


async def test_an_invalid_request_reaches_no_handler(core: Core) -> None:
    admin = caller(ROLE_ADMIN)
    with pytest.raises(ValidationFailed) as refused:
        core.service.execute(rpc("RegisterEndpoint"), RegisterEndpointRequest(), admin, NOW)
    assert [violation.field for violation in refused.value.violations] == ["host"]
    assert len(core.registry) == 0


async def test_what_the_door_found_wrong_is_told_and_stops_the_call(core: Core) -> None:
    wrong = FieldViolation("cpu_percent", "wrong_type", "expected number, got string", "12")
    agent = caller(ROLE_SIDECAR, "node-1")
    with pytest.raises(ValidationFailed) as refused:
        core.service.execute(rpc("ReportResources"), ReportResourcesRequest(), agent, NOW, [wrong])
    assert refused.value.violations == [wrong]
    assert core.registry.resources.get("node-1") is None
    with pytest.raises(ValidationFailed):
        core.service.check(PingRequest(), [wrong])


async def test_what_needs_no_disk_is_done_at_once(core: Core) -> None:
    agent = caller(ROLE_SIDECAR, "node-1")
    core.service.execute(rpc("ReportResources"), ReportResourcesRequest(cpu_percent=5), agent, NOW)
    assert core.registry.resources.get("node-1") is not None
    reply = core.service.execute(rpc("Ping"), PingRequest(), agent, NOW)
    assert isinstance(reply, PingResponse)


async def test_every_unary_rpc_is_carried_out_or_says_that_it_is_not_yet(core: Core) -> None:
    """None may answer by an accident, such as a handler that is spelt otherwise."""
    missing = set()
    for called in RPCS:
        handler = core.service._handlers[called]
        if handler.__name__ == "refuse":
            missing.add(called.name)
        else:
            assert handler.__name__ == called.handler
    assert missing <= {
        "SelectEndpoint",
        "ReleaseSelection",
        "WatchRegistry",
        "Connect",
    }


def test_an_rpc_without_a_handler_says_so() -> None:
    service = Service(tokens=TokenRegistry(), limiters={ROLE_READER: RateLimiter()}, handlers=[])
    with pytest.raises(NotImplementedYet, match="GetEndpoint"):
        service.execute(rpc("GetEndpoint"), GetEndpointRequest(id="a:1"), caller(ROLE_READER), NOW)


async def test_a_sidecar_proves_that_it_is_its_agent(core: Core) -> None:
    token = await core.token(ROLE_SIDECAR, "node-1")
    assert core.service.authenticate_agent(token, "node-1", NOW).agent_id == "node-1"
    with pytest.raises(TokenAgentMismatch) as refused:
        core.service.authenticate_agent(token, "node-2", NOW)
    assert refused.value.metadata == {"agent_id": "node-2"}
    for wrong in (await core.token(ROLE_ADMIN), "", "nonsense", token[:-1]):
        with pytest.raises(InvalidToken):
            core.service.authenticate_agent(wrong, "node-1", NOW)


async def test_an_expired_token_is_refused_from_its_last_millisecond_on(core: Core) -> None:
    token = await core.token(ROLE_SIDECAR, "node-1", ttl_ms=1_000)
    now = core.clock.now_ms()
    core.service.authenticate_agent(token, "node-1", now + 999)
    with pytest.raises(InvalidToken):
        core.service.authenticate_agent(token, "node-1", now + 1_000)
