"""Tells by asking which kind of inference server answers; only reads, never infers.

The hub's own detection is the thorough one. This one is small enough to run on
every host: where it is in doubt it names no kind and leaves that to the hub.
"""

from collections.abc import Mapping

from hub.sidecar.local_http import AskError, LocalAnswer, get
from hub.sidecar.local_server import OLLAMA, LocalServer

MAX_MODELS = 256
MAX_NAME_LENGTH = 512

# What servers say in `owned_by` of their /v1/models.
_OWNERS = {"vllm": "vllm", "llamacpp": "llama_cpp", "sglang": "sglang"}


async def recognise(url: str) -> LocalServer:
    """Asks the server at `url`; one that cannot be reached or is none has an `error`."""
    try:
        version = await get(url, "/api/version")
        if (number := _text(version.json(), "version")) and not _is_llama_cpp(version):
            return await _ollama(url, number)
        listed = await get(url, "/v1/models")
        if listed.status in (401, 403):
            return LocalServer(url, error=f"needs an API key ({listed.status})")
        if listed.status == 503:
            return LocalServer(url, error="is not ready (503)")
        names = _names(listed.json(), "data", "id")
        if names is None:
            return LocalServer(url, error="is no inference server that a sidecar knows")
        return await _openai(url, version, listed, names)
    except AskError as error:
        return LocalServer(url, error=str(error))


async def _ollama(url: str, version: str) -> LocalServer:
    tags = await get(url, "/api/tags")
    return LocalServer(url, OLLAMA, version, _names(tags.json(), "models", "name"))


async def _openai(
    url: str, version: LocalAnswer, listed: LocalAnswer, names: tuple[str, ...]
) -> LocalServer:
    backend = _backend(version, listed)
    if backend is None and _names((await get(url, "/api/v1/models")).json(), "models", "key"):
        backend = "lm_studio"
    number = None
    if backend == "vllm":
        number = _text((await get(url, "/version")).json(), "version")
    elif backend == "llama_cpp":
        number = _text((await get(url, "/props")).json(), "build_info")
    return LocalServer(url, backend, number, names)


def _backend(version: LocalAnswer, listed: LocalAnswer) -> str | None:
    if _is_llama_cpp(version):
        return "llama_cpp"
    for entry in _entries(listed.json(), "data") or ():
        owner = _text(entry, "owned_by")
        if owner in _OWNERS:
            return _OWNERS[owner]
    return None


def _is_llama_cpp(answer: LocalAnswer) -> bool:
    return answer.server.lower().startswith("llama.cpp")


def _entries(value: object, member: str) -> list[object] | None:
    entries = value.get(member) if isinstance(value, Mapping) else None
    return entries if isinstance(entries, list) else None


def _names(value: object, member: str, key: str) -> tuple[str, ...] | None:
    entries = _entries(value, member)
    if entries is None:
        return None
    names = (_text(entry, key) for entry in entries[:MAX_MODELS])
    return tuple(name for name in names if name and len(name) <= MAX_NAME_LENGTH)


def _text(value: object, key: str) -> str | None:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found[:256] if key == "version" and isinstance(found, str) else _string(found)


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
