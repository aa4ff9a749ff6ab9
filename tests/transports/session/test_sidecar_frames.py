import pytest

from hub.contract.errors import CooldownActive, InvalidToken, TokenAgentMismatch, ValidationFailed
from hub.contract.rpcs import FRAMES
from hub.service.access.caller import Caller, Principal
from hub.service.dispatcher import Received
from hub.transports.session.sidecar_frames import IdentityClaim, parse_binary_frame
from llmhub.v1.frame_pb2 import IdentifyRequest, PingRequest, ReportResourcesRequest, SidecarFrame
from tests.support.service import ServiceRig


def test_a_binary_frame_has_the_kind_of_its_member() -> None:
    report = ReportResourcesRequest(cpu_percent=3)
    frame = parse_binary_frame(SidecarFrame(resource_report=report).SerializeToString())
    assert frame.kind is FRAMES["resource_report"]
    assert frame.decode().message == report
    assert frame.decode().violations == ()
    ping = parse_binary_frame(SidecarFrame(ping=PingRequest()).SerializeToString())
    assert ping.kind is FRAMES["ping"]


@pytest.mark.parametrize(
    ("encoded", "field", "error"), [(b"\xff", "message", "invalid"), (b"", "frame", "required")]
)
def test_an_invalid_frame_is_a_violation(encoded: bytes, field: str, error: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_binary_frame(encoded)
    assert [(each.field, each.error) for each in refused.value.violations] == [(field, error)]


def accept(principal: Principal, _now_ms: int) -> Caller:
    return Caller(principal, "10.0.0.9", "ws")


async def test_a_claim_is_checked_before_its_token(rig: ServiceRig) -> None:
    access, now = rig.dispatcher._access, rig.clock.now_ms()
    token = await rig.token(agent_id="node-1")
    for request, error in (
        (IdentifyRequest(agent_id="node-1"), ValidationFailed),
        (IdentifyRequest(agent_id="node-1", token="x"), InvalidToken),
        (IdentifyRequest(agent_id="node-2", token=token), TokenAgentMismatch),
    ):
        with pytest.raises(error):
            IdentityClaim(Received(request), None, accept).authenticate(access, now)


async def test_a_session_may_refuse_an_agent_that_has_proved_itself(rig: ServiceRig) -> None:
    access, now = rig.dispatcher._access, rig.clock.now_ms()
    token = await rig.token(agent_id="node-1")
    received = Received(IdentifyRequest(agent_id="node-1", token=token))
    claim = IdentityClaim(received, None, accept)
    assert claim.authenticate(access, now) is claim.caller
    assert claim.caller.principal.agent_id == "node-1"

    def refuse(_principal: Principal, _now_ms: int) -> Caller:
        raise CooldownActive("wait")

    with pytest.raises(CooldownActive):
        IdentityClaim(received, None, refuse).authenticate(access, now)
