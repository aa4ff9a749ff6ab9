"""What an observation means for an endpoint: the rules of health. Pure.

One failed probe means little. As many in a row as the settings say mean that the endpoint
is down, and so does one if the endpoint's sidecar finds it down too. One success means
that it is up. A sidecar's view of its own host distinguishes a dead server from one that
the hub cannot reach. It never makes an endpoint healthy, because the hub's callers must be
able to reach it.
"""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from hub.base.timestamps import to_timestamp
from hub.registry.observation import Load, Observation
from hub.registry.outcomes.shown import fault_of_requests
from llmhub.v1.endpoint_pb2 import (
    BACKEND_UNSPECIFIED,
    FAULT_DEAD,
    FAULT_NO_ANSWER,
    FAULT_NOT_SERVING,
    FAULT_REQUESTS_FAIL,
    FAULT_UNREACHABLE,
    FAULT_UNSPECIFIED,
    OBSERVER_MANUAL,
    OBSERVER_PROBE,
    OBSERVER_SIDECAR,
    SOURCE_AUTO,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Backend,
    Endpoint,
    FactSource,
    Fault,
    Model,
    Observer,
    SidecarView,
)

MAX_ERROR_CHARACTERS = 2000

# The maximum that EndpointLoad may contain (endpoint.proto).
_MAX_LOAD = 1_000_000_000


def observe(
    endpoint: Endpoint,
    seen: Observation,
    *,
    models: Sequence[Model] | None,
    unhealthy_after: int,
    may_fall: bool = True,
) -> bool:
    """Writes an observation into an endpoint. Confirmed facts are no longer restored.

    `models` is the list to write, or None to leave the models as they are. Unless
    `may_fall`, a healthy endpoint stays healthy however often it fails. Returns whether
    something changed that watchers care about: status, backend, version, models, the error
    or the fault, and which facts are restored. The bookkeeping of checks (times, latency,
    load, counters) changes with every probe and is not an event: in a large fleet it would
    push everything else out of the watchers' history within minutes.
    """
    at = to_timestamp(seen.checked_at_ms)
    restored = _restored(endpoint)
    endpoint.last_checked_at.CopyFrom(at)
    endpoint.next_check_at.CopyFrom(to_timestamp(seen.next_check_at_ms))
    if seen.error:
        changed = _failed(endpoint, seen, unhealthy_after, may_fall=may_fall)
        # A server that wants another key, or still loads, tells its kind all the same.
        if seen.answered or seen.models is not None:
            changed = _take_facts(endpoint, seen.backend, seen.version, models) or changed
            if endpoint.backend_detected and seen.backend:
                _attribute(endpoint.provenance.backend, OBSERVER_PROBE, at)
        if seen.models is not None:
            _attribute(endpoint.provenance.models, OBSERVER_PROBE, at)
    else:
        changed = _succeeded(endpoint, seen, models, at)
    if endpoint.status != STATUS_UNKNOWN:
        _attribute(endpoint.provenance.status, OBSERVER_PROBE, at)
    return changed or _restored(endpoint) != restored


def _failed(endpoint: Endpoint, seen: Observation, unhealthy_after: int, *, may_fall: bool) -> bool:
    error = seen.error[:MAX_ERROR_CHARACTERS]
    changed = endpoint.last_error != error
    endpoint.last_error = error
    endpoint.ClearField("load")
    if not (seen.is_extra and endpoint.consecutive_failures):
        endpoint.consecutive_failures += 1
    if (
        endpoint.consecutive_failures >= unhealthy_after
        and endpoint.status != STATUS_UNHEALTHY
        and (may_fall or endpoint.status != STATUS_HEALTHY)
    ):
        endpoint.status = STATUS_UNHEALTHY
        changed = True
    fault = FAULT_NOT_SERVING if seen.answered else _silence(endpoint)
    return _set_fault(endpoint, fault) or changed


def _succeeded(
    endpoint: Endpoint, seen: Observation, models: Sequence[Model] | None, at: Timestamp
) -> bool:
    changed = endpoint.status != STATUS_HEALTHY or bool(endpoint.last_error)
    endpoint.status = STATUS_HEALTHY
    endpoint.last_error = ""
    endpoint.fault = fault_of_requests(endpoint)
    endpoint.consecutive_failures = 0
    if seen.latency_ms is not None:
        endpoint.latency.FromMicroseconds(round(seen.latency_ms * 1000))
    _take_load(endpoint, seen.load)
    learned = _take_facts(endpoint, seen.backend, seen.version, models)
    provenance = endpoint.provenance
    if seen.version:
        _attribute(provenance.version, OBSERVER_PROBE, at)
    if endpoint.backend_detected and seen.backend:
        _attribute(provenance.backend, OBSERVER_PROBE, at)
    if seen.models is not None:
        _attribute(provenance.models, OBSERVER_PROBE, at)
    return learned or changed


