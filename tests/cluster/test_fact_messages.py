"""Values of facts: times survive a change of clocks, and only news is written."""

import pytest

from hub.base.timestamps import to_ms, to_timestamp
from hub.cluster.fact_messages import (
    BUCKETS,
    add_check,
    bucket_of,
    checks_of,
    checks_value,
    endpoint_of,
    endpoint_value,
    host_of,
    host_value,
    is_news,
)
from hub.registry.host_report import ResourcesRecord
from hub.stores.shared_facts import Fact
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from tests.support.facts import NOW, endpoint, registry_of, success

# The reader's clock is an hour behind, and it reads 5 s after the value was written.
READ = NOW - 3_600_000
AGE = 5_000


def observed(*seen, **fields):
    registry = registry_of(endpoint(**fields))
    for each in seen or (success(),):
        registry.observe(endpoint().id, each)
    record = registry.get(endpoint().id)
    assert record is not None
    return record.message


def value_of(known_endpoint, now_ms=NOW, known=None):
    found = endpoint_value(known_endpoint, now_ms, known)
    assert found is not None
    return found


def test_an_age_includes_the_time_before_and_after_the_value_was_written():
    _, value = value_of(observed(success(NOW - 700)))
    facts = endpoint_of(Fact("", value, AGE), READ)
    assert to_ms(facts.last_checked_at) == READ - AGE - 700
    assert to_ms(facts.provenance.models.observed_at) == READ - AGE - 700


def test_a_new_check_alone_is_not_written():
    digest, value = value_of(observed(success(NOW)))
    assert value
    again = observed(success(NOW), success(NOW + 30_000))
    assert value_of(again, NOW + 30_000, digest) == (digest, b"")


@pytest.mark.parametrize(
    "later",
    [success(NOW + 1, "m", "n"), success(NOW + 1, error="no answer")],
    ids=["models", "error"],
)
def test_a_changed_fact_is_written(later):
    digest, _ = value_of(observed(success(NOW)))
    changed, value = value_of(observed(success(NOW), later), NOW + 1, digest)
    assert changed != digest
    assert value


def test_checks_of_a_bucket_are_read_by_the_readers_clock():
    seen = observed(success(NOW - 700))
    value = checks_value([seen, endpoint(2)], NOW)
    assert value is not None
    (check,) = checks_of(Fact("", value, AGE), READ)
    assert check.id == seen.id
    assert to_ms(check.checked_at) == READ - AGE - 700
    assert check.latency.ToMilliseconds() == 3
    assert checks_value([endpoint(2)], NOW) is None


def test_a_later_check_gives_facts_its_own_age():
    facts = observed(success(NOW))
    later = observed(success(NOW), success(NOW + 30_000))
    value = checks_value([later], NOW + 30_000)
    assert value is not None
    (check,) = checks_of(Fact("", value, 0), NOW + 30_000)
    add_check(facts, check)
    assert to_ms(facts.last_checked_at) == NOW + 30_000
    assert to_ms(facts.provenance.status.observed_at) == NOW + 30_000
    assert to_ms(facts.provenance.models.observed_at) == NOW + 30_000


def test_a_later_check_that_failed_confirms_no_models():
    facts = observed(success(NOW))
    failed = observed(success(NOW), success(NOW + 30_000, error="no answer"))
    value = checks_value([failed], NOW + 30_000)
    assert value is not None
    (check,) = checks_of(Fact("", value, 0), NOW + 30_000)
    add_check(facts, check)
    assert facts.consecutive_failures == 1
    assert to_ms(facts.provenance.status.observed_at) == NOW + 30_000
    assert to_ms(facts.provenance.models.observed_at) == NOW


def test_an_earlier_check_changes_nothing():
    facts = observed(success(NOW))
    (check,) = checks_of(Fact("", checks_value([facts], NOW) or b"", 0), NOW)
    check.checked_at.CopyFrom(to_timestamp(NOW - 1))
    check.consecutive_failures = 7
    add_check(facts, check)
    assert (to_ms(facts.last_checked_at), facts.consecutive_failures) == (NOW, 0)


def test_a_report_is_read_with_its_age():
    record = ResourcesRecord("node-1", ReportResourcesRequest(cpu_percent=7), 3, NOW - 700)
    agent_id, report, received_ms = host_of(Fact("", host_value(record, NOW), AGE), READ)
    assert (agent_id, report.cpu_percent) == ("node-1", 7)
    assert received_ms == READ - AGE - 700


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({}, False),
        ({"cpu_percent": 50.9}, False),
        ({"cpu_percent": 51.5}, True),
        ({"ram_used_bytes": 1_009_000}, False),
        ({"ram_used_bytes": 1_020_000}, True),
        ({"vram_used_bytes": 5}, True),
        ({"cpu_percent": None}, True),
    ],
)
def test_a_report_is_news_if_a_figure_moved_by_more_than_one_percent(change, news):
    figures = {"cpu_percent": 50.0, "ram_used_bytes": 1_000_000}
    before = ReportResourcesRequest(**figures)
    assert is_news(before, ReportResourcesRequest(**(figures | change))) is news


def test_buckets_are_evenly_spread_and_stable():
    filled = {bucket_of(f"10.0.{n // 250}.{n % 250}:11434") for n in range(5000)}
    assert filled == set(range(BUCKETS))
    # Another hub, or the next start, reads the same bucket.
    assert bucket_of("10.0.0.1:11434") == 19
