import pytest

from hub.service.access.caller import Caller, Principal
from hub.service.changes.audit_trail import AuditTrail, Author
from hub.stores.store import Delete, Entry, Put, StoreError
from llmhub.v1.audit_pb2 import AuditEvent, AuditState
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.resources_pb2 import ROLE_ADMIN

NOW = 1_800_000_000_000
CALLER = Caller(Principal(ROLE_ADMIN, "", "tok"), "10.0.0.9", "grpc")


def apply(trail: AuditTrail, operations) -> None:
    for operation in operations:
        if isinstance(operation, Put):
            trail.apply_put(Entry(operation.key, operation.value, 7))
        else:
            trail.apply_delete(operation.key)


def write(trail: AuditTrail, resource: str, now_ms: int = NOW):
    operations = Author(trail, CALLER, "UpdateEndpoint", now_ms).operations(resource, None, None)
    apply(trail, operations)
    return operations


def test_an_audit_event_has_author_time_and_both_states() -> None:
    trail = AuditTrail()
    author = Author(trail, CALLER, "UpdateEndpoint", NOW)
    before, after = (AuditState(endpoint=Endpoint(id="a:1", name=name)) for name in ("old", "new"))
    apply(trail, author.operations("endpoints/a:1", before, after, secret_changed=True))
    (event,) = trail.events()
    assert event.id
    event.ClearField("id")
    assert event == AuditEvent(
        changed_at={"seconds": NOW // 1000},
        token_id="tok",
        role=ROLE_ADMIN,
        remote_address="10.0.0.9",
        transport="grpc",
        action="UpdateEndpoint",
        resource="endpoints/a:1",
        before=before,
        after=after,
        secret_changed=True,
    )


def test_events_within_a_millisecond_are_newest_first() -> None:
    trail = AuditTrail()
    for i in range(20):
        write(trail, f"endpoints/{i}", NOW + i // 10)
    resources = [event.resource for event in trail.events()]
    assert resources == [f"endpoints/{i}" for i in range(19, -1, -1)]
    fifth = [event.id for event in trail.events()][4]
    assert [event.resource for event in trail.events(fifth)] == resources[5:]


def test_the_trail_is_bounded_in_the_store_too() -> None:
    trail = AuditTrail(max_events=3)
    for i in range(3):
        assert len(write(trail, str(i))) == 1
    put, delete = write(trail, "3")
    assert isinstance(put, Put)
    assert isinstance(delete, Delete)
    assert [event.resource for event in trail.events()] == ["3", "2", "1"]


def test_a_trail_that_is_too_long_shrinks_in_steps() -> None:
    trail = AuditTrail(max_events=100)
    for i in range(100):
        write(trail, str(i))
    trail._max_events = 50
    for _ in range(4):
        assert len(write(trail, "x")) <= 17
    assert len(trail) == 50


@pytest.mark.parametrize("value", [b"\xff", AuditEvent(id="other").SerializeToString()])
def test_a_damaged_record_is_named(value: bytes) -> None:
    with pytest.raises(StoreError, match="audit/x"):
        AuditTrail().apply_put(Entry("audit/x", value, 1))
