"""Docker Model Runner, which runs models from OCI registries with llama.cpp or vLLM.

`/models` lists the models on disk, `/engines/ps` the running ones. Both are read-only;
every inference route loads its model, and so does a request for its metrics. No route
reports the version. If the endpoint's base path is `/engines`, as clients of the OpenAI API
use it, the other routes are not below it, and only the names of the models are known.
"""

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.asker import Asker
from hub.probes.backends.openai import parse_list
from hub.probes.backends.prober import Prober, Sighting
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import (
    BACKEND_DOCKER_MODEL_RUNNER,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    Model,
)

OWNER = "docker"
LIST = "/engines/v1/models"

_REGISTRY = "docker.io/"


class DockerModelRunnerProber(Prober):
    """Probes a Docker Model Runner with two requests per probe."""

    kind = BACKEND_DOCKER_MODEL_RUNNER
    title = "Docker Model Runner"

    __slots__ = ()

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = await ask.get("/models")
        if listed.status == 404:
            return Sighting.of(parse_list((await ask.get("/v1/models")).json(), owner=OWNER))
        models = parse_models(listed.json())
        running = await ask.get("/engines/ps")
        if running.ok:
            mark_running(models, running.json_or_none())
        return Sighting.of(models)


def parse_models(value: JsonValue) -> list[Model]:
    """Parses `/models`; each model is named by its first tag. Raises WrongKind if not a list.

    The sizes are texts ("256.35 MiB"), too coarse for a number of bytes.
    """
    if not isinstance(value, list):
        raise WrongKind("answered /models without a list of models")
    models = []
    for entry in value[: json_fields.MAX_MODELS]:
        tags = [tag for tag in json_fields.items(entry, "tags") or () if isinstance(tag, str)]
        digest = json_fields.text(entry, "id")
        if name := json_fields.model_name({"name": tags[0] if tags else digest}, "name"):
            models.append(
                json_fields.model(
                    name,
                    digest=digest,
                    family=json_fields.text(entry, "config", "architecture"),
                    parameter_size=json_fields.text(entry, "config", "parameters"),
                    quantization=json_fields.text(entry, "config", "quantization"),
                    context_length=json_fields.whole(entry, "config", "context_size") or None,
                )
            )
    return json_fields.by_name(models)


def mark_running(models: list[Model], value: JsonValue) -> None:
    """Gives each model its state from `/engines/ps`; models that are not there are on disk.

    If the value is not such a list, the models stay as they are.
    """
    if not isinstance(value, list):
        return
    states = {}
    for entry in value[: json_fields.MAX_MODELS]:
        is_loading = bool(json_fields.truth(entry, "loading"))
        name = same_name(json_fields.model_name(entry, "model_name"))
        states[name] = MODEL_STATE_LOADING if is_loading else MODEL_STATE_LOADED
    for model in models:
        model.state = states.get(
            same_name(model.name), states.get(model.digest, MODEL_STATE_AVAILABLE)
        )


def same_name(name: str) -> str:
    """Returns a form of the name that is the same for all its spellings.

    The registry "docker.io", the namespace "ai" and the tag "latest" may be left out.
    """
    if name.startswith("sha256:"):
        return name
    short = name.removeprefix(_REGISTRY)
    if "/" not in short:
        short = f"ai/{short}"
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"
