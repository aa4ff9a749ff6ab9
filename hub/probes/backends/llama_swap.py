"""llama-swap: a proxy that starts the server of the model that a request names.

A request to a model's own path, or one that names a model, starts the model's server and
may stop another one. The hub uses only the proxy's own routes, which start nothing:
`/v1/models` (all models in the configuration), `/running` (those whose server is running,
with its state) and `/api/version`. Only the servers behind the proxy know context and
capabilities, so these stay unknown.
"""

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.asker import Asker
from hub.probes.backends.openai import parse_list
from hub.probes.backends.prober import Cadence, Prober, Sighting
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_SWAP,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    Model,
    ModelState,
)

_STATES: dict[str, ModelState] = {
    "ready": MODEL_STATE_LOADED,
    "starting": MODEL_STATE_LOADING,
}


class LlamaSwapProber(Prober):
    """Probes a llama-swap proxy with two requests per probe."""

    kind = BACKEND_LLAMA_SWAP
    title = "llama-swap"

    __slots__ = ("_cadence", "_version")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._version = ""

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = (await ask.get("/v1/models")).json()
        models = parse_list(listed, owner="llama-swap")
        running = await ask.get("/running")
        if running.ok:
            mark_running(models, running.json_or_none())
        if self._cadence.due() or ask.has_connected:
            version = await ask.get("/api/version")
            self._version = json_fields.text(
                version.json_or_none() if version.ok else None,
                "version",
                limit=json_fields.MAX_VERSION,
            )
        return Sighting.of(models, self._version)


def mark_running(models: list[Model], value: JsonValue) -> None:
    """Gives each model its state from `/running`; models that are not there are on disk.

    If the value is not such a list, the models stay as they are.
    """
    found = json_fields.items(value, "running")
    if found is None:
        return
    states = {
        json_fields.model_name(entry, "model"): json_fields.text(entry, "state") for entry in found
    }
    for model in models:
        model.state = _STATES.get(states.get(model.name, ""), MODEL_STATE_AVAILABLE)
