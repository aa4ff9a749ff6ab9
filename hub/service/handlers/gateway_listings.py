"""The lists of models that a gateway's clients ask for, and the right to be a gateway."""

from collections.abc import Iterator
from operator import itemgetter
from typing import Final

import orjson

from hub.base.tasks import Slices
from hub.contract.errors import ModelUnknown
from hub.registry.state import Registry
from hub.registry.views import View
from hub.service.access.caller import Caller
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, Model

# Ollama's clients parse this time and show it.
_UNKNOWN_TIME: Final = "1970-01-01T00:00:00Z"


class GatewayListings:
    """Answers from the registry; the list of the whole fleet is cached until an event."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._slices = Slices()
        self._tags = b""
        self._tags_revision: int | None = None

    def process_requests(self, _request: None, caller: Caller, _now_ms: int) -> Caller:
        """Who the gateway is, for the calls of its stream."""
        return caller

    def get_openai_model(self, name: str, _caller: Caller, _now_ms: int) -> bytes:
        """One model, in the format of OpenAI's `GET /v1/models/{model}`. Raises ModelUnknown."""
        return self._openai_model(name, View())

    def get_openai_model_in_view(self, name: str, caller: Caller, _now_ms: int) -> bytes:
        """As `get_openai_model`, for a caller that sees a part of the fleet."""
        return self._openai_model(name, caller.view)

    def list_openai_models_in_view(self, _request: None, caller: Caller, _now_ms: int) -> bytes:
        """What the caller may name, in the format of OpenAI's `GET /v1/models`."""
        view, registered = caller.view, dict[str, int]()
        for record in view.of(self._registry):
            at_s = record.message.registered_at.seconds
            for model in record.message.models:
                if view.includes_model(model.name):
                    registered[model.name] = min(at_s, registered.get(model.name, at_s))
        data = [_openai(name, at_s, "fleet") for name, at_s in sorted(registered.items())]
        data += (
            _openai(name, record.message.updated_at.seconds, "alias")
            for name, record in sorted(self._registry.aliases.items(), key=itemgetter(0))
            if view.includes_model(name) and name not in registered
        )
        return orjson.dumps({"object": "list", "data": data})

    async def list_ollama_models(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """The models of the fleet's Ollama servers, in the format of Ollama's `/api/tags`."""
        registry = self._registry
        if self._tags_revision != registry.event_revision:
            revision, models = registry.event_revision, dict[str, Model]()
            work = self._collect(View(), models)
            await self._slices.run(lambda: work)
            self._tags, self._tags_revision = self._as_tags(models, View()), revision
        return self._tags

    async def list_ollama_models_in_view(
        self, _request: None, caller: Caller, _now_ms: int
    ) -> bytes:
        """As `list_ollama_models`, for a caller that sees a part of the fleet."""
        models: dict[str, Model] = {}
        work = self._collect(caller.view, models)
        await self._slices.run(lambda: work)
        return self._as_tags(models, caller.view)

    def _openai_model(self, name: str, view: View) -> bytes:
        alias = self._registry.aliases.get(name)
        if view.includes_model(name):
            if alias is not None:
                at_s = alias.message.updated_at.seconds
                return orjson.dumps(_openai(name, at_s, "alias"))
            records = map(self._registry.get, self._registry.model_index.ids_meant(name))
            ages = [
                record.message.registered_at.seconds
                for record in records
                if record is not None and view.includes(record.message)
            ]
            if ages:
                return orjson.dumps(_openai(name, min(ages), "fleet"))
        raise ModelUnknown(f"no endpoint has {name}", metadata={"model": name})

    def _collect(self, view: View, models: dict[str, Model]) -> Iterator[None]:
        """Adds the models of the Ollama servers, one server at each step."""
        for id_ in [record.message.id for record in view.of(self._registry)]:
            record = self._registry.get(id_)
            if record is not None and record.message.backend == BACKEND_OLLAMA:
                for model in record.message.models:
                    if view.includes_model(model.name):
                        models.setdefault(model.name, model)
            yield

    def _as_tags(self, models: dict[str, Model], view: View) -> bytes:
        named = dict(models)
        for name, record in self._registry.aliases.items():
            for target in record.message.targets:
                if target.model in models and view.includes_model(name):
                    named.setdefault(name, models[target.model])
        return orjson.dumps({"models": [_tag(name, named[name]) for name in sorted(named)]})


def _openai(name: str, created_s: int, owner: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": created_s, "owned_by": owner}


def _tag(name: str, model: Model) -> dict[str, object]:
    return {
        "name": name,
        "model": name,
        "modified_at": _UNKNOWN_TIME,
        "size": model.size_bytes,
        "digest": model.digest,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": model.family,
            "families": [model.family] if model.family else [],
            "parameter_size": model.parameter_size,
            "quantization_level": model.quantization,
        },
    }
