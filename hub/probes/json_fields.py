"""Type-checked access to JSON from servers that the hub does not trust.

Values of an unexpected type are treated as absent. Lengths and counts are cut to the
limits of `Endpoint` (endpoint.proto).
"""

from collections.abc import Iterable
from functools import lru_cache

from hub.probes.answer import JsonValue
from llmhub.v1.endpoint_pb2 import MODEL_STATE_UNSPECIFIED, Model, ModelState

MAX_MODELS = 4096
MAX_NAME = 512
MAX_VERSION = 256
MAX_TEXT = 256
MAX_WORD = 64
MAX_CAPABILITIES = 64
MAX_CAPABILITY = 128
# The largest integer that every JSON reader represents exactly.
MAX_WHOLE = 9_007_199_254_740_991


def member(value: JsonValue, *path: str) -> JsonValue:
    """Returns the value at a path of object members; None if there is none."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def items(value: JsonValue, *path: str) -> list[JsonValue] | None:
    """Returns the list at a path, cut to MAX_MODELS items; None if there is none."""
    found = member(value, *path)
    return found[:MAX_MODELS] if isinstance(found, list) else None


def text(value: JsonValue, *path: str, limit: int = MAX_TEXT) -> str:
    """Returns the text at a path, cut, without control characters; "" if there is none."""
    found = member(value, *path)
    if not isinstance(found, str):
        return ""
    cut = found[:limit]
    if cut.isascii() and cut.isprintable():
        return cut
    clean = "".join(c for c in cut if c.isprintable() or c == " ")
    return clean.encode("utf-8", "replace").decode("utf-8")


def whole(value: JsonValue, *path: str) -> int | None:
    """Returns the whole number 0..2^53-1 at a path; None for anything else."""
    found = member(value, *path)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MAX_WHOLE:
        return None
    return found


def ratio(value: JsonValue, *path: str) -> float | None:
    """Returns the number 0..1 at a path; None for anything else."""
    found = member(value, *path)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
        return None
    return float(found)


def truth(value: JsonValue, *path: str) -> bool | None:
    """Returns the boolean at a path; None for anything else."""
    found = member(value, *path)
    return found if isinstance(found, bool) else None


def words(value: JsonValue, *path: str) -> list[str]:
    """Returns the list of short texts at a path, as capabilities without duplicates."""
    found = items(value, *path) or []
    cut = (text(word, limit=MAX_CAPABILITY) for word in found[:MAX_CAPABILITIES])
    return list(dict.fromkeys(word for word in cut if word))


def model_name(value: JsonValue, *keys: str) -> str:
    """Returns the first usable name among the members; "" if there is none.

    A name that is too long or contains control characters is rejected instead of cut,
    because the rest would name another model.
    """
    for key in keys:
        name = text(value, key, limit=MAX_NAME + 1)
        if name and len(name) <= MAX_NAME and name == member(value, key):
            return name
    return ""


def model(
    name: str,
    *,
    state: ModelState = MODEL_STATE_UNSPECIFIED,
    digest: str = "",
    size_bytes: int | None = None,
    family: str = "",
    parameter_size: str = "",
    quantization: str = "",
    context_length: int | None = None,
    vram_bytes: int | None = None,
    capabilities: Iterable[str] | None = None,
    are_capabilities_known: bool = False,
    absent_capabilities: Iterable[str] = (),
    base: str = "",
) -> Model:
    """Builds a Model; empty and None arguments leave their fields absent."""
    return Model(
        name=name,
        state=state,
        digest=digest or None,
        size_bytes=size_bytes,
        family=family or None,
        parameter_size=parameter_size[:MAX_WORD] or None,
        quantization=quantization[:MAX_WORD] or None,
        context_length=context_length,
        vram_bytes=vram_bytes,
        capabilities=capabilities or (),
        capabilities_known=are_capabilities_known or None,
        absent_capabilities=absent_capabilities,
        base=base or None,
    )


def by_name(models: list[Model]) -> list[Model]:
    """Returns the models sorted by name, without duplicate names, at most MAX_MODELS."""
    first: dict[str, Model] = {}
    for entry in models:
        first.setdefault(entry.name, entry)
    return [first[name] for name in sorted(first)][:MAX_MODELS]


def shared(models: Iterable[Model]) -> tuple[Model, ...]:
    """Returns the models, with one shared object for identical models of several servers.

    A model takes about a kilobyte, and ten thousand servers have the same few models.
    The caller must not change them.
    """
    return tuple(_one_of(model.SerializeToString(deterministic=True)) for model in models)


@lru_cache(maxsize=2048)
def _one_of(encoded: bytes) -> Model:
    return Model.FromString(encoded)
