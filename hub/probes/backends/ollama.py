"""Ollama, with its native API: `/api/tags` (on disk), `/api/ps` (in memory), `/api/version`.

The facts are from Ollama's docs/api.md. The version is requested in every tenth probe, and
whenever the probe had to open a new connection, because the server may have been replaced.
The models in memory are requested in every probe. The models on disk change rarely, so
they are requested in every other probe, and whenever those in memory have changed. So a
probe costs one and a half requests; requests are most of the cost of probes.

In most versions `/api/tags` has neither the capabilities nor the trained context. Each
model is looked up once per digest with `/api/show` (`hub.probes.backends.ollama_show`).
`/api/ps` does not distinguish a model that is being loaded from a loaded one.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b

from google.protobuf.timestamp_pb2 import Timestamp

from hub.probes import json_fields
from hub.probes.answer import Answer, JsonValue
from hub.probes.asker import Asker
from hub.probes.backends.ollama_show import Lookup, learned
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.faults import BadAnswer, WrongKind
from llmhub.v1.endpoint_pb2 import (
    BACKEND_OLLAMA,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    Model,
)

# Ollama's own word for models that run on ollama.com ("gpt-oss:120b-cloud").
CLOUD = "cloud"
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model in memory, from `/api/ps`."""

    model: Model
    expires_at: Timestamp | None


class OllamaProber(Prober):
    """Probes an Ollama server."""

    kind = BACKEND_OLLAMA
    title = "Ollama"

    __slots__ = ("_cadence", "_lookup", "_ps", "_seen", "_skips_tags", "_tags", "_version")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._lookup = Lookup()
        self._version = ""
        # Equal answers mean the same models. A fleet changes rarely, and the registry need
        # not compare a tuple that it already has.
        self._tags = self._ps = b""
        self._skips_tags = False
        self._seen = Sighting(())

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        running = await ask.get("/api/ps")
        has_ps = running.status != 404
        # Without /api/ps (before 0.1.38), only the version identifies an Ollama.
        if self._cadence.due() or ask.has_connected or not has_ps:
            await self._ask_version(ask)
        ps_digest = _digest(running.require_ok()) if has_ps else b""
        if (
            self._skips_tags
            and ps_digest == self._ps
            and not self._seen.has_more
            # A caller that waits for this probe needs all facts.
            and not ask.is_asked
        ):
            self._skips_tags = False
            return self._again()
        tags = (await ask.get("/api/tags")).require_ok()
        self._skips_tags = has_ps
        tags_digest = _digest(tags)
        is_same = (tags_digest, ps_digest) == (self._tags, self._ps)
        if is_same and not self._seen.has_more and not self._lookup.is_due():
            return self._again()
        models = parse_tags(tags.json())
        if has_ps:
            models = merge(models, parse_ps(running.json()))
        has_more = await self._lookup.ask_about(ask, models)
        for model in models:
            learned(model, ask.facts.get(ask.target.id, model.digest))
        self._seen = Sighting.of(models, self._version, has_more=has_more)
        self._tags, self._ps = tags_digest, ps_digest
        return self._seen

    def _again(self) -> Sighting:
        return replace(self._seen, version=self._version, has_more=False)

    async def _ask_version(self, ask: Asker) -> None:
        answer = await ask.get("/api/version")
        answer.require_ok()
        self._version = version_of(answer)
        if not self._version:
            raise WrongKind("answered /api/version without a version")


def _digest(answer: Answer) -> bytes:
    return blake2b(answer.body, digest_size=16).digest()


def version_of(answer: Answer) -> str:
    """Returns the version from an answer to `/api/version`, as Ollama gives it; else ""."""
    if not answer.ok:
        return ""
    return json_fields.text(answer.json_or_none(), "version", limit=json_fields.MAX_VERSION)


