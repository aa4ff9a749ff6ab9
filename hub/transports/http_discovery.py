"""The fleet in the words of others: Prometheus targets and OpenAI's list of models."""

import re
from typing import Final

import orjson

from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, AdminState, Backend, Endpoint, Status

_PREFIX: Final = "__meta_llm_hub_"
_NOT_IN_A_LABEL: Final = re.compile("[^a-zA-Z0-9_]")


def prometheus_targets(registry: Registry) -> bytes:
    """Every endpoint that is not disabled, as a target of its own.

    The format of HTTP service discovery
    (https://prometheus.io/docs/prometheus/latest/http_sd/). What scrapers need
    is in `__scheme__` and `__metrics_path__`, all else in labels that relabelling
    may keep; not every backend has metrics, so select by the backend's.
    """
    targets = [
        {"targets": [record.message.id], "labels": _labels(record.message)}
        for record in registry.endpoints()
        if record.message.admin_state != ADMIN_STATE_DISABLED
    ]
    return orjson.dumps(targets)


def openai_models(registry: Registry) -> bytes:
    """Every model and alias of the fleet, in the shape of OpenAI's `GET /v1/models`.

    `created` is when the first of the endpoints that have it was registered, in
    epoch seconds; for an alias, when it was set.
    """
    known = set(registry.models())
    models = [
        {
            "id": name,
            "object": "model",
            "created": min(
                record.message.registered_at.seconds for record in registry.with_model(name)
            ),
            "owned_by": "fleet",
        }
        for name in sorted(known)
    ]
    models += (
        {
            "id": name,
            "object": "model",
            "created": record.message.updated_at.seconds,
            "owned_by": "alias",
        }
        for name, record in sorted(registry.aliases.items(), key=lambda named: named[0])
        if name not in known
    )
    return orjson.dumps({"object": "list", "data": models})


def _labels(endpoint: Endpoint) -> dict[str, str]:
    labels = {
        "__scheme__": endpoint.scheme or "http",
        "__metrics_path__": f"{endpoint.base_path}/metrics",
        f"{_PREFIX}id": endpoint.id,
        f"{_PREFIX}name": endpoint.name,
        f"{_PREFIX}agent_id": endpoint.agent_id,
        f"{_PREFIX}backend": _short(Backend.Name(endpoint.backend)),
        f"{_PREFIX}status": _short(Status.Name(endpoint.status)),
        f"{_PREFIX}admin_state": AdminState.Name(endpoint.admin_state)
        .removeprefix("ADMIN_STATE_")
        .lower(),
        f"{_PREFIX}models": f",{','.join(model.name for model in endpoint.models)},",
    }
    for key, value in sorted(endpoint.labels.items()):
        labels[f"{_PREFIX}label_{_NOT_IN_A_LABEL.sub('_', key)}"] = value
    return labels


def _short(name: str) -> str:
    return name.partition("_")[2].lower()
