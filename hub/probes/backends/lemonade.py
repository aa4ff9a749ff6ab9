"""Lemonade Server, which runs models with llama.cpp, ONNX and FastFlowLM.

It also imitates Ollama and LM Studio, so detection looks for it before them. Only its own
routes are used: `/api/v1/models` (on disk) and `/api/v1/health` (in memory, version).
Neither loads a model; every inference route, and `/api/v1/load`, does.
"""

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.asker import Asker
from hub.probes.backends.capabilities import COMPLETION, Capabilities
from hub.probes.backends.prober import Prober, Sighting
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LEMONADE,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    Model,
)

HEALTH = "/api/v1/health"

# Labels that name a capability; others ("hot", "coding") do not.
_LABELS = frozenset({"vision", "reasoning", "tool-calling", "embeddings", "reranking", "audio"})
# Models with such a label do not complete text.
_NO_COMPLETION = frozenset({"embeddings", "reranking", "audio", "image", "tts", "classification"})


class LemonadeProber(Prober):
    """Probes a Lemonade Server with two requests per probe."""

    kind = BACKEND_LEMONADE
    title = "Lemonade Server"

    __slots__ = ()

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        health = (await ask.get(HEALTH)).json()
        if not is_lemonade(health):
            raise WrongKind(f"answered {HEALTH} without Lemonade's list of loaded models")
        models = parse_models((await ask.get("/api/v1/models")).json())
        mark_loaded(models, health)
        version = json_fields.text(health, "version", limit=json_fields.MAX_VERSION)
        return Sighting.of(models, version)


def is_lemonade(value: JsonValue) -> bool:
    """Whether this is Lemonade's answer to `/api/v1/health`."""
    return json_fields.items(value, "all_models_loaded") is not None


def parse_models(value: JsonValue) -> list[Model]:
    """Parses `/api/v1/models`: the downloaded models. Raises WrongKind if there is no list.

    Labels name some capabilities; old versions have none, and then none is known. The
    size is in gigabytes with two decimals, too coarse for a number of bytes.
    """
    found = json_fields.items(value, "data")
    if found is None:
        raise WrongKind("answered /api/v1/models without a list of models")
    models = []
    for entry in found:
        name = json_fields.model_name(entry, "id")
        if not name or json_fields.truth(entry, "downloaded") is False:
            continue
        capabilities = Capabilities()
        if json_fields.items(entry, "labels") is not None:
            labels = set(json_fields.words(entry, "labels"))
            capabilities.add(COMPLETION, is_there=not labels & _NO_COMPLETION)
            for label in sorted(labels & _LABELS):
                capabilities.add(label, is_there=True)
        models.append(
            json_fields.model(
                name,
                state=MODEL_STATE_AVAILABLE,
                quantization=_quantization(json_fields.text(entry, "checkpoint")),
                context_length=json_fields.whole(entry, "max_context_window")
                or json_fields.whole(entry, "context_length")
                or None,
                capabilities=capabilities.present,
                absent_capabilities=capabilities.absent,
            )
        )
    return json_fields.by_name(models)


def mark_loaded(models: list[Model], health: JsonValue) -> None:
    """Gives the models that `/api/v1/health` lists their state and their actual context."""
    found = json_fields.items(health, "all_models_loaded") or []
    loaded = {json_fields.model_name(entry, "model_name"): entry for entry in found}
    for model in models:
        entry = loaded.get(model.name)
        if entry is None:
            continue
        is_loading = (
            json_fields.text(entry, "status") == "loading"
            or json_fields.truth(entry, "loaded") is False
        )
        model.state = MODEL_STATE_LOADING if is_loading else MODEL_STATE_LOADED
        if context := json_fields.whole(entry, "recipe_options", "ctx_size"):
            model.context_length = context


def _quantization(checkpoint: str) -> str:
    """The variant of a GGUF checkpoint, as in "unsloth/Qwen3-0.6B-GGUF:Q4_0"."""
    variant = checkpoint.rpartition(":")[2] if ":" in checkpoint else ""
    return "" if variant.endswith(".gguf") else variant
