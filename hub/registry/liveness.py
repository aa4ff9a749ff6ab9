"""What an observation means for an endpoint: the rules of health, pure.

A probe that fails says little; as many in a row as the hub is set to forgive
say that the endpoint is down. One that succeeds says that it is up.
"""

from hub.registry.observation import Load, Observation
from hub.times import to_timestamp
from llmhub.v1.endpoint_pb2 import (
    BACKEND_UNSPECIFIED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
)

MAX_ERROR_CHARACTERS = 2000


def observe(endpoint: Endpoint, seen: Observation, *, unhealthy_after: int) -> bool:
    """Writes an observation into an endpoint.

    Returns whether it changed what watchers care about: status, backend,
    version, models or the error. The bookkeeping of checks (times, latency,
    load, counters) changes with every probe and is no event.
    """
    endpoint.last_checked_at.CopyFrom(to_timestamp(seen.checked_at_ms))
    endpoint.next_check_at.CopyFrom(to_timestamp(seen.next_check_at_ms))
    if seen.error:
        return _failed(endpoint, seen.error[:MAX_ERROR_CHARACTERS], unhealthy_after)
    return _succeeded(endpoint, seen)


def _failed(endpoint: Endpoint, error: str, unhealthy_after: int) -> bool:
    changed = endpoint.last_error != error
    endpoint.last_error = error
    endpoint.consecutive_failures += 1
    if endpoint.consecutive_failures >= unhealthy_after and endpoint.status != STATUS_UNHEALTHY:
        endpoint.status = STATUS_UNHEALTHY
        changed = True
    return changed


def _succeeded(endpoint: Endpoint, seen: Observation) -> bool:
    changed = endpoint.status != STATUS_HEALTHY or bool(endpoint.last_error)
    endpoint.status = STATUS_HEALTHY
    endpoint.last_error = ""
    endpoint.consecutive_failures = 0
    if seen.latency_ms is not None:
        endpoint.latency.FromMicroseconds(round(seen.latency_ms * 1000))
    _take_load(endpoint, seen.load)
    if seen.version and endpoint.version != seen.version:
        endpoint.version = seen.version
        changed = True
    may_set_backend = endpoint.backend_detected or endpoint.backend == BACKEND_UNSPECIFIED
    if may_set_backend and seen.backend not in (BACKEND_UNSPECIFIED, endpoint.backend):
        endpoint.backend = seen.backend
        endpoint.backend_detected = True
        changed = True
    if seen.models is not None and list(endpoint.models) != list(seen.models):
        del endpoint.models[:]
        endpoint.models.extend(seen.models)
        changed = True
    return changed


def _take_load(endpoint: Endpoint, load: Load | None) -> None:
    endpoint.ClearField("load")
    if load is None:
        return
    for figure in ("running", "waiting", "slots", "kv_cache_used_ratio"):
        value = getattr(load, figure)
        if value is not None:
            setattr(endpoint.load, figure, value)


def forget(endpoint: Endpoint) -> None:
    """Makes an endpoint unobserved, as when its address begins to mean another server."""
    endpoint.status = STATUS_UNKNOWN
    del endpoint.models[:]
    for field in ("version", "last_checked_at", "next_check_at", "last_error", "latency", "load"):
        endpoint.ClearField(field)
    endpoint.consecutive_failures = 0
    if endpoint.backend_detected:
        endpoint.backend = BACKEND_UNSPECIFIED
        endpoint.backend_detected = False
