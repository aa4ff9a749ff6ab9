"""Why a selection finds no endpoint: the error and its metadata."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from hub.base.timestamps import to_ms
from hub.contract.dialect.names import enum_word
from hub.contract.errors import HubError, ModelUnknown, NoCapacity, NoHealthyEndpoint
from hub.contract.rpcs import Tier
from hub.registry.impact import may_be_selected
from hub.registry.outcomes.shown import next_trial_ms
from hub.registry.selection.criteria import NOT_SELECTABLE
from hub.registry.selection.near_names import MAX_BYTES, MAX_EXAMINED, near_names
from hub.registry.selection.ranking import Limits, Ranking, rejections
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.access.rate_limits import RateLimiter
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import (
    REJECTION_CIRCUIT_OPEN,
    REJECTION_UNKNOWN,
    Rejection,
    SelectEndpointRequest,
)

GUESSES: Final = 60
"""How many times per minute a token gets names that resemble an unknown one."""

# When to retry if no probe is due.
_RETRY_MS: Final = 5_000
_MIN_RETRY_MS: Final = 100
_MAX_RETRY_MS: Final = 60_000
_NAMED_REJECTIONS: Final = 20
# gRPC sends an error in trailers, of which clients accept 8 KiB by default, and encodes
# metadata in base64. A model's name may have 512 characters of 4 bytes.
_METADATA_BYTES: Final = 3500


class SelectionRefusals:
    """Explains a selection that found nothing, from the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._guesses = RateLimiter({Tier.HEAVY: GUESSES})

    def why_none(
        self,
        request: SelectEndpointRequest,
        ranking: Ranking,
        limits: Limits,
        caller: Caller,
        now_ms: int,
    ) -> HubError:
        """The error if no endpoint is suitable: ModelUnknown, NoHealthyEndpoint or NoCapacity."""
        model = request.model
        if not len(ranking):
            return self._why_unknown(model, caller, now_ms)
        rejected = rejections(ranking, limits, now_ms)
        metadata = {"model": model} | _counts(why for _, why, _ in rejected)
        if request.explain:
            room = _METADATA_BYTES - sum(len(f"{key}{metadata[key]}".encode()) for key in metadata)
            for verdict, _, detail in rejected[:_NAMED_REJECTIONS]:
                key = f"rejected {verdict.endpoint.id}"
                room -= len(f"{key}{detail}".encode())
                if room < 0:
                    break
                metadata[key] = detail
        reasons = {why for _, why, _ in rejected} - NOT_SELECTABLE
        if reasons:
            meets = "is known to meet" if REJECTION_UNKNOWN in reasons else "meets"
            return NoCapacity(
                f"healthy endpoints have {_brief(model)}, but none {meets} the request's needs",
                metadata=metadata,
            )
        opened = sum(why == REJECTION_CIRCUIT_OPEN for _, why, _ in rejected)
        usable = "healthy and enabled" if not opened else "healthy, enabled and not ejected"
        retry_ms = _next_chance_ms((verdict.endpoint for verdict, _, _ in rejected), now_ms)
        return NoHealthyEndpoint(
            f"{len(rejected)} endpoints have {_brief(model)}, but none is {usable}",
            metadata=metadata,
            retry_after_ms=retry_ms,
        )

    def _why_unknown(self, model: str, caller: Caller, now_ms: int) -> HubError:
        """The error if no endpoint that was probed since the start has the model."""
        not_all_probed = any(
            may_be_selected(record.message) and not record.message.HasField("last_checked_at")
            for record in self._registry.endpoints()
        )
        if not_all_probed:
            return NoHealthyEndpoint(
                f"no endpoint is known to have {_brief(model)}, and not all have been probed yet",
                metadata={"model": model},
                retry_after_ms=_RETRY_MS,
            )
        near = self._near(model, caller, now_ms)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        metadata = {"model": model} | {f"near_{i}": name for i, name in enumerate(near, start=1)}
        return ModelUnknown(f"no endpoint has {_brief(model)}{hint}", metadata=metadata)

    def _near(self, model: str, caller: Caller, now_ms: int) -> list[str]:
        """Similar names; none for a caller that asks too often: a search takes milliseconds."""
        allowed = self._guesses.take(caller.principal.token_id, Tier.HEAVY, now_ms).allowed
        if not allowed:
            return []
        return near_names(model, self._registry.model_index.around(model, MAX_EXAMINED))


def _brief(name: str) -> str:
    """A name cut for an error message, where gRPC escapes a byte as three characters."""
    encoded = name.encode()
    if len(encoded) <= MAX_BYTES:
        return name
    return f"{encoded[:MAX_BYTES].decode(errors='ignore')}…"


def _counts(rejections: Iterable[Rejection]) -> dict[str, str]:
    """How many were rejected for each reason, for an error's metadata.

    The prefix distinguishes the reason "model" from the requested name under "model".
    """
    return {
        f"rejected_{enum_word(Rejection.DESCRIPTOR, why)}": str(count)
        for why, count in sorted(Counter(rejections).items())
    }


def _next_chance_ms(endpoints: Iterable[Endpoint], now_ms: int) -> int:
    """Milliseconds until the next probe or trial of any of these that could then be selected."""
    waits = []
    for endpoint in endpoints:
        if not may_be_selected(endpoint):
            continue
        if (trial_ms := next_trial_ms(endpoint)) is not None:
            waits.append(trial_ms - now_ms)
        elif endpoint.HasField("next_check_at"):
            waits.append(to_ms(endpoint.next_check_at) - now_ms)
    return min(max(min(waits, default=_RETRY_MS), _MIN_RETRY_MS), _MAX_RETRY_MS)
