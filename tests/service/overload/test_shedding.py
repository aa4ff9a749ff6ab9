import pytest
from structlog.testing import capture_logs

from hub.contract.errors import Overloaded
from hub.contract.rpcs import RPCS, rpc
from hub.service.operations import OPERATIONS, SHOW_CALLER
from hub.service.overload.pressure import Level, Load, Pressure
from hub.service.overload.shedding import LARGE_FLEET, Overload, refused_at
from llmhub.v1.resources_pb2 import ROLE_READER

BUDGETS = Load(loop_lag=1.0, memory=1000.0, descriptors=100.0, store_queue=50.0)
MAX = Load(memory=2000.0)


def at(level: Level) -> Overload:
    overload = Overload(Pressure(BUDGETS))
    for i in range(level):
        overload.update(MAX, i)
    assert overload.level is level
    return overload


def test_only_what_readers_call_is_ever_refused_to_a_caller() -> None:
    for called in (*RPCS, *OPERATIONS):
        assert refused_at(called) is None or called.role == ROLE_READER, called.name
    assert refused_at(SHOW_CALLER) is None


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("GetSnapshot", Level.SNAPSHOTS),
        ("WatchRegistry", Level.WATCHES),
        ("SelectEndpoint", Level.READS),
        ("ListEndpoints", Level.READS),
        ("ReleaseSelection", None),
        ("RevokeToken", None),
        ("ReportResources", None),
        ("Identify", None),
    ],
)
def test_the_cheapest_work_is_refused_first(name: str, level: Level | None) -> None:
    assert refused_at(rpc(name)) is level


def test_a_level_refuses_what_the_lower_ones_do() -> None:
    overload = at(Level.REPORTS)
    for refused in (Level.CONNECTIONS, Level.SNAPSHOTS, Level.REPORTS):
        with pytest.raises(Overloaded) as error:
            overload.require(refused, "grpc")
        assert error.value.retry_after_ms
        assert "memory" in error.value.message
    overload.require(Level.WATCHES, "grpc")
    overload.require(None, "grpc")
    assert overload.shed.total() == 3


def test_the_snapshot_of_a_small_fleet_is_refused_only_with_all_reads() -> None:
    overload, sizes = at(Level.WATCHES), [LARGE_FLEET, LARGE_FLEET - 1]
    overload.measure(sizes.pop)
    overload.require(Level.SNAPSHOTS, "http")
    with pytest.raises(Overloaded):
        overload.require(Level.SNAPSHOTS, "http")
    busiest = at(Level.READS)
    busiest.measure(lambda: 0)
    with pytest.raises(Overloaded):
        busiest.require(Level.SNAPSHOTS, "http")
    assert busiest.shed[Level.READS] == 1


def test_every_second_report_of_each_agent_is_dropped() -> None:
    overload = at(Level.REPORTS)
    dropped = [(agent, overload.drops_report(agent)) for _ in range(4) for agent in ("a", "b")]
    assert [is_dropped for agent, is_dropped in dropped if agent == "a"] == [True, False] * 2
    assert [is_dropped for agent, is_dropped in dropped if agent == "b"] == [True, False] * 2
    assert overload.shed[Level.REPORTS] == 4
    calm = at(Level.SNAPSHOTS)
    assert not any(calm.drops_report("a") for _ in range(4))


def test_listeners_and_the_log_learn_of_each_level() -> None:
    overload, seen = Overload(Pressure(BUDGETS)), []
    overload.on_change(seen.append)
    with capture_logs() as logged:
        for i in range(3):
            overload.update(Load(descriptors=86.0), i)
        assert overload.why() == "overloaded (descriptors); reduces connections, snapshots"
        for i in range(100):
            overload.update(Load(), 10 + i * 250)
    assert seen == [1, 2, 1, 0]
    assert [line["log_level"] for line in logged] == ["warning", "warning", "info", "info"]
    assert logged[0]["cause"] == "descriptors"
    assert overload.why() is None
