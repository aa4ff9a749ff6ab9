"""What a sidecar's report of models adds to what the hub knows of them. Pure.

A sidecar may know less of a model than the hub does: an old one sends bare names. So a
fact that is absent from a report leaves the known one as it is, unless the report shows
that the model is another one, or no longer in memory.
"""

from collections.abc import Iterable, Sequence

from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    MODEL_STATE_UNSPECIFIED,
    Model,
)

_IN_MEMORY = (MODEL_STATE_UNSPECIFIED, MODEL_STATE_LOADED, MODEL_STATE_LOADING)


def merged(known: Iterable[Model], reported: Iterable[Model], *, is_all: bool) -> Sequence[Model]:
    """The models of an endpoint after a report, sorted by name.

    `is_all` tells whether the report names every model; if not, those that it does not
    name stay. Of a name that is reported twice the first counts.
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
        # The whole list: what is missing from it is not there.
        del model.capabilities[:]
        del model.absent_capabilities[:]
    for field, _ in reported.ListFields():
        # A list replaces the known one; MergeFrom would append.
        model.ClearField(field.name)
    model.MergeFrom(reported)
    return model


def _is_other(known: Model, reported: Model) -> bool:
    """Whether the name stands for other weights than before."""
    return bool(known.digest and reported.digest and known.digest != reported.digest)
