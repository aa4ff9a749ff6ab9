import pytest

from hub.contract.errors import InvalidToken, RoleForbidden, ScopeForbidden
from hub.service.access.caller import Caller
from hub.service.picks import PickRequest
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, TokenScope
from tests.support.fleet_of import NOW, loaded
from tests.support.picking import Picking


def test_only_an_admins_token_that_may_opens_a_stream():
    """It gets the endpoints' keys, so a reader's does not."""
    picking = Picking()
    gateway = picking.token(ROLE_ADMIN, TokenScope(rpcs=["ProcessRequests", "PickEndpoint"]))
    assert isinstance(picking.calls.admit(picking.bearer(gateway)), Caller)
    with pytest.raises(RoleForbidden):
        picking.calls.admit(picking.bearer(picking.token(ROLE_READER)))
    other = picking.token(ROLE_ADMIN, TokenScope(rpcs=["PickEndpoint"]))
    with pytest.raises(ScopeForbidden):
        picking.calls.admit(picking.bearer(other))
    with pytest.raises(InvalidToken):
        picking.calls.admit(picking.bearer("wrong"))


def test_a_clients_token_is_used_with_the_clients_address():
    picking = Picking()
    picking.endpoint("127.0.0.1:1", loaded("m"))
    token = picking.token()
    sent = {"authorization": f"Bearer {token}", "x-forwarded-for": "10.1.1.1, 10.2.2.2"}
    picking.calls.pick(picking.gateway, sent, PickRequest("m"))
    principal = picking.tokens.authenticate(token, NOW)
    use = picking.access.uses.last(principal.token_id)
    assert use is not None
    assert use.address == "10.2.2.2"
