import logging

import pytest
import structlog
from structlog.testing import capture_logs

from hub.contract.rpcs import RPCS
from hub.service.access.caller import Caller, Principal
from hub.service.change_log import AUDITED, UNAUDITED, record
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    CreateTokenResponse,
    RegisterEndpointRequest,
    RegisterEndpointResponse,
    RemoveEndpointRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_SIDECAR, TokenInfo

ADMIN = Caller(Principal(ROLE_ADMIN, "", "t-1"), "10.0.0.9", "grpc")


def test_every_admin_rpc_is_classified_as_changing_something_or_not():
    of_admins = {one.name for one in RPCS if one.service.endswith("AdminService")}
    assert set(AUDITED) | UNAUDITED == of_admins
    assert not set(AUDITED) & UNAUDITED


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hub.audit")


def logged(name, request, reply):
    structlog.reset_defaults()
    with capture_logs() as events:
        record(name, request, reply, ADMIN)
    return events


def test_a_registration_names_the_endpoint_and_not_its_key():
    request = RegisterEndpointRequest(host="gpu-1", api_key="sk-hidden")
    reply = RegisterEndpointResponse(endpoint=Endpoint(id="gpu-1:11434", agent_id="node-1"))
    assert logged("RegisterEndpoint", request, reply) == [
        {
            "event": "endpoint registered",
            "log_level": "debug",
            "by": "t-1",
            "door": "grpc",
            "id": "gpu-1:11434",
            "agent_id": "node-1",
        }
    ]


def test_a_token_is_named_by_its_id_and_never_shown():
    request = CreateTokenRequest(role=ROLE_SIDECAR, agent_id="node-1")
    reply = CreateTokenResponse(token="llmhub_x_y", token_info=TokenInfo(id="x", agent_id="node-1"))
    [event] = logged("CreateToken", request, reply)
    assert (event["event"], event["id"], event["agent_id"]) == ("token created", "x", "node-1")
    assert "llmhub_x_y" not in str(event)


def test_a_dry_run_is_not_logged():
    tried = UpdateEndpointRequest(endpoint=Endpoint(id="a:1"), validate_only=True)
    assert logged("UpdateEndpoint", tried, b"") == []


def test_suppressed_log_lines_are_not_rendered(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "hub.audit")
    assert logged("RegisterEndpoint", RegisterEndpointRequest(host="a"), b"") == []
    [event] = logged("RemoveEndpoint", RemoveEndpointRequest(id="a:1"), b"")
    assert (event["event"], event["log_level"]) == ("endpoint removed", "info")
