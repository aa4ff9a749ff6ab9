"""What a start restores: its maximum age, and the effect of damage."""

import pytest

from hub.base.timestamps import to_ms
from hub.cluster.fact_messages import checks_value, endpoint_value, host_value
from hub.cluster.warm_start import MAX_AGE_MS, WarmStart
from hub.registry.host_report import ResourcesRecord
from hub.registry.selection.kept_rankings import Rankings
from hub.registry.selection.ranking import Limits, pick
from hub.stores.shared_facts import Fact
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY, STATUS_UNKNOWN
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest
from llmhub.v1.resources_pb2 import VramAccount
from tests.support.facts import NOW, endpoint, registry_of, success

ID = endpoint().id


def health_fact(age_ms: int = 0, number: int = 1) -> Fact:
    registry = registry_of(endpoint(number))
    registry.observe(endpoint(number).id, success(NOW))
    record = registry.get(endpoint(number).id)
    assert record is not None
    found = endpoint_value(record.message, NOW, None)
    assert found is not None
    return Fact(f"health/{record.message.id}", found[1], age_ms)


def host_fact(agent_id: str, received_ms: int, age_ms: int) -> Fact:
    record = ResourcesRecord(agent_id, ReportResourcesRequest(cpu_percent=7), 1, received_ms)
    return Fact(f"resources/{agent_id}", host_value(record, NOW), age_ms)


def current(registry):
    record = registry.get(ID)
    assert record is not None
    return record.message


@pytest.mark.parametrize("jump_ms", [-86_400_000, 0, 86_400_000])
def test_ages_are_right_whatever_the_hubs_clock_is(jump_ms):
    registry = registry_of(endpoint())
    now_ms = NOW + jump_ms
    restored = WarmStart(registry, {}).restore([health_fact(8_000)], now_ms)
    assert to_ms(current(registry).last_checked_at) == now_ms - 8_000
    assert restored.oldest_ms == 8_000


def test_a_selection_can_limit_the_age_of_restored_facts():
    registry = registry_of(endpoint())
    WarmStart(registry, {}).restore([health_fact(8_000)], NOW)

    class Facts:
        def endpoint(self, id_):
            record = registry.get(id_)
            return record.message if record else None

        def resources(self, agent_id):
            return None

        def vram(self, agent_id):
            return VramAccount()

        def in_flight(self, id_):
            return 0

    rankings = Rankings(Facts(), lambda _model: [ID])
    for max_age_s, found in ((7, 0), (9, 1), (0, 1)):
        request = SelectEndpointRequest(model="m")
        if max_age_s:
            request.max_fact_age.FromSeconds(max_age_s)
        ranking = rankings.ranking(request, None, 0)
        assert len(pick(ranking, Limits.of(request), 1, NOW)) == found


def test_an_outdated_observation_is_not_restored():
    registry = registry_of(endpoint())
    restored = WarmStart(registry, {}).restore([health_fact(MAX_AGE_MS + 1000)], NOW)
    assert current(registry).status == STATUS_UNKNOWN
    assert restored.outdated == [f"health/{ID}"]


def test_a_later_check_reduces_the_age_of_the_facts():
    registry = registry_of(endpoint())
    checked = registry_of(endpoint())
    checked.observe(ID, success(NOW + 60_000))
    checks = Fact("checks/202", checks_value([current(checked)], NOW + 60_000) or b"", 5_000)
    restored = WarmStart(registry, {}).restore([health_fact(65_000), checks], NOW + 65_000)
    assert to_ms(current(registry).last_checked_at) == NOW + 60_000
    assert restored.current == ["checks/202", f"health/{ID}"]


def test_restored_reports_expire_at_their_original_time():
    registry = registry_of()
    facts = [
        host_fact("young", NOW - 10_000, 20_000),
        host_fact("old", NOW - 80_000, 20_000),
        host_fact("middle", NOW - 60_000, 20_000),
    ]
    restored = WarmStart(registry, {}).restore(facts, NOW)
    assert restored.hosts == 2
    assert [agent for agent, _ in registry.resources.items()] == ["middle", "young"]
    assert registry.next_deadline_ms() == NOW + 10_000
    registry.expire(NOW + 10_000)
    assert [agent for agent, _ in registry.resources.items()] == ["young"]


def test_a_damaged_value_affects_no_other_value():
    registry = registry_of(endpoint(1), endpoint(2))
    facts = [
        Fact(f"health/{endpoint(2).id}", b"\xff\xff", 0),
        Fact("checks/1", b"\xff\xff", 0),
        health_fact(),
        Fact("resources/a", b"\xff\xff", 0),
        Fact("learned/unknown/x", b"", 0),
        Fact("nonsense", b"", 0),
    ]
    restored = WarmStart(registry, {}).restore(facts, NOW)
    assert current(registry).status == STATUS_HEALTHY
    assert (restored.endpoints, restored.damaged, len(restored.outdated)) == (1, 3, 5)
