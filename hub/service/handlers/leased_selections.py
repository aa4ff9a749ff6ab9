"""Takes the leases of selections, encodes the selections, and takes leases back with outcomes."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf.wrappers_pb2 import BytesValue

from hub.base.timestamps import to_timestamp
from hub.contract.errors import LeaseNotFound, LimitReached
from hub.registry import listings
from hub.registry.following import EndpointRecord
from hub.registry.outcomes.fleet_outcomes import FleetOutcomes
from hub.registry.selection.affinity import Affinity
from hub.registry.selection.criteria import Verdict
from hub.registry.selection.leases import Lease, Leases, TooManyLeases
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from llmhub.v1.registry_service_pb2 import (
    ReleaseSelectionRequest,
    SelectEndpointRequest,
    Selection,
)

MAX_LEASES: Final = 100_000
MAX_LEASES_PER_TOKEN: Final = 10_000


# About 1 KB each: the endpoints that take turns at the head of the rankings.
_REMEMBERED: Final = 1_024

_Encoded = tuple[EndpointRecord, float, bytes]

Taken = tuple[list[bytes], Sequence[Lease]]
"""Encoded selections, as a response repeats them, and their leases."""


class LeasedSelections:
    """The selections that hold leases on the registry's endpoints."""

    def __init__(self, registry: Registry, outcomes: FleetOutcomes, leases: Leases) -> None:
        self._registry = registry
        self.outcomes = outcomes
        self.leases = leases
        # By endpoint and model: the record and the score that were encoded, and the encoding.
        self._encoded: dict[tuple[str, str], _Encoded] = {}

    def take(
        self,
        request: SelectEndpointRequest,
        chosen: Iterable[Verdict],
        caller: Caller,
        now_ms: int,
        affinity: Affinity | None = None,
        waited_ms: int | None = None,
    ) -> Taken:
        """Takes the leases and encodes the selections. Raises LimitReached.

        Only the first `count` of the request get leases; the others are its fallbacks.
        `affinity` is the order of the request's affinity key, `waited_ms` how long the
        request waited, if it did.
        """
        if not request.HasField("lease_ttl") and affinity is None and waited_ms is None:
            return [self._without_lease(verdict) for verdict in chosen], ()
        ttl_ms, leased = 0, request.count or 1
        if request.HasField("lease_ttl"):
            ttl_ms = max(1, request.lease_ttl.ToMilliseconds())
        taken: list[Lease] = []
        trials: list[Lease] = []
        fragments = []
        for position, verdict in enumerate(chosen):
            id_ = verdict.endpoint.id
            said = Selection(score=verdict.score, model=verdict.model.name)
            if ttl_ms and position < leased:
                lease = self._take_one(id_, said.model, ttl_ms, now_ms, caller, taken)
                if verdict.needs_trial:
                    trials.append(lease)
                said.lease_id = lease.id
                said.lease_expires_at.CopyFrom(to_timestamp(lease.expires_ms))
            elif verdict.needs_trial:
                # A trial needs a lease, so this one cannot be a fallback.
                continue
            if affinity is not None and (rank := affinity.rank(verdict)) is not None:
                said.affinity_rank = rank
            if waited_ms is not None:
                said.waited.FromMilliseconds(waited_ms)
            fragments.append(_fragment(self._record(id_), said))
        for lease in trials:
            self.outcomes.begin_trial(lease, now_ms)
        return fragments, taken

    def _without_lease(self, verdict: Verdict) -> bytes:
        """An encoded selection; the same bytes until the endpoint or its score changes."""
        record, score = self._record(verdict.endpoint.id), verdict.score
        key = verdict.endpoint.id, verdict.model.name
        known = self._encoded.get(key)
        if known is not None and known[0] is record and known[1] == score:
            return known[2]
        encoded = _fragment(record, Selection(score=score, model=verdict.model.name))
        if len(self._encoded) >= _REMEMBERED:
            self._encoded.clear()
        self._encoded[key] = record, score, encoded
        return encoded

    def _record(self, id_: str) -> EndpointRecord:
        record = self._registry.get(id_)
        assert record is not None
        return record

    def release(self, request: ReleaseSelectionRequest, caller: Caller, now_ms: int) -> None:
        """Ends a lease. Only the token that took it may report an outcome.

        Raises LeaseNotFound.
        """
        self.leases.expire(now_ms)
        lease = self.leases.get(request.lease_id)
        outcome = request.outcome if request.HasField("outcome") else None
        if lease is None or (outcome is not None and lease.owner != caller.principal.token_id):
            raise LeaseNotFound("the lease has expired or never existed")
        self.leases.release(lease.id)
        self.outcomes.report(lease, outcome, now_ms)

    def give_back(self, leases: Iterable[Lease], now_ms: int) -> None:
        """Ends leases whose selection did not reach its caller."""
        for lease in leases:
            if self.leases.release(lease.id) is not None:
                self.outcomes.report(lease, None, now_ms)

    def _take_one(
        self, id_: str, model: str, ttl_ms: int, now_ms: int, caller: Caller, taken: list[Lease]
    ) -> Lease:
        owner = caller.principal.token_id
        try:
            lease = self.leases.take(secrets.token_hex(16), id_, ttl_ms, now_ms, owner, model)
        except TooManyLeases as error:
            for each in taken:
                self.leases.release(each.id)
            raise LimitReached(str(error)) from error
        taken.append(lease)
        return lease


def _fragment(record: EndpointRecord, said: Selection) -> bytes:
    # The endpoint is field 1 of a Selection and of GetEndpointResponse, and the selections
    # are field 1 of SelectEndpointResponse.
    selection = listings.get_endpoint(record) + said.SerializeToString()
    encoded: bytes = BytesValue(value=selection).SerializeToString()
    return encoded
