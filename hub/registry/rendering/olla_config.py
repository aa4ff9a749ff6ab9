"""Olla's static endpoints and model aliases.

See https://thushan.github.io/olla/configuration/reference/.
"""

from typing import Final

from hub.registry.rendering.block_yaml import Plain, block_yaml
from hub.registry.rendering.routable_fleet import RoutableFleet, RoutableServer
from llmhub.v1.endpoint_pb2 import (
    BACKEND_DOCKER_MODEL_RUNNER,
    BACKEND_LEMONADE,
    BACKEND_LITELLM,
    BACKEND_LLAMA_CPP,
    BACKEND_LM_STUDIO,
    BACKEND_LMDEPLOY,
    BACKEND_OLLAMA,
    BACKEND_SGLANG,
    BACKEND_VLLM,
)

_TYPES: Final = {
    BACKEND_DOCKER_MODEL_RUNNER: "docker-model-runner",
    BACKEND_LEMONADE: "lemonade",
    BACKEND_LITELLM: "litellm",
    BACKEND_LLAMA_CPP: "llamacpp",
    BACKEND_LM_STUDIO: "lm-studio",
    BACKEND_LMDEPLOY: "lmdeploy",
    BACKEND_OLLAMA: "ollama",
    BACKEND_SGLANG: "sglang",
    BACKEND_VLLM: "vllm",
}
_OTHER: Final = "openai-compatible"


def olla_config(fleet: RoutableFleet) -> str:
    """The configuration as YAML; Olla finds the models by itself."""
    endpoints: list[Plain] = [_endpoint(server) for server in fleet.servers]
    config: dict[str, Plain] = {
        "discovery": {"type": "static", "static": {"endpoints": endpoints}},
    }
    if fleet.aliases:
        config["model_aliases"] = {
            name: sorted({deployment.model.name for deployment in deployments})
            for name, deployments in fleet.aliases.items()
        }
    return block_yaml(config)


def _endpoint(server: RoutableServer) -> Plain:
    endpoint: dict[str, Plain] = {
        "url": server.url,
        "name": server.id,
        "type": _TYPES.get(server.backend, _OTHER),
        # The hub ranks by the moment, which a file cannot express.
        "priority": 100,
    }
    if server.base_path:
        endpoint["preserve_path"] = True
    if server.key is not None:
        token = f"${{{server.key.variable}}}" if server.key.value is None else server.key.value
        endpoint["auth"] = {"type": "bearer", "token": token}
    return endpoint
