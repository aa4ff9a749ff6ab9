"""When and from where each token was used last.

A use is noted in memory with every call. The store gets the last use of a token at most
once in `WRITTEN_EVERY_MS`, so a call costs no write, and a restart forgets a minute.
"""

from typing import Final, NamedTuple

import orjson

from hub.service.access.caller import Principal
from hub.service.records import damaged_record, name_of, use_key
from hub.stores.store import Entry, Put

WRITTEN_EVERY_MS: Final = 60_000


class Use(NamedTuple):
    """One use: when, in epoch ms, and from which address."""

    at_ms: int
    address: str


class TokenUses:
    """The last uses by token id; a `hub.service.records.RecordConsumer` of "uses"."""

    def __init__(self) -> None:
        # Each as in `Use`, which takes ten times as long to make as a plain tuple.
        self._noted: dict[str, tuple[int, str]] = {}
        self._stored: dict[str, Use] = {}

    def note(self, principal: Principal, address: str, now_ms: int) -> None:
        """A caller was authenticated just now, by its token or otherwise."""
        if principal.token_id and not principal.is_certified:
            self._noted[principal.token_id] = now_ms, address

    def last(self, token_id: str) -> Use | None:
        """The last use that any hub of the store has noted; None if there is none."""
        noted, stored = self._noted.get(token_id), self._stored.get(token_id)
        if noted is None or (stored is not None and stored > noted):
            return stored
        return Use(*noted)

    def is_stored(self, token_id: str) -> bool:
        """Whether the store has a record of it."""
        return token_id in self._stored

    def due(self, most: int) -> list[Put]:
        """What to write now, at most so many, the longest unwritten first."""
        waiting = sorted(
            (stored.at_ms if (stored := self._stored.get(token_id)) else 0, token_id)
            for token_id, noted in self._noted.items()
            if self._is_due(token_id, noted)
        )
        return [
            Put(use_key(token_id), orjson.dumps([*self._noted[token_id]]))
            for _, token_id in waiting[:most]
        ]

    def _is_due(self, token_id: str, noted: tuple[int, str]) -> bool:
        stored = self._stored.get(token_id)
        return stored is None or noted[0] - stored.at_ms >= WRITTEN_EVERY_MS

    def forget(self, token_id: str) -> None:
        """The token is gone."""
        self._noted.pop(token_id, None)

    def apply_put(self, entry: Entry) -> None:
        """See `RecordConsumer`."""
        try:
            at_ms, address = orjson.loads(entry.value)
        except (ValueError, TypeError) as error:
            raise damaged_record(entry.key) from error
        if not isinstance(at_ms, int) or not isinstance(address, str):
            raise damaged_record(entry.key)
        self._stored[name_of(entry.key)] = Use(at_ms, address)

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        self._stored.pop(name_of(key), None)
