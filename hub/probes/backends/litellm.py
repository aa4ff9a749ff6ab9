"""LiteLLM's proxy: one API before many deployments, most of them elsewhere.

`/health` sends a completion to every deployment, so it is never asked. Up is told by
`/v1/models`, which needs a key; `/health/liveliness` needs none and tells a LiteLLM
from other servers. `/model/info` (a key may be refused it) has the context and the
capabilities of each deployment. Whether a model is in memory somewhere, the proxy does
not know.
"""

from hub.probes import json_fields
from hub.probes.answer import Answer, JsonValue
from hub.probes.backends.capabilities import (
    AUDIO,
    CLASSIFICATION,
    COMPLETION,
    EMBEDDING,
    RERANK,
    THINKING,
    TOOLS,
    VISION,
    Capabilities,
)
from hub.probes.backends.model_list import parse_list
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.probe_client import Asker
from llmhub.v1.endpoint_pb2 import BACKEND_LITELLM, Model

_MODES = {
    "chat": COMPLETION,
    "completion": COMPLETION,
    "responses": COMPLETION,
    "embedding": EMBEDDING,
    "rerank": RERANK,
    "moderation": CLASSIFICATION,
    "audio_transcription": AUDIO,
}
_SUPPORTS = {
    "supports_function_calling": TOOLS,
    "supports_vision": VISION,
    "supports_reasoning": THINKING,
    "supports_audio_input": AUDIO,
}


class LiteLlmProber(Prober):
    """Probes a LiteLLM proxy: two requests a probe."""

    kind = BACKEND_LITELLM
    title = "LiteLLM's proxy"

    __slots__ = ("_cadence", "_has_info", "_version")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._has_info = True
        self._version = ""

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        models = parse_list((await ask.get("/v1/models")).json())
        if self._cadence.due():
            self._has_info = True
            readiness = await ask.get("/health/readiness")
            # The status is 503 while its database is away; the version is told all the same.
            self._version = json_fields.text(
                readiness.json_or_none(), "litellm_version", limit=json_fields.MAX_VERSION
            )
        if self._has_info:
            info = await ask.get("/model/info")
            self._has_info = info.ok
            if info.ok:
                add_info(models, info.json_or_none())
        return Sighting.of(models, self._version)


def is_alive(answer: Answer) -> bool:
    """Whether `/health/liveliness` was answered as LiteLLM does."""
    return answer.ok and answer.json_or_none() == "I'm alive!"


def add_info(models: list[Model], value: JsonValue) -> None:
    """Adds what `/model/info` tells of the deployments behind each model.

    A request may go to any deployment of its model. So the context is the smallest of
    them, and the model has a capability only if all of them do.
    """
    deployments: dict[str, list[JsonValue]] = {}
    for entry in json_fields.items(value, "data") or ():
        name = json_fields.model_name(entry, "model_name")
        deployments.setdefault(name, []).append(json_fields.member(entry, "model_info"))
    for model in models:
        found = deployments.get(model.name)
        if not found:
            continue
        contexts = [
            context for info in found if (context := json_fields.whole(info, "max_input_tokens"))
        ]
        if contexts and len(contexts) == len(found):
            model.context_length = min(contexts)
        common(found).write(model)


def common(infos: list[JsonValue]) -> Capabilities:
    """Returns the capabilities that all deployments of a model have, or lack."""
    capabilities = Capabilities()
    modes = {_MODES.get(json_fields.text(info, "mode"), "") for info in infos}
    if len(modes) == 1:
        capabilities.tell(modes.pop(), is_there=True)
    for member, word in _SUPPORTS.items():
        told = [json_fields.truth(info, member) for info in infos]
        if all(told):
            capabilities.tell(word, is_there=True)
        elif False in told:
            capabilities.tell(word, is_there=False)
    return capabilities
