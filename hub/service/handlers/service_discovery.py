"""The fleet in other programs' formats: Prometheus targets and OpenAI's list of models."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Final

import orjson

from hub.base.tasks import Slices
from hub.contract.dialect.names import enum_word
from hub.registry.history.ring import Follower
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.handlers.render_for_traefik import TraefikHandlers
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, AdminState, Backend, Endpoint, Status

_PREFIX: Final = "__meta_llm_hub_"
_NOT_IN_A_LABEL: Final = re.compile("[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class _Listed:
    """One endpoint's part of both bodies; `target` is empty if it is disabled."""

    target: bytes
    registered_s: int


class DiscoveryHandlers:
    """Both bodies, cached until an event changes them.

    Probes that find nothing new come hundreds of times per second in a large fleet, and
    change neither body. The endpoints' parts are made in slices: those that changed, or
    all of them at first and when the follower has fallen behind the ring.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._slices = Slices()
        self._listed: dict[str, _Listed] = {}
        self._changed: set[str] = set()
        self._follower = Follower(registry.ring)
        self._targets = b""
        self._targets_revision: int | None = None
        self._models = b""
        self._models_revision: int | None = None

    async def list_prometheus_targets(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """Every endpoint that is not disabled, each as its own target.

        The format of HTTP service discovery
        (https://prometheus.io/docs/prometheus/latest/http_sd/). Scrapers read
        `__scheme__` and `__metrics_path__`; relabelling may keep the other labels. Not
        every backend has metrics, so select by the label of the backend.
        """
        await self._slices.run(self._catch_up)
        making = self._make_targets()
        await self._slices.run(lambda: making)
        return self._targets

    async def list_openai_models(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """Every model and alias of the fleet, in the format of OpenAI's `GET /v1/models`.

        `created` is the time in epoch seconds at which the first endpoint with the
        model was registered, or at which an alias was set.
        """
        await self._slices.run(self._catch_up)
        making = self._make_models()
        await self._slices.run(lambda: making)
        return self._models

    def _catch_up(self) -> Iterator[None]:
        """Collects the events up to now; returns the work on what they changed."""
        registry = self._registry
        events = self._follower.take(registry.ring.capacity)
        if events is None:
            self._changed.update(self._listed, (each.message.id for each in registry.endpoints()))
        else:
            self._changed.update(event.id for event in events)
        self._follower.go_to(registry.event_revision)
        return self._list_changed()

    def _list_changed(self) -> Iterator[None]:
        while self._changed:
            id_ = self._changed.pop()
            record = self._registry.get(id_)
            if record is None:
                self._listed.pop(id_, None)
            else:
                endpoint = record.message
                self._listed[id_] = _Listed(_target(endpoint), endpoint.registered_at.seconds)
            yield

    def _listed_revision(self) -> int | None:
        """The revision of `_listed`; None while some of `_changed` are still to be listed.

        Another call has collected them and waits for its turn, or was cancelled.
        """
        return None if self._changed else self._follower.revision

    def _make_targets(self) -> Iterator[None]:
        """Joins the targets again if an event has come, as of the first step."""
        revision = self._listed_revision()
        if revision is not None and self._targets_revision == revision:
            return
        in_order = [self._listed[id_].target for id_ in sorted(self._listed)]
        yield
        self._targets = b"[%b]" % b",".join(filter(None, in_order))
        self._targets_revision = revision

    def _make_models(self) -> Iterator[None]:
        """Makes the list again if an event has come, one model at each step.

        A change between two steps may be missing, so the list is as of the first step.
        """
        revision, index = self._listed_revision(), self._registry.model_index
        if revision is not None and self._models_revision == revision:
            return
        models = []
        for name in list(index.names()):
            listed = filter(None, map(self._listed.get, index.ids(name)))
            registered = min(map(_registered_s, listed), default=None)
            if registered is not None:
                models.append(_model(name, registered, "fleet"))
            yield
        models += (
            _model(name, record.message.updated_at.seconds, "alias")
            for name, record in sorted(self._registry.aliases.items(), key=itemgetter(0))
            if not index.ids(name)
        )
        self._models = orjson.dumps({"object": "list", "data": models})
        self._models_revision = revision


def discovery_handlers(registry: Registry) -> tuple[DiscoveryHandlers, TraefikHandlers]:
    """The handlers of all routes that other programs discover the fleet by."""
    return DiscoveryHandlers(registry), TraefikHandlers(registry)


_registered_s: Final = attrgetter("registered_s")


def _model(name: str, created_s: int, owner: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": created_s, "owned_by": owner}


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
        f"{_PREFIX}backend": enum_word(Backend.DESCRIPTOR, endpoint.backend),
        f"{_PREFIX}status": enum_word(Status.DESCRIPTOR, endpoint.status),
        f"{_PREFIX}admin_state": enum_word(AdminState.DESCRIPTOR, endpoint.admin_state),
        f"{_PREFIX}models": f",{','.join(model.name for model in endpoint.models)},",
    }
    for key, value in sorted(endpoint.labels.items()):
        labels[f"{_PREFIX}label_{_NOT_IN_A_LABEL.sub('_', key)}"] = value
    return labels
