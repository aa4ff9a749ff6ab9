"""LM Studio, with its native REST API: `/api/v1/models`, or `/api/v0/models` before 0.4.

It answers an unknown route with 200 and an error in JSON, so the shape of the list
decides, not the status. It reports neither version nor load.
"""

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.asker import Asker
from hub.probes.backends.capabilities import COMPLETION, EMBEDDING, TOOLS, VISION, Capabilities
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LM_STUDIO,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    Model,
)

# What a model of each type can and cannot do.
_TYPES: dict[str, dict[str, bool]] = {
    "llm": {COMPLETION: True, EMBEDDING: False},
    "vlm": {COMPLETION: True, VISION: True, EMBEDDING: False},
    "embedding": {EMBEDDING: True, COMPLETION: False},
    "embeddings": {EMBEDDING: True, COMPLETION: False},
}


class LmStudioProber(Prober):
    """Probes LM Studio with one request per probe, to the newest API that it has."""

    kind = BACKEND_LM_STUDIO
    title = "LM Studio"

    __slots__ = ("_cadence", "_is_old")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._is_old = False

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        if not self._is_old or self._cadence.due():
            answer = await ask.get("/api/v1/models")
            if answer.status not in (404, 405):
                answer.require_ok()
            models = parse_v1(answer.json_or_none())
            if models is not None:
                self._is_old = False
                return Sighting.of(models)
        models = parse_v0((await ask.get("/api/v0/models")).json())
        self._is_old = True
        return Sighting.of(models)


def parse_v1(value: JsonValue) -> list[Model] | None:
    """Parses `/api/v1/models`; None if it is not that list (an older LM Studio)."""
    found = json_fields.items(value, "models")
    if found is None:
        return None
    models = []
    for entry in found:
        if not (name := json_fields.model_name(entry, "key")):
            continue
        instances = json_fields.items(entry, "loaded_instances") or []
        contexts = [
            size
            for instance in instances
            if (size := json_fields.whole(instance, "config", "context_length"))
        ]
        capabilities = _capabilities_v1(entry)
        greatest = json_fields.whole(entry, "max_context_length") or None
        models.append(
            json_fields.model(
                name,
                state=MODEL_STATE_LOADED if instances else MODEL_STATE_AVAILABLE,
                size_bytes=json_fields.whole(entry, "size_bytes"),
                family=json_fields.text(entry, "architecture"),
                parameter_size=json_fields.text(entry, "params_string"),
                quantization=json_fields.text(entry, "quantization", "name")
                or json_fields.text(entry, "quantization"),
                # A request may reach any instance, so only the smallest context is certain.
                context_length=min(contexts) if contexts else greatest,
                capabilities=capabilities.present,
                absent_capabilities=capabilities.absent,
            )
        )
    return json_fields.by_name(models)


def parse_v0(value: JsonValue) -> list[Model]:
    """Parses `/api/v0/models`. Raises WrongKind if there is no list."""
    found = json_fields.items(value, "data")
    if found is None:
        raise WrongKind("answered neither /api/v1/models nor /api/v0/models as LM Studio does")
    models = []
    for entry in found:
        if name := json_fields.model_name(entry, "id"):
            capabilities = _capabilities_v0(entry)
            is_loaded = json_fields.text(entry, "state") == "loaded"
            in_force = json_fields.whole(entry, "loaded_context_length") if is_loaded else None
            models.append(
                json_fields.model(
                    name,
                    state=MODEL_STATE_LOADED if is_loaded else MODEL_STATE_AVAILABLE,
                    family=json_fields.text(entry, "arch"),
                    quantization=json_fields.text(entry, "quantization"),
                    context_length=in_force
                    or json_fields.whole(entry, "max_context_length")
                    or None,
                    capabilities=capabilities.present,
                    absent_capabilities=capabilities.absent,
                )
            )
    return json_fields.by_name(models)


def _of_type(entry: JsonValue) -> Capabilities:
    capabilities = Capabilities()
    for word, is_there in _TYPES.get(json_fields.text(entry, "type"), {}).items():
        capabilities.add(word, is_there=is_there)
    return capabilities


def _capabilities_v1(entry: JsonValue) -> Capabilities:
    capabilities = _of_type(entry)
    for word, member in ((VISION, "vision"), (TOOLS, "trained_for_tool_use")):
        capabilities.add(word, is_there=json_fields.truth(entry, "capabilities", member))
    return capabilities


def _capabilities_v0(entry: JsonValue) -> Capabilities:
    capabilities = _of_type(entry)
    for word in json_fields.words(entry, "capabilities"):
        capabilities.add(word, is_there=True)
    return capabilities
