"""LiteLLM's proxy: one API for many deployments, most of them on other servers.

`/health` sends a completion to every deployment, so the hub never uses it. `/v1/models`
shows whether the proxy serves, and needs a key; `/health/liveliness` needs none and
distinguishes LiteLLM from other servers. Without a database, the proxy answers a missing or
wrong key with 500 or 400, not 401. `/model/info` has the context and the capabilities of
each deployment, a few kilobytes each; a key may lack access to it. They come from the
configuration, so they are requested together with the version: in every tenth probe, and
whenever the list of models has changed. The proxy does not know whether a model is in
memory anywhere.
"""

from dataclasses import dataclass

from hub.probes import json_fields
from hub.probes.answer import Answer, JsonValue
from hub.probes.asker import Asker
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
from hub.probes.backends.openai import parse_list
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.faults import BadAnswer, NeedsApiKey
from llmhub.v1.endpoint_pb2 import BACKEND_LITELLM

KEY_FAULTS = (400, 500)
"""The statuses of a proxy without a database for a missing or wrong key."""

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


@dataclass(frozen=True, slots=True)
class Common:
    """What the deployments of one model have in common."""

    context_length: int | None
    capabilities: Capabilities


class LiteLlmProber(Prober):
    """Probes a LiteLLM proxy with one request per probe, three in every tenth."""

    kind = BACKEND_LITELLM
    title = "LiteLLM's proxy"

    __slots__ = ("_cadence", "_common", "_names", "_version")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._names: list[str] = []
        self._common: dict[str, Common] = {}
        self._version = ""

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = await ask.get("/v1/models")
        if listed.status in KEY_FAULTS and is_alive(await ask.get("/health/liveliness")):
            raise NeedsApiKey(
                f"{'refuses the registered' if listed.has_key else 'needs an'} API key "
                f"({listed.status} to /v1/models)"
            )
        value = listed.json()
        models = parse_list(value)
        names = [model.name for model in models]
        if self._cadence.due() or names != self._names:
            self._names = names
            self._version = await _version(ask)
            self._common = parse_list_facts(value) | await _info(ask)
        for model in models:
            if (shared := self._common.get(model.name)) is not None:
                shared.capabilities.write(model)
                if shared.context_length is not None:
                    model.context_length = shared.context_length
        return Sighting.of(models, self._version)


async def _version(ask: Asker) -> str:
    # Older versions have the second one. Its status is 503 while the database is down.
    for path in ("/health/readiness/details", "/health/readiness"):
        answer = await ask.get(path)
        if version := json_fields.text(
            answer.json_or_none(), "litellm_version", limit=json_fields.MAX_VERSION
        ):
            return version
    return ""


async def _info(ask: Asker) -> dict[str, Common]:
    try:
        answer = await ask.get("/model/info")
    except BadAnswer:
        # Thousands of deployments exceed what the hub reads, but the models are known.
        return {}
    return parse_info(answer.json_or_none()) if answer.ok else {}


def is_alive(answer: Answer) -> bool:
    """Whether this is LiteLLM's answer to `/health/liveliness`."""
    return answer.ok and answer.json_or_none() == "I'm alive!"


def parse_list_facts(value: JsonValue) -> dict[str, Common]:
    """Parses what newer versions report in `/v1/models`: mode and context of each model."""
    found = json_fields.items(value, "data") or []
    return {
        json_fields.model_name(entry, "id"): Common(
            json_fields.whole(entry, "max_input_tokens") or None, common([entry])
        )
        for entry in found
    }


def parse_info(value: JsonValue) -> dict[str, Common]:
    """Parses `/model/info`, by the model that the deployments serve.

    A request may go to any deployment of its model. So the context is the smallest of
    theirs, and the model has a capability only if all of them have it.
    """
    deployments: dict[str, list[JsonValue]] = {}
    for entry in json_fields.items(value, "data") or ():
        name = json_fields.model_name(entry, "model_name")
        deployments.setdefault(name, []).append(json_fields.member(entry, "model_info"))
    found = {}
    for name, infos in deployments.items():
        contexts = [json_fields.whole(info, "max_input_tokens") or 0 for info in infos]
        found[name] = Common(min(contexts) or None, common(infos))
    return found


def common(infos: list[JsonValue]) -> Capabilities:
    """Returns the capabilities that all deployments of a model have, or lack."""
    capabilities = Capabilities()
    modes = {_MODES.get(json_fields.text(info, "mode"), "") for info in infos}
    if len(modes) == 1:
        capabilities.add(modes.pop(), is_there=True)
    for member, word in _SUPPORTS.items():
        answers = [json_fields.truth(info, member) for info in infos]
        if all(answers):
            capabilities.add(word, is_there=True)
        elif False in answers:
            capabilities.add(word, is_there=False)
    return capabilities
