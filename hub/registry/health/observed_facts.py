"""The observed facts of an endpoint, and when they survive a change. Pure.

They are carried over when an endpoint is registered again, and restored after a restart
of the hub. The rule is the same: they are valid as long as the id means the same server.

A sidecar may know less about a model than the hub does; an old one sends bare names. So a
fact that a report omits stays as it was, unless the report shows that the model is
a different one or is no longer in memory.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from hub.base.timestamps import to_ms, to_timestamp
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    BACKEND_UNSPECIFIED,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    MODEL_STATE_UNSPECIFIED,
    OBSERVER_MANUAL,
    STATUS_UNKNOWN,
    Endpoint,
    Model,
    Provenance,
)

_PLAIN: Final = ("status", "version", "consecutive_failures", "last_error", "fault")
_MESSAGES: Final = (
    *("last_checked_at", "next_check_at", "latency", "load"),
    *("sidecar_view", "flapping", "provenance"),
)

# Facts that a restarted hub can use. The new process schedules the next check itself; a
# load, a sidecar's view and a flapping mark are meaningless without continued observation.
_LASTING: Final = ("last_checked_at", "latency", "provenance")
# These fields identify the server that the facts are about.
_IDENTITY: Final = ("id", "scheme", "base_path", "backend", "backend_detected")
_SOURCES: Final = tuple(Provenance.DESCRIPTOR.fields_by_name)


def carry_over(before: Endpoint, after: Endpoint) -> bool:
    """Copies the observed facts of `before` to `after`; False if they are no longer valid."""
    if not _is_same_server(before, after):
        after.status = STATUS_UNKNOWN
        return False
    observed = Endpoint(
        models=before.models,
        same_server_as=before.same_server_as,
        outcomes=before.outcomes,
    )
    for field in _PLAIN:
        setattr(observed, field, getattr(before, field))
    for field in _MESSAGES:
        if before.HasField(field):
            getattr(observed, field).CopyFrom(getattr(before, field))
    if after.backend == BACKEND_UNSPECIFIED and before.backend_detected:
        observed.backend = before.backend
        observed.backend_detected = True
    after.MergeFrom(observed)
    if after.backend == BACKEND_UNSPECIFIED and after.HasField("provenance"):
        after.provenance.ClearField("backend")
    return True


def lasting_facts(endpoint: Endpoint) -> Endpoint | None:
    """The facts to keep for the hub's next start.

    None for an endpoint that was never observed or that is disabled.
    """
    is_known = endpoint.HasField("last_checked_at") or endpoint.models
    if endpoint.admin_state == ADMIN_STATE_DISABLED or not is_known:
        return None
    facts = Endpoint(models=endpoint.models)
    for field in (*_IDENTITY, *_PLAIN):
        setattr(facts, field, getattr(endpoint, field))
    for field in ("registered_at", *_LASTING):
        if endpoint.HasField(field):
            getattr(facts, field).CopyFrom(getattr(endpoint, field))
    return facts


def restore(facts: Endpoint, endpoint: Endpoint) -> bool:
    """Writes the `lasting_facts` of an earlier start into an endpoint, marked as restored.

    Returns False, and writes nothing, if the endpoint is disabled, has been observed since
    the start, or is not the one that the facts are about: it was registered again, or its
    scheme, base path or backend changed.
    """
    if (
        endpoint.admin_state == ADMIN_STATE_DISABLED
        or endpoint.HasField("last_checked_at")
        or endpoint.models
        or facts.registered_at != endpoint.registered_at
        or not carry_over(facts, endpoint)
    ):
        return False
    for name in _SOURCES:
        if endpoint.provenance.HasField(name):
            source = getattr(endpoint.provenance, name)
            source.restored = source.observer != OBSERVER_MANUAL
    return True


def shift(facts: Endpoint, by_ms: int) -> None:
    """Moves the times of the observations to another clock.

    `Model.expires_at` stays, because it is a time of the inference server's clock.
    """
    if facts.HasField("last_checked_at"):
        facts.last_checked_at.CopyFrom(to_timestamp(to_ms(facts.last_checked_at) + by_ms))
    for name in _SOURCES:
        if not facts.provenance.HasField(name):
            continue
        source = getattr(facts.provenance, name)
        if source.HasField("observed_at"):
            source.observed_at.CopyFrom(to_timestamp(to_ms(source.observed_at) + by_ms))


def _is_same_server(before: Endpoint, after: Endpoint) -> bool:
    is_same_backend = after.backend in (BACKEND_UNSPECIFIED, before.backend)
    return is_same_backend and (before.scheme, before.base_path) == (after.scheme, after.base_path)


_IN_MEMORY = (MODEL_STATE_UNSPECIFIED, MODEL_STATE_LOADED, MODEL_STATE_LOADING)


def merged(known: Iterable[Model], reported: Iterable[Model], *, is_all: bool) -> Sequence[Model]:
    """The models of an endpoint after a report, sorted by name.

    `is_all`: the report names every model; otherwise the models that it does not name
    stay. If the report names a model twice, the first one counts.
    """
    before = {model.name: model for model in known}
    after = {} if is_all else dict(before)
    for model in reversed(list(reported)):
        after[model.name] = _merge(before.get(model.name), model)
    return [after[name] for name in sorted(after)]


def _merge(known: Model | None, reported: Model) -> Model:
    if known is None or _is_other(known, reported):
        return reported
    model = Model()
    model.CopyFrom(known)
    if reported.state not in _IN_MEMORY:
        model.ClearField("vram_bytes")
        model.ClearField("expires_at")
    if reported.capabilities_known:
        # The report has the complete list, so a capability that it omits is absent.
        del model.capabilities[:]
        del model.absent_capabilities[:]
    for field, _ in reported.ListFields():
        # A list replaces the known one; MergeFrom would append.
        model.ClearField(field.name)
    model.MergeFrom(reported)
    return model


def _is_other(known: Model, reported: Model) -> bool:
    """Whether the name now stands for different weights."""
    return bool(known.digest and reported.digest and known.digest != reported.digest)
