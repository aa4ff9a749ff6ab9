"""The fleet in the words of others: Prometheus targets and OpenAI's list of models."""

import re
from contextlib import suppress
from typing import Final

import orjson

from hub.registry.ring import Compacted
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, AdminState, Backend, Endpoint, Status

_PREFIX: Final = "__meta_llm_hub_"
_NOT_IN_A_LABEL: Final = re.compile("[^a-zA-Z0-9_]")


class Discovery:
    """Both bodies, kept until an event changes what they tell.

    Checks that see nothing new come hundreds of times a second in a large fleet;
    they change neither body.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._targets = b"[]"
        self._targets_revision: int | None = None
        # By endpoint; empty where it is disabled.
        self._fragments: dict[str, bytes] = {}
        self._models = b""
        self._models_revision: int | None = None

    def prometheus_targets(self) -> bytes:
        """Every endpoint that is not disabled, as a target of its own.

        The format of HTTP service discovery
        (https://prometheus.io/docs/prometheus/latest/http_sd/). What scrapers need
        is in `__scheme__` and `__metrics_path__`, all else in labels that relabelling
        may keep; not every backend has metrics, so select by the backend's.
        """
        revision = self._registry.event_revision
        if self._targets_revision != revision:
            self._follow()
            in_order = map(self._fragments.__getitem__, sorted(self._fragments))
            self._targets = b"[%b]" % b",".join(filter(None, in_order))
            self._targets_revision = revision
        return self._targets

    def openai_models(self) -> bytes:
        """Every model and alias of the fleet, in the shape of OpenAI's `GET /v1/models`.

        `created` is when the first of the endpoints that have it was registered, in
        epoch seconds; for an alias, when it was set.
        """
        revision = self._registry.event_revision
        if self._models_revision != revision:
            self._models = _models_of(self._registry)
            self._models_revision = revision
        return self._models

    def _follow(self) -> None:
        """Brings the fragments up to the registry's last event."""
        registry, seen = self._registry, self._targets_revision
        events = None
        if seen is not None:
            with suppress(Compacted):
                events = registry.ring.after(seen, registry.ring.capacity)
        if events is None:
            self._fragments = {
                record.message.id: _target(record.message) for record in registry.endpoints()
            }
            return
        for id_ in {event.id for event in events}:
            record = registry.get(id_)
            if record is None:
                self._fragments.pop(id_, None)
            else:
                self._fragments[id_] = _target(record.message)


def _models_of(registry: Registry) -> bytes:
    # Asked for once an endpoint: it may have many models, and each many endpoints.
    registered = {
        record.message.id: record.message.registered_at.seconds for record in registry.endpoints()
    }
    index = registry.model_index
    models = [
        {
            "id": name,
            "object": "model",
            "created": min(map(registered.__getitem__, index.ids(name))),
            "owned_by": "fleet",
        }
        for name in index.names()
    ]
    models += (
        {
            "id": name,
            "object": "model",
            "created": record.message.updated_at.seconds,
            "owned_by": "alias",
        }
        for name, record in sorted(registry.aliases.items(), key=lambda named: named[0])
        if not index.ids(name)
    )
    return orjson.dumps({"object": "list", "data": models})


def _target(endpoint: Endpoint) -> bytes:
    if endpoint.admin_state == ADMIN_STATE_DISABLED:
        return b""
    return orjson.dumps({"targets": [endpoint.id], "labels": _labels(endpoint)})


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
