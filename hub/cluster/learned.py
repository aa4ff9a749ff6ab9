"""Facts that the hub learned and probes do not show again; one protocol for all kinds.

A kind is anything whose entries have a name and an encoding. The publisher writes the
entries that changed, and a start gives back all that were written.
"""

from collections.abc import Iterable
from typing import Final, Protocol

import orjson

from hub.probes.model_facts import ModelFactsCache
from hub.registry.health.load_times import LoadTimes
from llmhub.v1.shared_facts_pb2 import LearnedLoads


class LearnedFacts(Protocol):
    """One kind of learned facts, by name. Names may hold any characters."""

    def take_changed(self) -> Iterable[str]:
        """The names whose entries changed or went since the last call."""
        ...

    def export(self, name: str) -> bytes | None:
        """The entry of that name, encoded; None if there is none any more."""
        ...

    def restore(self, name: str, value: bytes) -> None:
        """Takes in what `export` gave before the hub's start.

        Raises DecodeError or ValueError for a damaged value.
        """
        ...


class LearnedLoadTimes:
    """The learned load times as `LearnedFacts`, an entry for each endpoint and model."""

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
    """What servers reported of single models as `LearnedFacts`, an entry per endpoint."""

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
            raise ValueError(f"the facts of the models of {name} are no list")  # noqa: TRY004
        self._cache.restore(entries)


# No endpoint's id has a slash.
_SEPARATOR: Final = "/"
