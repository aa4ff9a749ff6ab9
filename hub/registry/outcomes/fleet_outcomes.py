"""Writes what outcomes show into the endpoints of the registry. Pure.

All addresses of a server show the same outcomes. A changed breaker is an event for
watchers; changed figures are bookkeeping, as those of probes are.
"""

from collections.abc import Callable

from hub.base.timestamps import to_timestamp
from hub.registry.impact import may_be_selected
from hub.registry.outcomes.outcome_book import Due, Entry, Key, OutcomeBook, Reported
from hub.registry.outcomes.shown import fault_of_requests
from hub.registry.same_server import server_id
from hub.registry.selection.leases import Lease
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    FAULT_REQUESTS_FAIL,
    FAULT_UNSPECIFIED,
    STATUS_HEALTHY,
    Endpoint,
    ModelOutcomes,
)
from llmhub.v1.registry_service_pb2 import Outcome


class FleetOutcomes:
    """The outcomes of one registry's endpoints."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.book = OutcomeBook()
        registry.attach(self)

    def report(self, lease: Lease, outcome: Outcome | None, now_ms: int) -> None:
        """A lease was released, with or without an outcome."""
        if outcome is None and not self.book.has_ejected:
            # Only the trial of a breaker ends with its lease.
            return
        key = self._key(lease)
        if key is None:
            return
        if outcome is None:
            due = self.book.end_trial(key, lease.id, now_ms)
        else:
            reported = Reported(outcome, lease.owner, lease.id, now_ms)
            due = self.book.report(key, reported, lambda: self._servers(key.model))
        self._publish(due, now_ms)

    def begin_trial(self, lease: Lease, now_ms: int) -> None:
        """A lease was taken on an endpoint whose breaker waits for a trial."""
        key = self._key(lease)
        if key is not None:
            due = self.book.begin_trial(key, lease.id, lease.expires_ms, now_ms)
            self._publish(due, now_ms)

    # See `hub.registry.state.Companion`.

    def next_deadline_ms(self) -> int | None:
        """See `Companion`."""
        return self.book.next_ms()

    def expire(self, now_ms: int) -> None:
        """See `Companion`."""
        while (due := self.book.pop_due(now_ms)) is not None:
            self._publish(due, now_ms)

    def forget(self, endpoint_id: str) -> None:
        """See `Companion`."""
        self.book.forget(endpoint_id)

    def _key(self, lease: Lease) -> Key | None:
        record = self._registry.get(lease.endpoint_id)
        return Key(server_id(record.message), lease.model) if record is not None else None

    def _servers(self, model: str) -> int:
        """How many servers can serve a model now."""
        found = (record.message for record in self._registry.with_model(model))
        return len(
            {
                server_id(endpoint)
                for endpoint in found
                if endpoint.status == STATUS_HEALTHY and may_be_selected(endpoint)
            }
        )

    def _publish(self, due: Due | None, now_ms: int) -> None:
        if due is None:
            return
        change = self._writer(due, now_ms)
        for id_ in self._registry.addresses_of_server(due.server):
            self._registry.amend(id_, change)

    def _writer(self, due: Due, now_ms: int) -> Callable[[Endpoint], bool]:
        shown = [_shown(model, entry, now_ms) for model, entry in self.book.entries(due.server)]

        def write(endpoint: Endpoint) -> bool:
            del endpoint.outcomes[:]
            endpoint.outcomes.extend(shown)
            # Other faults are those of failed probes, which say more.
            if endpoint.fault in (FAULT_UNSPECIFIED, FAULT_REQUESTS_FAIL):
                endpoint.fault = fault_of_requests(endpoint)
            return due.is_event

        return write


def _shown(model: str, entry: Entry, now_ms: int) -> ModelOutcomes:
    found, breaker = entry.evidence.findings(now_ms), entry.breaker
    shown = ModelOutcomes(
        model=model,
        breaker=breaker.state,
        reason=breaker.reason,
        on_trial=breaker.on_trial,
        ejections=breaker.ejections,
        recent_requests=round(found.requests, 2),
        failed_ratio=round(found.failed, 3),
    )
    if breaker.changes_ms is not None:
        shown.changes_at.CopyFrom(to_timestamp(breaker.changes_ms))
    if found.first_token_s is not None:
        shown.time_to_first_token.FromMilliseconds(round(found.first_token_s * 1000))
    if found.tokens_per_s is not None:
        shown.tokens_per_second = round(found.tokens_per_s, 2)
    return shown
