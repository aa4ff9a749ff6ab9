"""Finds out what kind of inference server answers, by asking, never by port number.

The questions go from the most telling to the most common, so that a server of a
known kind costs few requests: `/api/version` (Ollama), then `/v1/models`, whose
`owned_by` names vLLM, llama.cpp and SGLang, then the routes that only one kind has.
"""

from hub.probes import json_fields
from hub.probes.backends.llama_cpp import LlamaCppProber
from hub.probes.backends.lm_studio import LmStudioProber
from hub.probes.backends.ollama import OllamaProber, version_of
from hub.probes.backends.openai import OpenAiProber
from hub.probes.backends.prober import Prober
from hub.probes.backends.sglang import SglangProber
from hub.probes.backends.vllm import VllmProber
from hub.probes.faults import WrongKind
from hub.probes.probe_client import Answer, Asker, JsonValue
from llmhub.v1.endpoint_pb2 import Backend

PROBERS: dict[Backend, type[Prober]] = {
    prober.kind: prober
    for prober in (
        OllamaProber,
        VllmProber,
        LlamaCppProber,
        LmStudioProber,
        SglangProber,
        OpenAiProber,
    )
}

_OWNERS: dict[str, type[Prober]] = {
    "vllm": VllmProber,
    "llamacpp": LlamaCppProber,
    "sglang": SglangProber,
}


async def detect(ask: Asker) -> Prober:
    """Returns a new prober for the kind of server that answers.

    Raises WrongKind where it is none that the hub knows, NeedsApiKey, Busy or
    NotReady where it will not say, and what else asking raises.
    """
    version = await ask.get("/api/version")
    if version_of(version):
        return OllamaProber()
    if _is_llama_cpp(version):
        return LlamaCppProber()
    models = await ask.get("/v1/models")
    if not models.ok:
        return await _without_list(ask, models)
    value = models.json_or_none()
    entries = json_fields.items(value, "data")
    for entry in entries or ():
        if prober := _OWNERS.get(json_fields.text(entry, "owned_by")):
            return prober()
    if await _is_lm_studio(ask):
        return LmStudioProber()
    if not entries:
        if await _is_llama_cpp_router(ask):
            return LlamaCppProber()
        if await _is_sglang(ask):
            return SglangProber()
    if entries is None:
        models.json()
        raise WrongKind("is no inference server that the hub knows: /v1/models has no list")
    return OpenAiProber()


async def _without_list(ask: Asker, models: Answer) -> Prober:
    if models.status == 404 and await _is_lm_studio(ask):
        return LmStudioProber()
    if models.status in (404, 405, 501):
        raise WrongKind(
            "is no inference server that the hub knows: it has neither /api/version "
            f"nor /v1/models ({models.status})"
        )
    models.require_ok()
    raise WrongKind(f"is no inference server that the hub knows ({models.status})")


def _is_llama_cpp(answer: Answer) -> bool:
    """llama-server names itself in every answer, also while it loads its model."""
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
