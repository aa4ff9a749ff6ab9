import pytest

from hub.contract.errors import CooldownActive, InvalidToken, TokenAgentMismatch, ValidationFailed
from hub.service.access.caller import Caller, Principal
from hub.service.dispatcher import Received
from hub.transports.session.identity_claim import IdentityClaim
from llmhub.v1.frame_pb2 import IdentifyRequest
from tests.support.service import ServiceRig


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
            IdentityClaim(Received(request), accept).authenticate(access, now)


async def test_a_session_may_refuse_an_agent_that_has_proved_itself(rig: ServiceRig) -> None:
    access, now = rig.dispatcher._access, rig.clock.now_ms()
    token = await rig.token(agent_id="node-1")
    received = Received(IdentifyRequest(agent_id="node-1", token=token))
    claim = IdentityClaim(received, accept)
    assert claim.authenticate(access, now) is claim.caller
    assert claim.caller.principal.agent_id == "node-1"

    def refuse(_principal: Principal, _now_ms: int) -> Caller:
        raise CooldownActive("wait")

    with pytest.raises(CooldownActive):
        IdentityClaim(received, refuse).authenticate(access, now)
