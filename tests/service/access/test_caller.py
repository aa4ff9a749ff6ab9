from hub.service.access.caller import roles_that_may
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR


def test_roles_that_may_call() -> None:
    assert roles_that_may(ROLE_ADMIN) == {ROLE_ADMIN}
    assert roles_that_may(ROLE_READER) == {ROLE_READER, ROLE_ADMIN}
    assert roles_that_may(ROLE_SIDECAR) == {ROLE_SIDECAR}
