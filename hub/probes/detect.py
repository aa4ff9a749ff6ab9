"""Detects the kind of an inference server from its answers, never from its port.

Some servers imitate others: Lemonade, Docker Model Runner and llama-swap answer Ollama's
`/api/version`, and Lemonade answers LM Studio's list. So a version alone does not prove an
Ollama: its root must say "Ollama is running", or no list may name another owner. The most
conclusive requests come first, so that a server of a known kind needs few of them:
`/api/version`, `/`, then `/v1/models`, whose `owned_by` identifies most kinds, then the
routes that only one kind has. No request runs inference or loads a model.
"""

from hub.probes import json_fields
from hub.probes.answer import Answer, JsonValue
from hub.probes.asker import Asker
from hub.probes.backends import docker_model_runner, lemonade, litellm, text_embeddings
from hub.probes.backends.kinds import PROBERS
from hub.probes.backends.ollama import version_of
from hub.probes.backends.prober import Prober
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import (
    BACKEND_DOCKER_MODEL_RUNNER,
    BACKEND_LEMONADE,
    BACKEND_LITELLM,
    BACKEND_LLAMA_CPP,
    BACKEND_LLAMA_SWAP,
    BACKEND_LM_STUDIO,
    BACKEND_LMDEPLOY,
    BACKEND_OLLAMA,
    BACKEND_OPENAI,
    BACKEND_SGLANG,
    BACKEND_TEI,
    BACKEND_VLLM,
    Backend,
)

_OWNERS: dict[str, Backend] = {
    "vllm": BACKEND_VLLM,
    "llamacpp": BACKEND_LLAMA_CPP,
    "sglang": BACKEND_SGLANG,
    "llama-swap": BACKEND_LLAMA_SWAP,
    "lemonade": BACKEND_LEMONADE,
    "lmdeploy": BACKEND_LMDEPLOY,
    docker_model_runner.OWNER: BACKEND_DOCKER_MODEL_RUNNER,
}
_UNKNOWN_ROUTE = (404, 405, 501)


async def detect(ask: Asker) -> Prober:
    """Returns a new prober for the kind of server that answers.

    Raises WrongKind if the hub does not know the kind, NeedsApiKey, Busy or NotReady if
    the server refuses to answer, and the errors of `Asker.get`.
    """
    version = await ask.get("/api/version")
    if _is_llama_cpp(version):
        return PROBERS[BACKEND_LLAMA_CPP]()
    if _is_llama_swap(version):
        return PROBERS[BACKEND_LLAMA_SWAP]()
    has_version = bool(version_of(version))
    if has_version and _is_ollama(await ask.get("/")):
        return PROBERS[BACKEND_OLLAMA]()
    models = await ask.get("/v1/models")
    if not (models.ok or has_version or models.status in _UNKNOWN_ROUTE):
        if models.status in litellm.KEY_FAULTS and await _is_litellm(ask):
            return PROBERS[BACKEND_LITELLM]()
        models.require_ok()
    entries = json_fields.items(models.json_or_none() if models.ok else None, "data")
    if owner := _owner_of(entries):
        return PROBERS[owner]()
    if entries:
        return await _by_list(ask, may_be_ollama=has_version)
    if prober := await _without_models(ask):
        return prober
    if has_version:
        return PROBERS[BACKEND_OLLAMA]()
    if models.status in _UNKNOWN_ROUTE:
        raise WrongKind(
            "is not an inference server that the hub knows: it has neither /api/version "
            f"nor /v1/models ({models.status})"
        )
    models.json()
    if entries is None:
        raise WrongKind("is not an inference server that the hub knows: /v1/models has no list")
    return PROBERS[BACKEND_OPENAI]()


async def _by_list(ask: Asker, *, may_be_ollama: bool) -> Prober:
    """Distinguishes servers that list models under owners of their own choice."""
    if may_be_ollama:
        # Behind a proxy that forwards only the API, the root says nothing.
        return PROBERS[BACKEND_OLLAMA]()
    if await _is_lm_studio(ask):
        return PROBERS[BACKEND_LM_STUDIO]()
    if await _is_litellm(ask):
        return PROBERS[BACKEND_LITELLM]()
    return PROBERS[BACKEND_OPENAI]()


async def _without_models(ask: Asker) -> Prober | None:
    """Distinguishes servers that list no models or have no `/v1/models`."""
    if lemonade.is_lemonade((await ask.get(lemonade.HEALTH)).json_or_none()):
        return PROBERS[BACKEND_LEMONADE]()
    value = (await ask.get(docker_model_runner.LIST)).json_or_none()
    if _owner_of(json_fields.items(value, "data")) == BACKEND_DOCKER_MODEL_RUNNER:
        return PROBERS[BACKEND_DOCKER_MODEL_RUNNER]()
    if await _is_lm_studio(ask):
        return PROBERS[BACKEND_LM_STUDIO]()
    if await _is_llama_cpp_router(ask):
        return PROBERS[BACKEND_LLAMA_CPP]()
    if text_embeddings.parse_info((await ask.get("/info")).json_or_none()) is not None:
        return PROBERS[BACKEND_TEI]()
    if await _is_sglang(ask):
        return PROBERS[BACKEND_SGLANG]()
    if await _is_litellm(ask):
        return PROBERS[BACKEND_LITELLM]()
    return None


def _owner_of(entries: list[JsonValue] | None) -> Backend | None:
    for entry in entries or ():
        if kind := _OWNERS.get(json_fields.text(entry, "owned_by")):
            return kind
    return None


def _is_ollama(root: Answer) -> bool:
    return root.ok and b"Ollama is running" in root.body[:100]


def _is_llama_swap(version: Answer) -> bool:
    """Whether it is llama-swap, which reports more about its build than Ollama does."""
    return bool(version_of(version) and json_fields.text(version.json_or_none(), "build_date"))


def _is_llama_cpp(answer: Answer) -> bool:
    """Whether it is llama-server, which names itself in every answer, even while loading."""
    return answer.server.lower().startswith("llama.cpp")


async def _is_lm_studio(ask: Asker) -> bool:
    for path, members, key in (
        ("/api/v1/models", ("models",), "key"),
        ("/api/v0/models", ("data",), "id"),
    ):
        answer = await ask.get(path)
        found = json_fields.items(answer.json_or_none(), *members) if answer.ok else None
        if found is not None and all(json_fields.text(entry, key) for entry in found):
            return True
    return False


async def _is_llama_cpp_router(ask: Asker) -> bool:
    value: JsonValue = (await ask.get("/props")).json_or_none()
    return bool(
        json_fields.text(value, "build_info") or json_fields.text(value, "role") == "router"
    )


async def _is_sglang(ask: Asker) -> bool:
    answer = await ask.get("/get_model_info")
    return answer.ok and bool(json_fields.text(answer.json_or_none(), "model_path"))


async def _is_litellm(ask: Asker) -> bool:
    return litellm.is_alive(await ask.get("/health/liveliness"))
