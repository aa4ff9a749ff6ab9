"""What is published and how often, and what a start restores from it."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from hub.base.clock import ManualClock
from hub.cluster import publisher
from hub.cluster.fact_messages import bucket_of
from hub.cluster.learned import LearnedLoadTimes
from hub.cluster.publisher import FactPublisher
from hub.cluster.warm_start import Restored, WarmStart
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, STATUS_HEALTHY
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from tests.support.facts import NOW, RecordedFacts, endpoint, registry_of, success
from tests.support.waiting import wait_until

ID = endpoint().id
KEY = f"health/{ID}"
CHECKS_KEY = f"checks/{bucket_of(ID)}"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(publisher, "_GAP_S", 0.001)
    monkeypatch.setattr(publisher, "_TURN_S", 0.01)
    monkeypatch.setattr(publisher, "_RETRY_S", 0.01)


@asynccontextmanager
async def publishing(registry: Registry, facts: RecordedFacts, clock: ManualClock, **options):
    learned = {"load_times": LearnedLoadTimes(registry.health.load_times)}
    made = FactPublisher(registry, facts, clock, learned, interval_ms=30_000)
    made.start(options.get("restored", Restored()))
    try:
        yield made
    finally:
        await made.stop()


def warm_start(registry: Registry, facts: RecordedFacts, *, age_ms: int, now_ms: int) -> Restored:
    learned = {"load_times": LearnedLoadTimes(registry.health.load_times)}
    return WarmStart(registry, learned).restore(facts.aged(age_ms), now_ms)


@pytest.fixture
async def facts(tmp_path):
    made = RecordedFacts(tmp_path / "facts.bin")
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def clock():
    return ManualClock(NOW)


async def test_the_next_start_knows_what_a_hub_observed(facts, clock):
    registry = registry_of(endpoint())
    async with publishing(registry, facts, clock):
        registry.observe(ID, success(NOW))
        registry.report_resources("node-1", ReportResourcesRequest(cpu_percent=7), NOW)
        registry.health.load_times.measured(ID, "m", 4000)
        await wait_until(lambda: KEY in facts.values)
    after = registry_of(endpoint(), first_revision=1000)
    restored = warm_start(after, facts, age_ms=2000, now_ms=NOW + 2000)
    assert (restored.endpoints, restored.hosts, restored.learned) == (1, 1, 1)
    assert restored.outdated == []
    record = after.get(ID)
    assert record is not None
    assert record.message.status == STATUS_HEALTHY
    assert record.message.provenance.status.restored
    report = after.resources.get("node-1")
    assert report is not None
    assert report.received_ms == NOW
    assert after.health.load_times.expected_ms(ID, "m") == 4000


async def test_checks_without_news_are_written_once_per_interval(facts, clock):
    registry = registry_of(endpoint())
    async with publishing(registry, facts, clock) as running:
        for _ in range(90):
            registry.observe(ID, success(clock.now_ms()))
            clock.advance(1000)
            await running.publish_changes()
        written = [key for batch in facts.batches for key in batch]
    assert written.count(KEY) == 1
    assert written.count(CHECKS_KEY) == 3


async def test_successive_changes_of_one_endpoint_are_written_once(facts, clock):
    registry = registry_of(endpoint())
    async with publishing(registry, facts, clock):
        for number in range(50):
            registry.observe(ID, success(NOW + number, f"m{number}"))
        await wait_until(lambda: KEY in facts.values)
    assert [key for batch in facts.batches for key in batch].count(KEY) == 1


async def test_large_changes_are_written_in_batches(facts, clock):
    endpoints = [endpoint(number) for number in range(350)]
    registry = registry_of(*endpoints)
    async with publishing(registry, facts, clock):
        for each in endpoints:
            registry.observe(each.id, success(NOW))
        await wait_until(lambda: sum(key.startswith("health/") for key in facts.values) == 350)
    assert max(map(len, facts.batches)) <= 100


@pytest.mark.parametrize("how", ["removed", "disabled"])
async def test_the_facts_of_a_removed_or_disabled_endpoint_are_withdrawn(facts, clock, how):
    registry = registry_of(endpoint())
    async with publishing(registry, facts, clock):
        registry.observe(ID, success(NOW))
        await wait_until(lambda: KEY in facts.values)
        if how == "removed":
            registry.remove_endpoint(ID)
        else:
            registry.put_endpoint(endpoint(admin_state=ADMIN_STATE_DISABLED))
        await wait_until(lambda: KEY not in facts.values)


async def test_an_expired_report_is_withdrawn(facts, clock):
    registry = registry_of()
    async with publishing(registry, facts, clock):
        registry.report_resources("node-1", ReportResourcesRequest(cpu_percent=7), NOW)
        await wait_until(lambda: "resources/node-1" in facts.values)
        registry.expire(NOW + 90_000)
        await wait_until(lambda: "resources/node-1" not in facts.values)


async def test_a_report_without_news_is_still_written_for_its_age(facts, clock):
    registry = registry_of()
    async with publishing(registry, facts, clock) as running:

        async def report(cpu_percent: float) -> int:
            report = ReportResourcesRequest(cpu_percent=cpu_percent)
            registry.report_resources("node-1", report, clock.now_ms())
            await running.publish_changes()
            return sum("resources/node-1" in batch for batch in facts.batches)

        assert await report(50) == 1
        clock.advance(10_000)
        assert await report(50.5) == 1
        clock.advance(10_000)
        assert await report(60) == 2
        clock.advance(31_000)
        assert await report(60) == 3


async def test_reports_are_looked_at_less_often_than_endpoints(facts, clock, monkeypatch):
    monkeypatch.setattr(publisher, "_TURN_S", 3600.0)
    registry = registry_of(endpoint())
    async with publishing(registry, facts, clock):
        for percent in (10, 50):
            report = ReportResourcesRequest(cpu_percent=percent)
            registry.report_resources("node-1", report, NOW)
            await wait_until(lambda: "resources/node-1" in facts.values)
        registry.observe(ID, success(NOW))
        await wait_until(lambda: KEY in facts.values)
        assert sum("resources/node-1" in batch for batch in facts.batches) == 1
    assert sum("resources/node-1" in batch for batch in facts.batches) == 2, "a stop writes it"


async def test_a_report_that_nothing_follows_is_looked_at_as_well(facts, clock, monkeypatch):
    monkeypatch.setattr(publisher, "_TURN_S", 0.5)
    registry = registry_of()
    async with publishing(registry, facts, clock):
        for percent, times in ((10, 1), (50, 2)):
            report = ReportResourcesRequest(cpu_percent=percent)
            registry.report_resources("node-1", report, NOW)
            await wait_until(
                lambda times=times: (
                    sum("resources/node-1" in batch for batch in facts.batches) == times
                )
            )


async def test_a_failure_is_logged_once_and_the_latest_values_are_written_later(facts, clock):
    registry = registry_of(endpoint())
    facts.fails = True
    with capture_logs() as logs:
        async with publishing(registry, facts, clock):
            registry.observe(ID, success(NOW))
            registry.report_resources("node-1", ReportResourcesRequest(cpu_percent=7), NOW)
            await wait_until(lambda: bool(logs))
            registry.observe(ID, success(NOW + 1, "newer"))
            await asyncio.sleep(0.05)
            facts.fails = False
            await wait_until(lambda: KEY in facts.values and "resources/node-1" in facts.values)
    assert [line["event"] for line in logs] == ["facts_not_written", "facts_written_again"]
    after = registry_of(endpoint())
    warm_start(after, facts, age_ms=0, now_ms=NOW + 1)
    assert after.fleet_models() == {"newer": 1}


async def test_changes_beyond_a_short_history_are_still_written(facts, clock, monkeypatch):
    endpoints = [endpoint(number) for number in range(30)]
    registry = Registry(first_revision=1, ring_capacity=8)
    for each in endpoints:
        registry.put_endpoint(each)
    async with publishing(registry, facts, clock):
        registry.observe(endpoints[0].id, success(NOW))
        await wait_until(lambda: f"health/{endpoints[0].id}" in facts.values)
        registry.remove_endpoint(endpoints[0].id)
        for each in endpoints[1:]:
            registry.observe(each.id, success(NOW))
        wanted = {f"health/{each.id}" for each in endpoints[1:]}
        await wait_until(
            lambda: {key for key in facts.values if key.startswith("health/")} == wanted
        )


async def test_outdated_facts_are_withdrawn_after_the_start_and_others_left_alone(facts, clock):
    registry = registry_of(endpoint(1), endpoint(2))
    async with publishing(registry, facts, clock):
        registry.observe(endpoint(1).id, success(NOW))
        registry.observe(endpoint(2).id, success(NOW))
        await wait_until(lambda: len(facts.values) >= 2)
    await facts.publish({"later/kind": b"of another version"})
    after = registry_of(endpoint(1), first_revision=1000)
    restored = warm_start(after, facts, age_ms=0, now_ms=NOW)
    facts.batches.clear()
    async with publishing(after, facts, clock, restored=restored):
        await wait_until(lambda: f"health/{endpoint(2).id}" not in facts.values)
    assert f"health/{endpoint(1).id}" in facts.values
    assert all(value is None for batch in facts.batches for value in batch.values())


async def test_a_stop_writes_pending_values_but_does_not_wait_for_a_failing_engine(facts, clock):
    registry = registry_of(endpoint())
    async with publishing(registry, facts, clock):
        registry.observe(ID, success(NOW))
    assert set(facts.values) == {KEY, CHECKS_KEY}
    facts.fails = True
    async with publishing(registry, facts, clock) as running:
        registry.observe(ID, success(NOW + 1, "n"))
    await running.stop()
