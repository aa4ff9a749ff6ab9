"""What an endpoint's message shows of outcomes, as selections read it. Pure.

The hub and the client's local copy both read the message, so that they agree.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hub.base.timestamps import to_ms
from llmhub.v1.endpoint_pb2 import (
    BREAKER_STATE_CLOSED,
    BREAKER_STATE_HALF_OPEN,
    BREAKER_STATE_OPEN,
    FAULT_REQUESTS_FAIL,
    FAULT_UNSPECIFIED,
    Endpoint,
    Fault,
    Model,
    ModelOutcomes,
)

HALF_FIRST_TOKEN_S: Final = 1.0
"""A model whose first token takes this long gets half of the part "first_token"."""

HALF_RATE: Final = 30.0
"""A model with this output rate, in tokens per second, gets half of the part "throughput"."""

UNREPORTED: Final[Mapping[str, float]] = MappingProxyType(
    {"first_token": 0.5, "throughput": 0.5, "failures": 0.0}
)
"""The parts of a model whose requests nothing has been reported of."""

# This many recent requests weigh as much as knowing nothing.
_DOUBT: Final = 4.0


def outcomes_of(endpoint: Endpoint, model: str) -> ModelOutcomes | None:
    """What outcomes show about one model of an endpoint, or None."""
    return next((each for each in endpoint.outcomes if each.model == model), None)


def learned_parts(endpoint: Endpoint, model: Model) -> Mapping[str, float]:
    """The parts of a score that come from outcomes.

    The fewer and the older the outcomes are, the closer is each part to its value in
    `UNREPORTED`. Rounded to twentieths, so that a little noise does not send all requests
    to one of several equals.
    """
    found = outcomes_of(endpoint, model.name) if endpoint.outcomes else None
    if found is None:
        return UNREPORTED
    trust = found.recent_requests / (found.recent_requests + _DOUBT)
    first_token = throughput = 0.5
    if found.HasField("time_to_first_token"):
        time = found.time_to_first_token
        seconds = time.seconds + time.nanos / 1e9
        first_token = HALF_FIRST_TOKEN_S / (HALF_FIRST_TOKEN_S + seconds)
    if found.HasField("tokens_per_second"):
        rate = found.tokens_per_second
        throughput = rate / (rate + HALF_RATE)
    return {
        "first_token": _twentieths(0.5 + (first_token - 0.5) * trust),
        "throughput": _twentieths(0.5 + (throughput - 0.5) * trust),
        "failures": -_twentieths(found.failed_ratio * trust) + 0.0,
    }


def needs_trial(endpoint: Endpoint, model: str) -> bool:
    """Whether the breaker of a model is half open and waits for its trial."""
    found = outcomes_of(endpoint, model)
    return found is not None and found.breaker == BREAKER_STATE_HALF_OPEN and not found.on_trial


def why_open(endpoint: Endpoint, model: str) -> str:
    """Why an endpoint may not be chosen for a model now, in words; empty if it may."""
    found = outcomes_of(endpoint, model)
    if found is None:
        return ""
    if found.breaker == BREAKER_STATE_OPEN:
        return f"its circuit breaker is open: {found.reason}"
    if found.breaker == BREAKER_STATE_HALF_OPEN and found.on_trial:
        return "its circuit breaker is half open, and the single trial is under way"
    return ""


def with_closed_circuit(endpoint: Endpoint, models: list[Model]) -> list[Model]:
    """Those of an endpoint's models that it may be chosen for; all of them if there are none."""
    return [model for model in models if not why_open(endpoint, model.name)] or models


def fault_of_requests(endpoint: Endpoint) -> Fault:
    """The fault of an endpoint whose probes succeed."""
    if any(each.breaker != BREAKER_STATE_CLOSED for each in endpoint.outcomes):
        return FAULT_REQUESTS_FAIL
    return FAULT_UNSPECIFIED


def next_trial_ms(endpoint: Endpoint) -> int | None:
    """When the first of an endpoint's open breakers changes, in epoch milliseconds, or None."""
    return min(
        (to_ms(each.changes_at) for each in endpoint.outcomes if each.HasField("changes_at")),
        default=None,
    )


def _twentieths(part: float) -> float:
    return round(part * 20) / 20
