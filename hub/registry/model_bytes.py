"""Bounds what the models of one endpoint take, from probes and sidecars alike. Pure.

One server or sidecar that reports many models with long facts must not make snapshots too
large for their readers.
"""

from collections.abc import Sequence

from hub.base.bounds import MODEL_BYTES_PER_ENDPOINT
from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED, MODEL_STATE_LOADING, Model


def bounded(models: Sequence[Model]) -> Sequence[Model]:
    """Returns the models, in their order, as far as MODEL_BYTES_PER_ENDPOINT reaches.

    Models in memory, and those on their way there, come before those on disk.
    """
    sizes = [model.ByteSize() for model in models]
    if sum(sizes) <= MODEL_BYTES_PER_ENDPOINT:
        return models
    is_ready = (MODEL_STATE_LOADED, MODEL_STATE_LOADING)
    order = sorted(range(len(models)), key=lambda index: models[index].state not in is_ready)
    left = MODEL_BYTES_PER_ENDPOINT
    kept = set()
    for index in order:
        if sizes[index] > left:
            break
        left -= sizes[index]
        kept.add(index)
    return [model for index, model in enumerate(models) if index in kept]
