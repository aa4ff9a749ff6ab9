"""How good an endpoint is for a request: the parts of a score and their weights. Pure.

The hub's SelectEndpoint and the client's local copy of the fleet both use this module, so
that they agree.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hub.registry.outcomes.shown import learned_parts
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Endpoint, Model
from llmhub.v1.registry_service_pb2 import (
    STRATEGY_LEAST_LATENCY,
    STRATEGY_LEAST_LOADED,
    STRATEGY_PREFER_LOADED,
    STRATEGY_ROUND_ROBIN,
    STRATEGY_UNSPECIFIED,
    STRATEGY_WEIGHTED,
    ScoreWeights,
    Strategy,
)
from llmhub.v1.resources_pb2 import HostResources, VramAccount

UNKNOWN: Final = 0.5
"""The value of a part whose figure is not reported: neither good nor bad."""

# A probe with this latency gets half of the part "latency".
_HALF_LATENCY_S: Final = 0.1

_BUILT_IN: Final[Mapping[Strategy, ScoreWeights]] = MappingProxyType(
    {
        STRATEGY_LEAST_LOADED: ScoreWeights(
            loaded=1,
            health=1,
            cpu=2,
            ram=0.5,
            vram=2,
            queue=2,
            in_flight=2,
            latency=0.25,
            first_token=0.25,
            throughput=0.25,
            failures=2,
        ),
        # Four requests in flight at an endpoint with the model in memory weigh as much as
        # loading the model at an idle one.
        STRATEGY_PREFER_LOADED: ScoreWeights(
            loaded=4,
            health=1,
            cpu=0.5,
            ram=0.25,
            vram=0.5,
            queue=1,
            in_flight=1,
            latency=0.25,
            first_token=0.25,
            throughput=0.25,
            failures=2,
        ),
        STRATEGY_ROUND_ROBIN: ScoreWeights(),
        STRATEGY_LEAST_LATENCY: ScoreWeights(
            loaded=1,
            health=1,
            cpu=0.25,
            queue=1,
            in_flight=1,
            latency=4,
            first_token=4,
            throughput=1,
            failures=2,
        ),
    }
)


Weights = Mapping[str, float]
"""A weight for each part, by its name."""


def weights_of(strategy: Strategy, own: ScoreWeights) -> Weights:
    """The weights of a strategy; `own` are those of the request."""
    if strategy == STRATEGY_UNSPECIFIED:
        strategy = STRATEGY_PREFER_LOADED
    weights = own if strategy == STRATEGY_WEIGHTED else _BUILT_IN[strategy]
    return {name: getattr(weights, name) for name in ScoreWeights.DESCRIPTOR.fields_by_name}


def slots_of(endpoint: Endpoint) -> int:
    """How many requests an endpoint serves at once; 1 if it does not say."""
    return max(endpoint.load.slots, 1)


def is_failing(endpoint: Endpoint) -> bool:
    """Whether the endpoint's last probe failed: it ranks below those whose probe succeeded."""
    return endpoint.consecutive_failures > 0


def parts(
    endpoint: Endpoint, model: Model, resources: HostResources | None, vram: VramAccount | None
) -> dict[str, float]:
    """The parts by the names of their weights: 0 to 1, or a penalty below 0.

    `resources` and `vram` are those of the endpoint's host, if known. Leases are not among
    the parts; `Verdict.score` subtracts them. UNKNOWN is the same for all endpoints, so it
    does not change the order of those that report nothing.
    """
    load = endpoint.load
    return {
        "loaded": _loaded(model),
        "health": _health(endpoint),
        "cpu": (
            1 - resources.cpu_percent / 100
            if resources is not None and resources.HasField("cpu_percent")
            else UNKNOWN
        ),
        "ram": _free_ram(resources),
        "vram": _free_vram(vram),
        "queue": -(load.running + load.waiting) / max(load.slots, 1),
        "latency": _latency(endpoint),
        **learned_parts(endpoint, model),
    }


def weighted(found: Mapping[str, float], weights: Weights) -> dict[str, float]:
    """The parts, each times its weight; the score is their sum."""
    # Adding 0.0 turns the -0.0 of an empty queue into 0.0, which readers expect.
    return {name: weights[name] * part + 0.0 for name, part in found.items()}


def _health(endpoint: Endpoint) -> float:
    if endpoint.HasField("flapping"):
        return 0.0
    # An endpoint may fail a probe or two before it is unhealthy.
    return 1.0 if not is_failing(endpoint) else UNKNOWN


def _loaded(model: Model) -> float:
    if model.state == MODEL_STATE_LOADED:
        return 1.0
    return 0.0 if model.state == MODEL_STATE_AVAILABLE else UNKNOWN


def _free_ram(resources: HostResources | None) -> float:
    if resources is None or not resources.HasField("ram_used_bytes"):
        return UNKNOWN
    total = resources.ram_total_bytes
    return min(max(1 - resources.ram_used_bytes / total, 0.0), 1.0) if total else UNKNOWN


def _free_vram(account: VramAccount | None) -> float:
    # The report's own free memory may be outdated: models may have been loaded since.
    if account is None or not account.HasField("free_bytes"):
        return UNKNOWN
    total = account.total_bytes
    return account.free_bytes / total if total else UNKNOWN


def _latency(endpoint: Endpoint) -> float:
    if not endpoint.HasField("latency"):
        return UNKNOWN
    seconds = endpoint.latency.seconds + endpoint.latency.nanos / 1e9
    # Rounded, so that a few microseconds do not send all requests to one of several equals.
    return round(_HALF_LATENCY_S / (_HALF_LATENCY_S + seconds), 2)
