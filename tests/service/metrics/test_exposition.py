from prometheus_client.parser import text_string_to_metric_families

from hub.contract.rpcs import Tier
from hub.registry.state import Registry
from hub.service.access.rate_limits import RateLimiter
from hub.service.metrics import exposition
from hub.service.metrics.counts import StoreCounts, Traffic
from hub.service.metrics.exposition import Metrics, Source
from hub.service.metrics.fleet_counts import FleetCounts
from llmhub.v1.resources_pb2 import ROLE_READER


async def samples(*sources: Source) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Renders the metrics and reads them back: values by name and sorted labels."""
    page = await Metrics(FleetCounts(Registry(first_revision=1000)), sources).render()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


async def test_the_exposition_has_fleet_and_process_metrics() -> None:
    found = await samples()
    assert found["llmhub_models", ()] == 0
    assert found["process_resident_memory_bytes", ()] > 0


async def test_build_info_has_version_and_store() -> None:
    found = await samples(lambda: exposition.build_metrics('1.0 "rc"', "sqlite"))
    assert found["llmhub_build_info", (("store", "sqlite"), ("version", '1.0 "rc"'))] == 1


async def test_refused_calls_are_counted_by_role_and_tier() -> None:
    limiter = RateLimiter({Tier.HEAVY: 1})
    for _ in range(3):
        limiter.take("caller", Tier.HEAVY, 0)
    found = await samples(lambda: exposition.rate_limit_metrics([(ROLE_READER, limiter)]))
    assert (
        found["llmhub_rate_limited_total", (("role", "reader"), ("tier", Tier.HEAVY.wire_name))]
        == 2
    )


async def test_store_transactions_are_histograms() -> None:
    counts = StoreCounts()
    counts.add(3, 0.004)
    found = await samples(lambda: exposition.store_metrics(counts, 7))
    assert found["llmhub_store_commit_changes_sum", ()] == 3
    assert found["llmhub_store_commit_duration_seconds_count", ()] == 1
    assert found["llmhub_store_waiting", ()] == 7


async def test_traffic_is_counted_by_its_labels() -> None:
    traffic = Traffic()
    traffic.errors["grpc", "INVALID_TOKEN"] += 2
    found = await samples(lambda: exposition.traffic_metrics(traffic))
    labels = (("reason", "INVALID_TOKEN"), ("transport", "grpc"))
    assert found["llmhub_errors_total", labels] == 2
