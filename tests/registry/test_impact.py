import pytest

from hub.registry.impact import lost_models, may_be_selected
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    ADMIN_STATE_UNSPECIFIED,
    AdminState,
    Endpoint,
)
from tests.support.fleet_of import add, loaded, on_disk


@pytest.fixture
def registry() -> Registry:
    return Registry(first_revision=1000)


def losses(
    registry: Registry, id_: str, state: AdminState = ADMIN_STATE_DRAINING
) -> tuple[list[str], list[str]]:
    record = registry.get(id_)
    assert record is not None
    after = Endpoint()
    after.CopyFrom(record.message)
    after.admin_state = state
    return lost_models(registry, record.message, after)


def test_only_enabled_endpoints_may_be_selected() -> None:
    states = AdminState.values()
    assert {state for state in states if may_be_selected(Endpoint(admin_state=state))} == {
        ADMIN_STATE_ENABLED,
        ADMIN_STATE_UNSPECIFIED,
    }


def test_losing_the_last_copy_in_memory_or_the_last_copy_at_all(registry: Registry) -> None:
    add(registry, "a:1", loaded("both"), loaded("warm"), on_disk("cold"), loaded("only"))
    add(registry, "b:1", loaded("both"), on_disk("warm"), on_disk("cold"))
    assert losses(registry, "a:1") == (["warm", "only"], ["only"])
    assert losses(registry, "a:1", ADMIN_STATE_DISABLED) == (["warm", "only"], ["only"])
    assert losses(registry, "b:1") == ([], [])


def test_copies_that_cannot_be_selected_do_not_count(registry: Registry) -> None:
    add(registry, "a:1", loaded())
    add(registry, "down:1", loaded(), error="no")
    add(registry, "drained:1", loaded(), admin_state=ADMIN_STATE_DRAINING)
    assert losses(registry, "a:1") == (["m"], ["m"])
    assert losses(registry, "down:1") == ([], [])
    assert losses(registry, "drained:1", ADMIN_STATE_DISABLED) == ([], [])


def test_a_change_that_keeps_the_endpoint_in_use_loses_nothing(registry: Registry) -> None:
    add(registry, "a:1", loaded())
    assert losses(registry, "a:1", ADMIN_STATE_ENABLED) == ([], [])


def test_a_copy_with_the_tag_latest_serves_the_name_without_a_tag(registry: Registry) -> None:
    add(registry, "a:1", loaded("m"))
    add(registry, "b:1", loaded("m:latest"))
    assert losses(registry, "a:1") == ([], [])
    assert losses(registry, "b:1") == (["m:latest"], ["m:latest"])
