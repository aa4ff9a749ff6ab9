import pytest

from hub.service.access.principal import Principal
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, ROLE_UNSPECIFIED

ROLES = (ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR)
ALLOWED = {
    (ROLE_ADMIN, ROLE_ADMIN),
    (ROLE_ADMIN, ROLE_READER),
    (ROLE_READER, ROLE_READER),
    (ROLE_SIDECAR, ROLE_SIDECAR),
}


@pytest.mark.parametrize("held", ROLES)
@pytest.mark.parametrize("needed", ROLES)
def test_what_each_role_may(held: int, needed: int) -> None:
    assert Principal(held, "", "id").may(needed) == ((held, needed) in ALLOWED)


@pytest.mark.parametrize("held", ROLES)
def test_nobody_has_the_unspecified_role(held: int) -> None:
    assert not Principal(held, "", "id").may(ROLE_UNSPECIFIED)