def apply_view(
    endpoint: Endpoint,
    view: SidecarView,
    *,
    backend: Backend = BACKEND_UNSPECIFIED,
    models: Sequence[Model] | None = None,
) -> bool:
    """Writes a sidecar's view of its own server into an endpoint; see `observe`.

    The results of the hub's own probes are better, so the sidecar's facts are used only
    while the probes fail.
    """
    old = endpoint.sidecar_view
    restored = _restored(endpoint)
    changed = not endpoint.HasField("sidecar_view") or (
        (old.agent_id, old.HasField("reachable"), old.reachable, old.error, old.version)
        != (view.agent_id, view.HasField("reachable"), view.reachable, view.error, view.version)
    )
    endpoint.sidecar_view.CopyFrom(view)
    if endpoint.status != STATUS_HEALTHY or endpoint.last_error:
        changed = _take_facts(endpoint, backend, view.version, models) or changed
        provenance = endpoint.provenance
        if view.version:
            _attribute(provenance.version, OBSERVER_SIDECAR, view.reported_at)
        if endpoint.backend_detected and backend:
            _attribute(provenance.backend, OBSERVER_SIDECAR, view.reported_at)
        if models is not None:
            _attribute(provenance.models, OBSERVER_SIDECAR, view.reported_at)
    return _reconsider(endpoint) or changed or _restored(endpoint) != restored


def fall(endpoint: Endpoint, now_ms: int) -> None:
    """Makes an endpoint unhealthy that failed often enough before."""
    endpoint.status = STATUS_UNHEALTHY
    _attribute(endpoint.provenance.status, OBSERVER_PROBE, to_timestamp(now_ms))


def is_reported_down(endpoint: Endpoint) -> bool:
    """Whether the endpoint's sidecar finds the server down."""
    view = endpoint.sidecar_view
    return endpoint.HasField("sidecar_view") and view.HasField("reachable") and not view.reachable


def remove_view(endpoint: Endpoint) -> bool:
    """Removes the sidecar's view. The facts that it reported stay, with their age.

    Returns True: it is an event for watchers.
    """
    endpoint.ClearField("sidecar_view")
    _reconsider(endpoint)
    return True


def register(endpoint: Endpoint) -> None:
    """Attributes a registered backend to its source: a sidecar or a person."""
    if endpoint.backend != BACKEND_UNSPECIFIED and not endpoint.backend_detected:
        is_auto = endpoint.source == SOURCE_AUTO
        endpoint.provenance.backend.Clear()
        endpoint.provenance.backend.observer = OBSERVER_SIDECAR if is_auto else OBSERVER_MANUAL


def forget(endpoint: Endpoint) -> None:
    """Removes all observations, as when the endpoint's address now means another server."""
    endpoint.status = STATUS_UNKNOWN
    del endpoint.models[:]
    for field in _OBSERVED:
        endpoint.ClearField(field)
    endpoint.consecutive_failures = 0
    if endpoint.backend_detected:
        endpoint.backend = BACKEND_UNSPECIFIED
        endpoint.backend_detected = False


_OBSERVED = (
    *("version", "last_checked_at", "next_check_at", "last_error", "latency", "load"),
    *("sidecar_view", "fault", "flapping", "provenance", "outcomes"),
)


def _take_facts(
    endpoint: Endpoint, backend: Backend, version: str, models: Sequence[Model] | None
) -> bool:
    changed = False
    if version and endpoint.version != version:
        endpoint.version = version
        changed = True
    may_set_backend = endpoint.backend_detected or endpoint.backend == BACKEND_UNSPECIFIED
    if may_set_backend and backend not in (BACKEND_UNSPECIFIED, endpoint.backend):
        endpoint.backend = backend
        endpoint.backend_detected = True
        changed = True
    if models is not None and list(endpoint.models) != list(models):
        del endpoint.models[:]
        endpoint.models.extend(models)
        changed = True
    return changed


def _take_load(endpoint: Endpoint, load: Load | None) -> None:
    endpoint.ClearField("load")
    if load is None:
        return
    for figure in ("running", "waiting", "slots", "kv_cache_used_ratio", "prefix_cache_hit_ratio"):
        value = getattr(load, figure)
        # Some backends report impossible figures.
        if value is not None and value <= _MAX_LOAD:
            setattr(endpoint.load, figure, value)


def _attribute(source: FactSource, observer: Observer, at: Timestamp) -> None:
    source.observer = observer
    source.observed_at.CopyFrom(at)
    source.restored = False


def _restored(endpoint: Endpoint) -> tuple[bool, ...]:
    """Which facts are restored; watchers see changes of this, too."""
    sources = endpoint.provenance
    return (
        sources.status.restored,
        sources.backend.restored,
        sources.version.restored,
        sources.models.restored,
    )


def _silence(endpoint: Endpoint) -> Fault:
    """The fault of an endpoint that does not answer the hub."""
    if not endpoint.HasField("sidecar_view") or not endpoint.sidecar_view.HasField("reachable"):
        return FAULT_NO_ANSWER
    return FAULT_UNREACHABLE if endpoint.sidecar_view.reachable else FAULT_DEAD


def _reconsider(endpoint: Endpoint) -> bool:
    if endpoint.fault in (FAULT_UNSPECIFIED, FAULT_NOT_SERVING, FAULT_REQUESTS_FAIL):
        return False
    return _set_fault(endpoint, _silence(endpoint))


def _set_fault(endpoint: Endpoint, fault: Fault) -> bool:
    changed = endpoint.fault != fault
    endpoint.fault = fault
    return changed


def pause(endpoint: Endpoint) -> None:
    """Makes the health of an endpoint unknown, because it is not probed while disabled.

    The other observed facts stay, as of the last probe.
    """
    endpoint.status = STATUS_UNKNOWN
    endpoint.consecutive_failures = 0
    for field in ("last_error", "fault", "next_check_at", "load"):
        endpoint.ClearField(field)
    if endpoint.HasField("provenance"):
        endpoint.provenance.ClearField("status")
