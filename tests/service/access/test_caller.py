import pytest

from hub.contract.errors import InvalidToken
from hub.service.access.caller import Caller, Principal, roles_that_may
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR


def test_what_each_role_may() -> None:
    assert roles_that_may(ROLE_ADMIN) == {ROLE_ADMIN}
    assert roles_that_may(ROLE_READER) == {ROLE_READER, ROLE_ADMIN}
    assert roles_that_may(ROLE_SIDECAR) == {ROLE_SIDECAR}


def test_a_caller_is_its_own_credentials_until_its_token_expires() -> None:
    caller = Caller(Principal(ROLE_SIDECAR, "node-1", "t", 1_000), "10.0.0.9", "ws")
    assert caller.authenticate(None, 999) is caller
    with pytest.raises(InvalidToken):
        caller.authenticate(None, 1_000)
    eternal = Caller(Principal(ROLE_SIDECAR, "node-1", "t"), "10.0.0.9", "ws")
    assert eternal.authenticate(None, 10**15) is eternal
