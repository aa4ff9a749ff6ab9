"""What a sidecar knows about one inference server on its host, and the frame to report it."""

import json
from dataclasses import dataclass

from hub.contract.dialect.encode import to_sparse_json
from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED, MODEL_STATE_LOADING, Model

OLLAMA = "ollama"

# The fields that a truncated frame keeps for a model that is not in memory.
_LEAST = ("name", "state", "digest")


@dataclass(frozen=True, slots=True)
class LocalServer:
    """One server as of its last probe.

    `backend` is its kind in the frames ("ollama", "llama_cpp", …), or None if unknown.
    `error` says what is wrong with it. `answered`: it answers in spite of the error, such
    as a server that requires an API key.
    """

    url: str
    backend: str | None = None
    version: str | None = None
    models: tuple[Model, ...] | None = None
    error: str | None = None
    answered: bool = False

    @property
    def reachable(self) -> bool:
        """Whether it answers."""
        return self.error is None or self.answered

    @property
    def is_inference_server(self) -> bool:
        """Whether its answers have shown that it is an inference server."""
        return self.reachable and (self.error is None or self.backend is not None)

    def report(self, max_bytes: int) -> dict[str, object]:
        """The `endpoint_report` frame, with as many models as fit into `max_bytes`."""
        frame: dict[str, object] = {
            "type": "endpoint_report",
            "url": self.url,
            "reachable": self.reachable,
        }
        if self.backend is not None:
            frame["backend"] = self.backend
        if self.version is not None:
            frame["version"] = self.version
        if self.error is not None:
            frame["error"] = self.error
        if self.models is not None:
            kept = _fitting(self.models, max_bytes - _size(frame) - len(', "models_omitted": 9999'))
            frame["models"] = kept
            if omitted := len(self.models) - len(kept):
                frame["models_omitted"] = omitted
        return frame


def _fitting(models: tuple[Model, ...], max_bytes: int) -> list[dict[str, object]]:
    """The models that fit: those in memory first, the others with less detail."""
    entries: list[dict[str, object]] = [dict(to_sparse_json(model)) for model in models]
    if _size(entries) <= max_bytes:
        return entries
    is_ready = (MODEL_STATE_LOADED, MODEL_STATE_LOADING)
    order = sorted(range(len(models)), key=lambda index: models[index].state not in is_ready)
    left = max_bytes - len(', "models": []')
    kept: dict[int, dict[str, object]] = {}
    for index in order:
        entry = entries[index]
        if models[index].state not in is_ready:
            entry = {key: value for key, value in entry.items() if key in _LEAST}
        left -= _size(entry) + len(", ")
        if left < 0:
            break
        kept[index] = entry
    return [kept[index] for index in sorted(kept)]


def _size(value: object) -> int:
    return len(json.dumps(value))