def parse_tags(value: JsonValue) -> list[Model]:
    """Parses `/api/tags`: the models on disk, sorted by name, in state AVAILABLE.

    A cloud model (`remote_host`) is not on disk and is never loaded here: its state
    is unspecified, it has no size, and "cloud" is among its capabilities.
    Raises WrongKind if there is no list of models, or one in llama.cpp's shape.
    """
    found = json_fields.items(value, "models")
    if found is None and json_fields.member(value, "models") is None and isinstance(value, dict):
        # Go encodes a nil slice as null.
        found = [] if "models" in value else None
    if found is None or json_fields.items(value, "data") is not None:
        raise WrongKind("answered /api/tags without Ollama's list of models")
    return json_fields.by_name([m for m in map(_on_disk, found) if m is not None])


def parse_ps(value: JsonValue) -> list[LoadedModel]:
    """Parses `/api/ps`: the models in memory. Raises BadAnswer if there is no list of models."""
    found = json_fields.items(value, "models")
    if found is None:
        if isinstance(value, dict) and "models" in value and value["models"] is None:
            return []
        raise BadAnswer("answered /api/ps without a list of models")
    return [m for m in map(_in_memory, found) if m is not None]


def merge(on_disk: list[Model], loaded: list[LoadedModel]) -> list[Model]:
    """Returns all models by name; those in memory are LOADED, with the facts of `/api/ps`.

    Includes models in memory that are no longer on disk.
    """
    models = {same_name(model.name): model for model in on_disk}
    for entry in loaded:
        seen = entry.model
        model = models.setdefault(same_name(seen.name), seen)
        model.state = MODEL_STATE_LOADED
        model.vram_bytes = seen.vram_bytes
        if seen.HasField("context_length"):
            model.context_length = seen.context_length
        if entry.expires_at is not None:
            model.expires_at.CopyFrom(entry.expires_at)
    return json_fields.by_name(list(models.values()))


def same_name(name: str) -> str:
    """Returns a form of the name that is the same for all its spellings.

    The tag "latest", the namespace "library" and the registry "registry.ollama.ai"
    may be left out, and case does not matter.
    """
    folded = name.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return folded if ":" in folded.rpartition("/")[2] else f"{folded}:latest"


def parse_expiry(value: str) -> Timestamp | None:
    """Parses `expires_at` (RFC 3339, nanoseconds, any offset); None for invalid or zero times."""
    try:
        seconds = datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    if not 0 < seconds <= _LAST_SECOND:
        return None
    expires_at = Timestamp()
    expires_at.FromMilliseconds(int(seconds * 1000))
    return expires_at


def _on_disk(item: JsonValue) -> Model | None:
    name = json_fields.model_name(item, "name", "model")
    if not name:
        return None
    capabilities = json_fields.words(item, "capabilities")
    is_cloud = bool(json_fields.text(item, "remote_host"))
    if is_cloud and CLOUD not in capabilities:
        capabilities.append(CLOUD)
    return json_fields.model(
        name,
        state=MODEL_STATE_UNSPECIFIED if is_cloud else MODEL_STATE_AVAILABLE,
        digest=json_fields.text(item, "digest"),
        size_bytes=None if is_cloud else json_fields.whole(item, "size"),
        family=json_fields.text(item, "details", "family"),
        parameter_size=json_fields.text(item, "details", "parameter_size"),
        quantization=json_fields.text(item, "details", "quantization_level"),
        context_length=json_fields.whole(item, "details", "context_length") or None,
        capabilities=capabilities,
        are_capabilities_known=json_fields.items(item, "capabilities") is not None,
    )


def _in_memory(item: JsonValue) -> LoadedModel | None:
    name = json_fields.model_name(item, "name", "model")
    if not name:
        return None
    model = json_fields.model(
        name,
        state=MODEL_STATE_LOADED,
        digest=json_fields.text(item, "digest"),
        family=json_fields.text(item, "details", "family"),
        parameter_size=json_fields.text(item, "details", "parameter_size"),
        quantization=json_fields.text(item, "details", "quantization_level"),
        context_length=json_fields.whole(item, "context_length") or None,
        # The answer omits a value of 0, which means that the model is entirely in RAM.
        vram_bytes=json_fields.whole(item, "size_vram") or 0,
    )
    return LoadedModel(model, parse_expiry(json_fields.text(item, "expires_at")))
