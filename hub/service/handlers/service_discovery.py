"""The fleet in the formats of others: Prometheus targets and OpenAI's list of models."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Final

import orjson

from hub.base.slices import Slices
from hub.registry.history.ring import Compacted
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, AdminState, Backend, Endpoint, Status

_PREFIX: Final = "__meta_llm_hub_"
_NOT_IN_A_LABEL: Final = re.compile("[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class _Listed:
    """What both bodies say of one endpoint; `target` is empty if it is disabled."""

    target: bytes
    registered_s: int


class DiscoveryHandlers:
    """Both bodies, kept until an event changes them.

    A large fleet has hundreds of checks per second that see nothing new and change neither
    body. The entries of endpoints are made in slices: all of them at first, and again when
    the ring no longer has all changes since.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._slices = Slices()
        self._listed: dict[str, _Listed] = {}
        self._changed: set[str] = set()
        self._seen: int | None = None
        self._targets = b""
        self._targets_revision: int | None = None
        self._models = b""
        self._models_revision: int | None = None

    async def list_prometheus_targets(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """Every endpoint that is not disabled, as a target of its own.

        The format of HTTP service discovery
        (https://prometheus.io/docs/prometheus/latest/http_sd/). What scrapers need
        is in `__scheme__` and `__metrics_path__`, all else in labels that relabelling
        may keep; not every backend has metrics, so select by the backend's.
        """
        await self._slices.run(self._catch_up)
        making = self._make_targets()
        await self._slices.run(lambda: making)
        return self._targets

    async def list_openai_models(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """Every model and alias of the fleet, in the shape of OpenAI's `GET /v1/models`.

        `created` is when the first of the endpoints that have it was registered, in
        epoch seconds; for an alias, when it was set.
        """
        await self._slices.run(self._catch_up)
        making = self._make_models()
        await self._slices.run(lambda: making)
        return self._models

    def _catch_up(self) -> Iterator[None]:
        """Reads the events up to now; returns the steps that apply them."""
        registry, seen = self._registry, self._seen
        self._seen = registry.event_revision
        events = None
        if seen is not None:
            with suppress(Compacted):
                events = registry.ring.after(seen, registry.ring.capacity)
        if events is not None:
            self._changed.update(event.id for event in events)
        else:
            self._changed.update(self._listed, (each.message.id for each in registry.endpoints()))
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
        """The revision of the entries; None while some changes are not in them yet.

        Another call has read them and waits for its turn, or was cancelled.
        """
        return None if self._changed else self._seen

    def _make_targets(self) -> Iterator[None]:
        """Joins the targets again if an event came since; as of its first step."""
        revision = self._listed_revision()
        if revision is not None and self._targets_revision == revision:
            return
        in_order = [self._listed[id_].target for id_ in sorted(self._listed)]
        yield
        self._targets = b"[%b]" % b",".join(filter(None, in_order))
        self._targets_revision = revision

    def _make_models(self) -> Iterator[None]:
        """Makes the list again if an event came since, one model per step.

        What changes between two steps may be missing, so it counts as of the first.
        """
        revision, index = self._listed_revision(), self._registry.model_index
        if revision is not None and self._models_revision == revision:
            return
        models = []
        for name in list(index.names()):
            entries = filter(None, map(self._listed.get, index.ids(name)))
            registered = min(map(_registered_s, entries), default=None)
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
