"""The audit trail: what admins have changed, kept with the changes themselves.

An event is written in the same batch as the change that it describes: there is no
change without its event, and no event for a change that failed.
"""

import secrets
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from google.protobuf.message import DecodeError

from hub.base.timestamps import to_timestamp
from hub.service.access.caller import Caller
from hub.service.records import audit_key, damaged_record, name_of
from hub.stores.store import Delete, Entry, Operation, Put
from llmhub.v1.audit_pb2 import AuditEvent, AuditState

MAX_EVENTS: Final = 10_000

# A trail that exceeds its bound, for example after the bound was lowered, shrinks in steps.
_DELETES_AT_ONCE: Final = 16


class AuditTrail:
    """The last events; a `hub.service.records.RecordConsumer` of "audit"."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._ids: list[str] = []
        # Ten thousand decoded messages would take much memory; their encodings do not.
        self._encoded: dict[str, bytes] = {}
        self._numbers = count()
        # Hubs that share a store must not use the same id.
        self._origin = f"-{secrets.token_hex(4)}"

    def __len__(self) -> int:
        return len(self._ids)

    def apply_put(self, entry: Entry) -> None:
        """See `RecordConsumer`."""
        id_ = name_of(entry.key)
        # This trail has just encoded its own events itself.
        if not id_.endswith(self._origin):
            _require_intact(entry, id_)
        if id_ not in self._encoded:
            insort(self._ids, id_)
        self._encoded[id_] = entry.value

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        id_ = name_of(key)
        if self._encoded.pop(id_, None) is not None:
            del self._ids[bisect_left(self._ids, id_)]

    def events(self, before_id: str = "") -> Iterator[AuditEvent]:
        """The events, newest first; with `before_id` only those older than that one."""
        end = bisect_left(self._ids, before_id) if before_id else len(self._ids)
        return (AuditEvent.FromString(self._encoded[self._ids[i]]) for i in range(end - 1, -1, -1))

    def operations(self, event: AuditEvent) -> list[Operation]:
        """What to write with a change: the event, which gets its id here, and a removal."""
        number = next(self._numbers) % 1_000_000
        # Ids sort by time.
        event.id = f"{event.changed_at.ToMilliseconds():014d}-{number:06d}{self._origin}"
        surplus = max(0, len(self._ids) + 1 - self._max_events)
        oldest = self._ids[: min(surplus, _DELETES_AT_ONCE)]
        put = Put(audit_key(event.id), event.SerializeToString(deterministic=True))
        return [put, *(Delete(audit_key(id_)) for id_ in oldest)]


def _require_intact(entry: Entry, id_: str) -> None:
    try:
        event = AuditEvent.FromString(entry.value)
    except DecodeError as error:
        raise damaged_record(entry.key) from error
    if event.id != id_:
        raise damaged_record(entry.key)


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a change, with the RPC and the time."""

    trail: AuditTrail
    caller: Caller
    action: str
    now_ms: int

    def operations(
        self,
        resource: str,
        before: AuditState | None,
        after: AuditState | None,
        *,
        secret_changed: bool = False,
    ) -> list[Operation]:
        """What to write with a change of `resource`, such as "endpoints/10.0.0.1:11434"."""
        principal = self.caller.principal
        event = AuditEvent(
            changed_at=to_timestamp(self.now_ms),
            token_id=principal.token_id,
            role=principal.role,
            remote_address=self.caller.remote_address,
            transport=self.caller.transport,
            action=self.action,
            resource=resource,
            before=before,
            after=after,
            secret_changed=secret_changed,
        )
        return self.trail.operations(event)
