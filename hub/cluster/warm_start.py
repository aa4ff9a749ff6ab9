"""Restores into the registry what was known before the hub's start. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from hub.base.timestamps import to_ms
from hub.cluster.fact_messages import (
    CHECKS,
    HEALTH,
    LEARNED,
    RESOURCES,
    add_check,
    checks_of,
    endpoint_of,
    host_of,
)
from hub.cluster.learned import LearnedFacts
from hub.registry.state import Registry
from hub.stores.shared_facts import Fact
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.frame_pb2 import ReportResourcesRequest

MAX_AGE_MS: Final = 24 * 3_600_000
"""The facts of an endpoint are not restored if its last check is older than this."""


@dataclass(slots=True)
class Restored:
    """The result of a warm start.

    `oldest_ms` is the age of the oldest last check. `current` are the keys of the restored
    facts, `outdated` those that are no longer valid. `damaged` counts the outdated keys
    whose values could not be read.
    """

    endpoints: int = 0
    hosts: int = 0
    learned: int = 0
    damaged: int = 0
    oldest_ms: int = 0
    current: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)


class WarmStart:
    """Restores facts into a registry that has endpoints but no observations yet."""

    def __init__(self, registry: Registry, learned: Mapping[str, LearnedFacts]) -> None:
        self._registry = registry
        self._learned = learned
        self._endpoints: list[tuple[str, Endpoint]] = []
        self._hosts: list[tuple[str, str, ReportResourcesRequest, int]] = []

    def restore(self, facts: Sequence[Fact], now_ms: int) -> Restored:
        """Restores the facts that are still valid at `now_ms`."""
        restored = Restored()
        checks = {}
        for fact in facts:
            try:
                if fact.key.startswith(f"{CHECKS}/"):
                    checks.update({check.id: check for check in checks_of(fact, now_ms)})
                    restored.current.append(fact.key)
                elif not self._read(fact, now_ms, restored):
                    restored.outdated.append(fact.key)
            except (DecodeError, ValueError):
                restored.damaged += 1
                restored.outdated.append(fact.key)
        for key, endpoint in self._endpoints:
            if endpoint.id in checks:
                add_check(endpoint, checks[endpoint.id])
            self._restore_endpoint(key, endpoint, now_ms, restored)
        # Reports expire in the order of their arrival.
        for key, agent_id, report, received_ms in sorted(self._hosts, key=lambda host: host[3]):
            self._registry.report_resources(agent_id, report, received_ms)
            restored.current.append(key)
        if facts:
            self._registry.expire(now_ms)
        restored.hosts = len(self._registry.resources)
        return restored

    def _read(self, fact: Fact, now_ms: int, restored: Restored) -> bool:
        """Reads a fact; False if this version has no use for its kind."""
        kind, _, name = fact.key.partition("/")
        if kind == HEALTH:
            self._endpoints.append((fact.key, endpoint_of(fact, now_ms)))
            return True
        if kind == RESOURCES:
            agent_id, report, received_ms = host_of(fact, now_ms)
            self._hosts.append((fact.key, agent_id, report, min(received_ms, now_ms)))
            return True
        namespace, _, entry = name.partition("/")
        if kind == LEARNED and namespace in self._learned:
            self._learned[namespace].restore(entry, fact.value)
            restored.learned += 1
            restored.current.append(fact.key)
            return True
        return False

    def _restore_endpoint(
        self, key: str, endpoint: Endpoint, now_ms: int, restored: Restored
    ) -> None:
        # A sidecar may have reported an endpoint that was never probed.
        is_checked = endpoint.HasField("last_checked_at")
        reported_at = endpoint.provenance.models.observed_at
        age_ms = now_ms - to_ms(endpoint.last_checked_at if is_checked else reported_at)
        if age_ms <= MAX_AGE_MS and self._registry.restore_endpoint(endpoint):
            restored.endpoints += 1
            restored.oldest_ms = max(restored.oldest_ms, age_ms)
            restored.current.append(key)
        else:
            restored.outdated.append(key)
