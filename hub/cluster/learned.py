"""Facts that the hub learned and probes do not show again, with one protocol for all kinds.

A kind is anything whose entries have a name and an encoding. The publisher writes the
entries that changed, and a start restores all entries.
"""

from collections.abc import Iterable
from typing import Final, Protocol

import orjson

from hub.probes.model_facts import ModelFactsCache
from hub.registry.health.load_times import LoadTimes
from llmhub.v1.shared_facts_pb2 import LearnedLoads


class LearnedFacts(Protocol):
    """One kind of learned facts, by name. Names may contain any characters."""

    def take_changed(self) -> Iterable[str]:
        """The names whose entries changed or were removed since the last call."""
        ...

    def export(self, name: str) -> bytes | None:
        """The encoded entry of that name; None if there is no such entry."""
        ...

    def restore(self, name: str, value: bytes) -> None:
        """Restores an entry that `export` returned before the hub's start.

        Raises DecodeError or ValueError for a damaged value.
        """
        ...


class LearnedLoadTimes:
    """The learned load times as `LearnedFacts`, with an entry for each endpoint and model."""

    def __init__(self, load_times: LoadTimes) -> None:
        self._load_times = load_times

    def take_changed(self) -> Iterable[str]:
        """See `LearnedFacts`."""
        return [_SEPARATOR.join(key) for key in self._load_times.take_changed()]

    def export(self, name: str) -> bytes | None:
        """See `LearnedFacts`."""
        endpoint_id, _, model = name.partition(_SEPARATOR)
        took_ms = self._load_times.of(endpoint_id, model)
        if not took_ms:
            return None
        message = LearnedLoads(endpoint_id=endpoint_id, model=model, took_ms=took_ms)
        return message.SerializeToString()

    def restore(self, name: str, value: bytes) -> None:
        """See `LearnedFacts`."""
        message = LearnedLoads.FromString(value)
        for took_ms in message.took_ms:
            self._load_times.measured(message.endpoint_id, message.model, took_ms)


class LearnedModelFacts:
    """The reported facts of single models as `LearnedFacts`, with an entry per endpoint."""

    def __init__(self, cache: ModelFactsCache) -> None:
        self._cache = cache

    def take_changed(self) -> Iterable[str]:
        """See `LearnedFacts`."""
        return self._cache.take_changed()

    def export(self, name: str) -> bytes | None:
        """See `LearnedFacts`."""
        entries = self._cache.export(name)
        return orjson.dumps(entries) if entries else None

    def restore(self, name: str, value: bytes) -> None:
        """See `LearnedFacts`."""
        entries = orjson.loads(value)
        if not isinstance(entries, list):
            raise ValueError(f"the model facts of {name} are not a list")  # noqa: TRY004
        self._cache.restore(entries)


# Ids of endpoints contain no slash.
_SEPARATOR: Final = "/"
