"""`model_list` of LiteLLM's proxy: a deployment for each model on each server, and each alias.

The file stands alone, or the main configuration names it under `include`. See
https://docs.litellm.ai/docs/proxy/configs.
"""

from typing import Final

from hub.registry.rendering.block_yaml import Plain, block_yaml
from hub.registry.rendering.routable_fleet import ApiKey, Deployment, RoutableFleet
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LITELLM,
    BACKEND_LM_STUDIO,
    BACKEND_OLLAMA,
    BACKEND_VLLM,
    Model,
)

_EMBEDDING: Final = "embedding"

# LiteLLM's names of the backends that it knows; all others speak OpenAI's API.
_PROVIDERS: Final = {
    BACKEND_LITELLM: "litellm_proxy",
    BACKEND_LM_STUDIO: "lm_studio",
    BACKEND_VLLM: "hosted_vllm",
}


def litellm_config(fleet: RoutableFleet) -> str:
    """The configuration as YAML."""
    named = sorted({**fleet.models, **fleet.aliases}.items())
    entries: list[Plain] = [
        _entry(name, deployment) for name, deployments in named for deployment in deployments
    ]
    return block_yaml({"model_list": entries})


def _entry(name: str, deployment: Deployment) -> Plain:
    server, model = deployment.server, deployment.model
    is_embedding = _EMBEDDING in model.capabilities
    parameters: dict[str, Plain]
    if server.backend == BACKEND_OLLAMA:
        provider = "ollama" if is_embedding else "ollama_chat"
        parameters = {"model": f"{provider}/{model.name}", "api_base": server.url}
        if server.key is not None:
            parameters["api_key"] = _key(server.key)
    else:
        provider = _PROVIDERS.get(server.backend, "openai")
        parameters = {
            "model": f"{provider}/{model.name}",
            "api_base": f"{server.url}/v1",
            # Its client refuses to send a request without any key.
            "api_key": "none" if server.key is None else _key(server.key),
        }
    # The id is the name of the deployment in LiteLLM's logs, metrics and cooldowns.
    info: dict[str, Plain] = {"id": f"{server.id}/{name}", **_facts(model)}
    if is_embedding:
        info["mode"] = "embedding"
    return {"model_name": name, "litellm_params": parameters, "model_info": info}


def _facts(model: Model) -> dict[str, Plain]:
    if not model.HasField("context_length"):
        return {}
    return {"max_input_tokens": model.context_length}


def _key(key: ApiKey) -> str:
    return f"os.environ/{key.variable}" if key.value is None else key.value
