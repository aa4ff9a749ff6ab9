"""Which requests the picker serves, by method and path.

Everything else is refused: a client of the gateway must not reach the routes by which an
inference server loads, deletes or reconfigures models.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import unquote


class Served(Enum):
    """What answers a request."""

    ENDPOINT = "an endpoint that has the model"
    OPENAI_MODELS = "the hub, with OpenAI's list of models"
    OPENAI_MODEL = "the hub, with one model as OpenAI shows it"
    OLLAMA_MODELS = "the hub, with Ollama's list of models"
    OLLAMA_VERSION = "the hub, with its own version"


@dataclass(frozen=True, slots=True)
class Route:
    """How to answer a request. `is_ollama`: its path belongs to Ollama's own API.

    `model` is the name in the path of OPENAI_MODEL.
    """

    served: Served
    is_ollama: bool = False
    model: str = ""


_OPENAI: Final = Route(Served.ENDPOINT)
_OLLAMA: Final = Route(Served.ENDPOINT, is_ollama=True)

_POSTED: Final = {
    **dict.fromkeys(
        (
            *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"),
            *("/v1/messages", "/v1/messages/count_tokens", "/v1/moderations"),
            *("/v1/rerank", "/v2/rerank", "/rerank", "/v1/reranking", "/v1/score", "/score"),
            *("/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations"),
            *("/v1/images/generations", "/v1/images/edits", "/v1/images/variations"),
        ),
        _OPENAI,
    ),
    **dict.fromkeys(
        ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"), _OLLAMA
    ),
}
_GOT: Final = {
    "/v1/models": Route(Served.OPENAI_MODELS),
    "/api/tags": Route(Served.OLLAMA_MODELS, is_ollama=True),
    "/api/version": Route(Served.OLLAMA_VERSION, is_ollama=True),
}
_MODEL: Final = "/v1/models/"


def find(method: str, path: str) -> Route | None:
    """The route of a request; None if the picker does not serve it."""
    path = path.partition("?")[0]
    if method == "POST":
        return _POSTED.get(path)
    if method not in ("GET", "HEAD"):
        return None
    route = _GOT.get(path)
    if route is None and path.startswith(_MODEL) and len(path) > len(_MODEL):
        return Route(Served.OPENAI_MODEL, model=unquote(path[len(_MODEL) :]))
    return route


def is_ollama(path: str) -> bool:
    """Whether errors on this path have the shape of Ollama's API instead of OpenAI's."""
    return path.startswith("/api/")
