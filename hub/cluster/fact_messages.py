"""The keys and values of observed facts, converted to and from registry state. Pure.

    health/<endpoint id>       EndpointFacts: status, models, error, provenance
    checks/<bucket>            EndpointChecks: when each endpoint was last checked
    resources/<agent id>       HostFacts: a host's last report
    learned/<kind>/<name>      an entry of the `LearnedFacts` of that kind

A value contains times relative to when it was written (shared_facts.proto), and the engine
reports how long ago that was. Together they give each time by the reader's own clock.
"""

from collections.abc import Iterable
from typing import Final
from zlib import crc32

from hub.base.timestamps import to_ms, to_timestamp
from hub.registry.health.observed_facts import lasting_facts, shift
from hub.registry.host_report import ResourcesRecord
from hub.stores.shared_facts import Fact
from llmhub.v1.endpoint_pb2 import OBSERVER_PROBE, Endpoint, Provenance
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.shared_facts_pb2 import (
    EndpointCheck,
    EndpointChecks,
    EndpointFacts,
    HostFacts,
)

HEALTH: Final = "health"
CHECKS: Final = "checks"
RESOURCES: Final = "resources"
LEARNED: Final = "learned"

BUCKETS: Final = 256
"""The number of groups of endpoints whose checks are written together."""

# These change with every probe, so a change in them alone is not worth writing.
_CHECK_FIELDS: Final = ("last_checked_at", "latency", "consecutive_failures", "provenance")
_SOURCES: Final = tuple(Provenance.DESCRIPTOR.fields_by_name)


def bucket_of(endpoint_id: str) -> int:
    """The bucket of an endpoint, which is the same in every process."""
    return crc32(endpoint_id.encode()) % BUCKETS


def endpoint_value(endpoint: Endpoint, now_ms: int, known: int | None) -> tuple[int, bytes] | None:
    """A digest of an endpoint's facts, and the value to write; None if there are no facts.

    The value is empty if the digest is `known`: then only check times have changed.
    """
    facts = lasting_facts(endpoint)
    if facts is None:
        return None
    for field in _CHECK_FIELDS:
        facts.ClearField(field)
    observers = tuple(getattr(endpoint.provenance, name).observer for name in _SOURCES)
    digest = hash((facts.SerializeToString(deterministic=True), observers))
    if digest == known:
        return digest, b""
    message = EndpointFacts(as_of=to_timestamp(now_ms), endpoint=lasting_facts(endpoint))
    return digest, message.SerializeToString()


def endpoint_of(fact: Fact, now_ms: int) -> Endpoint:
    """The facts of an endpoint, with times by the reader's clock. Raises DecodeError."""
    message = EndpointFacts.FromString(fact.value)
    shift(message.endpoint, now_ms - fact.age_ms - to_ms(message.as_of))
    return message.endpoint


def checks_value(endpoints: Iterable[Endpoint], now_ms: int) -> bytes | None:
    """The last checks of a bucket; None if none of its endpoints was checked."""
    message = EndpointChecks(as_of=to_timestamp(now_ms))
    for endpoint in endpoints:
        if endpoint.HasField("last_checked_at"):
            check = message.checks.add(
                id=endpoint.id,
                checked_at=endpoint.last_checked_at,
                consecutive_failures=endpoint.consecutive_failures,
            )
            if endpoint.HasField("latency"):
                check.latency.CopyFrom(endpoint.latency)
    return message.SerializeToString() if message.checks else None


def checks_of(fact: Fact, now_ms: int) -> list[EndpointCheck]:
    """The checks of a bucket, with times by the reader's clock. Raises DecodeError."""
    message = EndpointChecks.FromString(fact.value)
    by_ms = now_ms - fact.age_ms - to_ms(message.as_of)
    for check in message.checks:
        check.checked_at.CopyFrom(to_timestamp(to_ms(check.checked_at) + by_ms))
    return list(message.checks)


def add_check(facts: Endpoint, check: EndpointCheck) -> None:
    """Writes a later check into the facts of its endpoint.

    A later check that succeeded confirms what the earlier one showed.
    """
    earlier_ms = to_ms(facts.last_checked_at)
    if facts.HasField("last_checked_at") and to_ms(check.checked_at) <= earlier_ms:
        return
    for name in _SOURCES:
        if not facts.provenance.HasField(name):
            continue
        source = getattr(facts.provenance, name)
        is_current = to_ms(source.observed_at) == earlier_ms and not check.consecutive_failures
        if source.observer == OBSERVER_PROBE and (name == "status" or is_current):
            source.observed_at.CopyFrom(check.checked_at)
    facts.last_checked_at.CopyFrom(check.checked_at)
    facts.consecutive_failures = check.consecutive_failures
    if check.HasField("latency"):
        facts.latency.CopyFrom(check.latency)


def host_value(record: ResourcesRecord, now_ms: int) -> bytes:
    """The value of a host's last report."""
    return HostFacts(
        as_of=to_timestamp(now_ms),
        agent_id=record.agent_id,
        received_at=to_timestamp(record.received_ms),
        report=record.report,
    ).SerializeToString()


def host_of(fact: Fact, now_ms: int) -> tuple[str, ReportResourcesRequest, int]:
    """Agent, report, and its time of receipt by the reader's clock. Raises DecodeError."""
    message = HostFacts.FromString(fact.value)
    by_ms = now_ms - fact.age_ms - to_ms(message.as_of)
    return message.agent_id, message.report, to_ms(message.received_at) + by_ms


_MEASURED_BYTES: Final = (
    "ram_used_bytes",
    "ram_total_bytes",
    "vram_used_bytes",
    "vram_total_bytes",
)


def is_news(before: ReportResourcesRequest, after: ReportResourcesRequest) -> bool:
    """Whether a report differs by more than 1 % from the one before."""
    if len(before.gpus) != len(after.gpus):
        return True
    if before.HasField("cpu_percent") != after.HasField("cpu_percent"):
        return True
    if abs(before.cpu_percent - after.cpu_percent) > 1:
        return True
    for figure in _MEASURED_BYTES:
        old, new = getattr(before, figure), getattr(after, figure)
        if before.HasField(figure) != after.HasField(figure):
            return True
        if abs(old - new) > max(old, new) / 100:
            return True
    return False
