"""Every parser of what probed servers answer, by name, for the fuzz tests."""

from collections.abc import Callable

from hub.probes.answer import JsonValue
from hub.probes.backends import (
    docker_model_runner,
    lemonade,
    litellm,
    llama_cpp,
    llama_swap,
    lm_studio,
    ollama,
    ollama_show,
    openai,
    sglang,
    text_embeddings,
)
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, Model


def with_state(
    mark: Callable[[list[Model], JsonValue], None],
) -> Callable[[JsonValue], list[Model]]:
    """A parser for a function that only sets the states of known models."""

    def parse(value: JsonValue) -> list[Model]:
        models = [Model(name="a"), Model(name="a:latest", digest="loaded")]
        mark(models, value)
        return models

    return parse


def with_lookup(value: JsonValue) -> list[Model]:
    model = Model(name="a", state=MODEL_STATE_AVAILABLE)
    ollama_show.learned(model, ollama_show.parse_show(value))
    return [model]


def with_deployments(value: JsonValue) -> list[Model]:
    models = []
    for common in (litellm.parse_info(value) | litellm.parse_list_facts(value)).values():
        model = Model(name=f"m{len(models):04}", context_length=common.context_length)
        common.capabilities.write(model)
        models.append(model)
    return models


def with_adapters(value: JsonValue) -> list[Model]:
    return [Model(name="a", adapters=llama_cpp.parse_adapters(value))]


def of_text_embeddings(value: JsonValue) -> list[Model] | None:
    info = text_embeddings.parse_info(value)
    return [info.model] if info is not None else None


PARSERS: dict[str, Callable[[JsonValue], list[Model] | None]] = {
    "ollama tags": ollama.parse_tags,
    "ollama ps": lambda value: ollama.merge([], ollama.parse_ps(value)),
    "ollama show": with_lookup,
    "openai": openai.parse_list,
    "vllm": lambda value: openai.parse_list(value, owner="vllm"),
    "llama.cpp": llama_cpp.parse_models,
    "llama.cpp with props": lambda value: llama_cpp.parse_models(
        value, llama_cpp.parse_props(value)
    ),
    "llama.cpp router": llama_cpp.parse_router,
    "llama.cpp adapters": with_adapters,
    "lm studio v1": lm_studio.parse_v1,
    "lm studio v0": lm_studio.parse_v0,
    "llama-swap": with_state(llama_swap.mark_running),
    "litellm": with_deployments,
    "lemonade": lemonade.parse_models,
    "lemonade health": with_state(lemonade.mark_loaded),
    "docker model runner": docker_model_runner.parse_models,
    "docker model runner ps": with_state(docker_model_runner.mark_running),
    "text embeddings": of_text_embeddings,
}
LOADS: dict[str, Callable[[JsonValue], Load | None]] = {
    "sglang": sglang.parse_loads,
    "llama.cpp slots": llama_cpp.parse_slots,
}
