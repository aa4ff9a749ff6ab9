from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.transports.http.dashboard.transitions import TransitionHistory
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
)
from tests.support.fleet import NOW, registered


class Rig:
    def __init__(self, **settings: int) -> None:
        self.registry = Registry(first_revision=10)
        self.history = TransitionHistory(**settings)
        self._cursor = 10

    def follow(self, now_ms: int) -> list[object]:
        events = self.registry.ring.after(self._cursor, 1000)
        if events:
            self._cursor = events[-1].revision
        return [self.history.take(event, now_ms) for event in events]

    def probe(self, id_: str, error: str = "") -> None:
        self.registry.observe(
            id_, Observation(checked_at_ms=NOW, next_check_at_ms=NOW, error=error)
        )

    def states(self, id_: str, after: int = 0) -> list[tuple[int, int, int, str]]:
        return [
            (each.at_ms, each.status, each.admin_state, each.reason)
            for each in self.history.window(after)
            if each.id == id_
        ]


def test_only_status_and_admin_state_changes_are_remembered() -> None:
    rig = Rig()
    rig.registry.put_endpoint(registered("h:1"))
    rig.follow(1)
    rig.probe("h:1")
    rig.follow(2)
    rig.probe("h:1", "refused")
    rig.follow(3)
    rig.probe("h:1", "refused")
    rig.follow(4)
    rig.registry.put_endpoint(registered("h:1", admin_state=ADMIN_STATE_DRAINING))
    rig.follow(5)
    rig.registry.put_endpoint(
        registered("h:1", admin_state=ADMIN_STATE_DRAINING, labels={"a": "b"})
    )
    rig.follow(6)
    assert rig.states("h:1") == [
        (1, STATUS_UNKNOWN, ADMIN_STATE_ENABLED, ""),
        (2, STATUS_HEALTHY, ADMIN_STATE_ENABLED, ""),
        (4, STATUS_UNHEALTHY, ADMIN_STATE_ENABLED, "refused"),
        (5, STATUS_UNHEALTHY, ADMIN_STATE_DRAINING, "refused"),
    ]
    assert rig.history.since() == {"h:1": 5}
    # The one before says what the endpoint was when the window began.
    assert [at for at, *_ in rig.states("h:1", after=3)] == [2, 4, 5]
    assert [at for at, *_ in rig.states("h:1", after=9)] == [5]


def test_a_removed_endpoint_has_no_state() -> None:
    rig = Rig()
    rig.registry.put_endpoint(registered("h:1"))
    rig.registry.remove_endpoint("h:1")
    rig.follow(1)
    assert rig.history.since() == {}
    assert rig.states("h:1", after=2) == []


def test_a_flapping_endpoint_displaces_history_but_not_current_states() -> None:
    rig = Rig(capacity=4)
    for id_ in ("calm:1", "flaps:1"):
        rig.registry.put_endpoint(registered(id_))
    rig.follow(1)
    for at in range(2, 12):
        rig.probe("flaps:1", "" if at % 2 else "refused")
        rig.probe("flaps:1", "" if at % 2 else "refused")
        rig.follow(at)
    assert rig.states("calm:1") == []
    assert rig.history.since() == {"calm:1": 1, "flaps:1": 11}
    assert len(list(rig.history.window(0))) == 4


def test_a_long_reason_is_cut() -> None:
    rig = Rig()
    rig.registry.put_endpoint(registered("h:1"))
    rig.probe("h:1", "x" * 1000)
    rig.probe("h:1", "x" * 1000)
    rig.follow(1)
    assert rig.states("h:1")[-1][3] == "x" * 160
