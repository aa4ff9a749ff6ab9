"""Shared parts for tests of observed facts: a recording engine and a small fleet."""

from collections.abc import Mapping
from pathlib import Path

from hub.base.moment import SystemTime
from hub.base.timestamps import to_timestamp
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.stores.local_facts import LocalFacts
from hub.stores.shared_facts import Fact, FactsUnavailable
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, Endpoint, Model

NOW = 1_800_000_000_000


class RecordedFacts(LocalFacts):
    """The local engine, which records what was published and fails on request."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SystemTime())
        self.values: dict[str, bytes] = {}
        self.batches: list[dict[str, bytes | None]] = []
        self.fails = False

    async def publish(self, values: Mapping[str, bytes | None]) -> None:
        if self.fails:
            raise FactsUnavailable("the disk is full")
        await super().publish(values)
        self.batches.append(dict(values))
        for key, value in values.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value

    def aged(self, age_ms: int) -> list[Fact]:
        """All facts, as if they had been published `age_ms` ago."""
        return [Fact(key, value, age_ms) for key, value in self.values.items()]


def endpoint(number: int = 1, **fields) -> Endpoint:
    """A registered endpoint, as in the store."""
    host = f"10.0.{number // 250}.{number % 250 + 1}"
    made = Endpoint(id=f"{host}:11434", host=host, port=11434, scheme="http", **fields)
    made.registered_at.CopyFrom(to_timestamp(NOW - 1000))
    return made


def registry_of(*endpoints: Endpoint, first_revision: int = 1) -> Registry:
    """A registry with the contents of a store."""
    registry = Registry(first_revision=first_revision)
    for each in endpoints:
        registry.put_endpoint(each)
    return registry


def success(at_ms: int = NOW, *models: str, error: str = "") -> Observation:
    """The observation of a probe."""
    return Observation(
        checked_at_ms=at_ms,
        next_check_at_ms=at_ms + 30_000,
        error=error,
        backend=BACKEND_OLLAMA,
        version="0.17.4",
        models=tuple(Model(name=name) for name in models or ("m",)),
        latency_ms=3.0,
    )
