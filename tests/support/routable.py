"""A small fleet with all that a rendered configuration has to cope with."""

from collections.abc import Iterable, Mapping

from hub.registry.rendering.routable_fleet import RoutableFleet, api_keys, routable_fleet
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_ENABLED,
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    BACKEND_OPENAI,
    BACKEND_VLLM,
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    Endpoint,
    Model,
)
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias

LLAMA, QWEN, NOMIC = "llama3.1:8b", "Qwen/Qwen3-8B", "nomic-embed-text:latest"
HOSTILE = "x'};\"$(reboot)\n`"
KEYS = {"VLLM_KEY": "sk-a.b_c+d/e=="}


def model(name: str, **fields: object) -> Model:
    return Model(name=name, state=MODEL_STATE_LOADED, **fields)


def endpoint(id_: str, *models: Model, **fields: object) -> Endpoint:
    """A healthy, enabled endpoint."""
    host, _, port = id_.rpartition(":")
    made = Endpoint(
        id=id_,
        host=host.strip("[]"),
        port=int(port),
        status=STATUS_HEALTHY,
        admin_state=ADMIN_STATE_ENABLED,
    )
    made.MergeFrom(Endpoint(models=models, **fields))
    return made


def mixed_endpoints() -> list[Endpoint]:
    return [
        endpoint(
            "127.0.0.1:8001",
            model(LLAMA, context_length=8192),
            model(NOMIC, capabilities=["embedding"]),
            backend=BACKEND_OLLAMA,
        ),
        endpoint(
            "127.0.0.1:8002",
            model(LLAMA),
            model(QWEN),
            model(HOSTILE),
            backend=BACKEND_VLLM,
            base_path="/gpu",
            labels={"api-key-env": "VLLM_KEY"},
        ),
        endpoint("[::1]:8003", model(QWEN), backend=BACKEND_LLAMA_CPP, labels={"zone": "a"}),
        endpoint("localhost:8004", model(QWEN), backend=BACKEND_OPENAI, scheme="https"),
    ]


ALIASES = [ModelAlias(name="big", targets=[AliasTarget(model=QWEN), AliasTarget(model=LLAMA)])]


def fleet_of(
    *endpoints: Endpoint,
    aliases: Iterable[ModelAlias] = (),
    environment: Mapping[str, str] | None = None,
) -> RoutableFleet:
    return routable_fleet(endpoints, aliases, api_keys(endpoints, environment))


def mixed_fleet(environment: Mapping[str, str] | None = None) -> RoutableFleet:
    """Four backends, an alias, a base path, TLS, an API key, IPv6, and a hostile model name."""
    return fleet_of(*mixed_endpoints(), aliases=ALIASES, environment=environment)
