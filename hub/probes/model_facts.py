"""Facts about single models, as servers report them, kept across probes and restarts.

Some facts of a model (its capabilities, the context that it was trained for) cost one
request per model and never change while the model's digest stays the same. So the hub
queries each digest of a server once, a few models per probe.

The key is the endpoint and the digest, not the digest alone. Otherwise a server that lies
about a digest would change what the hub says about honest servers. Entries and bytes are
bounded; the endpoint that was probed longest ago is evicted first. Pure: the time is an
argument.
"""

import sys
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from hub.probes import json_fields
from hub.probes.answer import JsonValue

MAX_DIGEST: Final = json_fields.MAX_TEXT
"""The longest digest in characters; a model with a longer one is never looked up."""

# For all endpoints together: requests per second, and the maximum burst. After a cold
# start, a fleet of ten thousand servers is queried within minutes, at a steady pace.
_ASKED_PER_S = 200.0
_ASKED_AT_ONCE = 400.0
# The approximate size of an entry without its texts.
_ENTRY_BYTES = 200


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a server reports about one model.

    `capabilities` is None if the server does not report any; an empty tuple means that
    the model has none. `context_length` is the one that the model was trained for, in
    tokens.
    """

    capabilities: tuple[str, ...] | None = None
    context_length: int | None = None
    family: str = ""


class ModelFactsCache:
    """Facts by endpoint and digest."""

    def __init__(self, *, max_entries: int = 100_000, max_bytes: int = 32 * 1024 * 1024) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._by_endpoint: OrderedDict[str, dict[str, ModelFacts]] = OrderedDict()
        # A fleet has few distinct facts; each is stored once.
        self._distinct: dict[ModelFacts, ModelFacts] = {}
        self._entries = 0
        self._bytes = 0
        # The endpoints whose facts changed since `take_changed`.
        self._changed: dict[str, None] = {}
        self._credit = _ASKED_AT_ONCE
        self._credited_s: float | None = None

    def __len__(self) -> int:
        """The number of entries."""
        return self._entries

    @property
    def size_bytes(self) -> int:
        """The approximate memory of the entries."""
        return self._bytes

    def get(self, endpoint_id: str, digest: str) -> ModelFacts | None:
        """The endpoint's facts about the model with that digest; None if there are none yet."""
        return self._by_endpoint.get(endpoint_id, {}).get(digest)

    def put(self, endpoint_id: str, digest: str, facts: ModelFacts) -> None:
        """Stores an endpoint's facts. A full cache evicts the least recently used endpoints."""
        if not digest or len(digest) > MAX_DIGEST:
            return
        if len(self._distinct) > 4096:
            self._distinct.clear()
        facts = self._distinct.setdefault(facts, facts)
        entries = self._by_endpoint.setdefault(endpoint_id, {})
        self._by_endpoint.move_to_end(endpoint_id)
        if (before := entries.get(digest)) is not None:
            self._bytes -= _size(digest, before)
        else:
            self._entries += 1
        entries[sys.intern(digest)] = facts
        self._bytes += _size(digest, facts)
        self._note_change(endpoint_id)
        while self._is_over() and len(self._by_endpoint) > 1:
            self.forget(next(iter(self._by_endpoint)))
        if self._is_over():
            self.forget(endpoint_id)

    def keep_only(self, endpoint_id: str, digests: Collection[str]) -> None:
        """Forgets the endpoint's models that it no longer lists."""
        entries = self._by_endpoint.get(endpoint_id)
        if entries is None:
            return
        self._by_endpoint.move_to_end(endpoint_id)
        for digest in [digest for digest in entries if digest not in digests]:
            self._bytes -= _size(digest, entries.pop(digest))
            self._entries -= 1
            self._note_change(endpoint_id)
        if not entries:
            del self._by_endpoint[endpoint_id]

    def forget(self, endpoint_id: str) -> None:
        """Forgets an endpoint."""
        entries = self._by_endpoint.pop(endpoint_id, {})
        if entries:
            self._note_change(endpoint_id)
        self._entries -= len(entries)
        self._bytes -= sum(_size(digest, facts) for digest, facts in entries.items())

    def may_ask(self, now_s: float) -> bool:
        """Whether one more request may be sent now. If so, it is counted."""
        if self._credited_s is not None:
            earned = max(0.0, now_s - self._credited_s) * _ASKED_PER_S
            self._credit = min(_ASKED_AT_ONCE, self._credit + earned)
        self._credited_s = now_s
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def take_changed(self) -> list[str]:
        """The endpoints whose facts changed or were removed since the last call."""
        changed, self._changed = list(self._changed), {}
        return changed

    def export(self, endpoint_id: str) -> list[JsonValue]:
        """The entries of one endpoint as plain data, ready for JSON."""
        return [
            {
                "endpoint": endpoint_id,
                "digest": digest,
                "capabilities": None if facts.capabilities is None else list(facts.capabilities),
                "context_length": facts.context_length,
                "family": facts.family,
            }
            for digest, facts in self._by_endpoint.get(endpoint_id, {}).items()
        ]

    def restore(self, entries: Iterable[JsonValue]) -> int:
        """Restores entries that `export` returned. Returns how many were restored.

        Skips damaged entries.
        """
        taken = 0
        for entry in entries:
            endpoint_id = json_fields.text(entry, "endpoint", limit=300)
            digest = json_fields.text(entry, "digest")
            if not endpoint_id or not digest:
                continue
            self.put(endpoint_id, digest, facts_of(entry))
            taken += 1
        return taken

    def _note_change(self, endpoint_id: str) -> None:
        self._changed[endpoint_id] = None
        # Evicted endpoints are among them.
        if len(self._changed) > 2 * self._max_entries:
            del self._changed[next(iter(self._changed))]

    def _is_over(self) -> bool:
        return self._entries > self._max_entries or self._bytes > self._max_bytes


def facts_of(value: JsonValue) -> ModelFacts:
    """Reads facts from an object with the members of ModelFacts; invalid values are unknown."""
    has_capabilities = json_fields.items(value, "capabilities") is not None
    return ModelFacts(
        capabilities=tuple(json_fields.words(value, "capabilities")) if has_capabilities else None,
        context_length=json_fields.whole(value, "context_length") or None,
        family=json_fields.text(value, "family"),
    )


def _size(digest: str, facts: ModelFacts) -> int:
    return _ENTRY_BYTES + len(digest) + len(facts.family) + sum(map(len, facts.capabilities or ()))
