"""A fake Ollama with the responses of Ollama's docs/api.md."""

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from tools.fleetsim.server import Reply, Request

_CHAT = ["completion", "tools"]


@dataclass(slots=True)
class OllamaModel:
    """One model that a fake Ollama has on disk."""

    name: str
    size: int = 4_661_224_676
    family: str = "llama"
    parameter_size: str = "8.0B"
    quantization: str = "Q4_K_M"
    capabilities: list[str] = field(default_factory=_CHAT.copy)
    max_context: int = 131_072
    remote_host: str = ""

    @property
    def digest(self) -> str:
        """A digest derived from the name."""
        return hashlib.sha256(self.name.encode()).hexdigest()


@dataclass(slots=True)
class LoadedOllamaModel:
    """One model that a fake Ollama has in memory."""

    size: int
    size_vram: int
    context_length: int
    expires_at: str


class FakeOllama:
    """An Ollama server whose models can be pulled, loaded, unloaded and removed.

    Like version 0.17, it reports capabilities and the trained context only at `/api/show`.
    `has_rich_tags` adds them to `/api/tags`. `is_old` omits what versions before 0.10
    omitted: capabilities everywhere, context lengths and a `size_vram` of 0.
    `has_ps=False` behaves like a version before 0.1.38. `shown` counts the lookups by
    model.
    """

    def __init__(
        self,
        *models: str,
        version: str = "0.12.6",
        is_old: bool = False,
        has_ps: bool = True,
        has_rich_tags: bool = False,
    ) -> None:
        self.version = version
        self.is_old = is_old
        self.has_rich_tags = has_rich_tags
        self.shown: Counter[str] = Counter()
        self.has_ps = has_ps
        self.on_disk: dict[str, OllamaModel] = {}
        self.loaded: dict[str, LoadedOllamaModel] = {}
        self._replies: dict[str, Reply] = {}
        for name in models:
            embeds = "embed" in name
            self.pull(OllamaModel(name, capabilities=["embedding"] if embeds else _CHAT.copy()))

    def pull(self, model: OllamaModel) -> None:
        """Puts a model on disk."""
        self.on_disk[model.name] = model
        self._replies.clear()

    def remove(self, name: str) -> None:
        """Removes a model from disk and memory."""
        self.on_disk.pop(name, None)
        self.unload(name)

    def load(
        self,
        name: str,
        *,
        size_vram: int = 5_137_025_024,
        context_length: int = 4096,
        expires_at: str = "2031-06-04T14:38:31.837531123+02:00",
    ) -> None:
        """Puts a model into memory."""
        self.loaded[name] = LoadedOllamaModel(
            max(size_vram, 5_137_025_024), size_vram, context_length, expires_at
        )
        self._replies.clear()

    def unload(self, name: str) -> None:
        """Removes a model from memory."""
        self.loaded.pop(name, None)
        self._replies.clear()

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/api/show":
                return self._show(request)
            case "/api/generate" | "/api/embed":
                return self._use(request)
        reply = self._replies.get(request.path)
        if reply is None:
            reply = self._replies[request.path] = self._answer(request.path)
        return reply

    def _answer(self, path: str) -> Reply:
        match path:
            case "/":
                return Reply(body=b"Ollama is running", content_type="text/plain; charset=utf-8")
            case "/api/version":
                return _json({"version": self.version})
            case "/api/tags":
                return _json({"models": [self._tag(model) for model in self.on_disk.values()]})
            case "/api/ps" if self.has_ps:
                return _json({"models": [self._running(name) for name in self.loaded]})
            case "/v1/models":
                listed = [
                    {"id": name, "object": "model", "created": 1_717_000_000, "owned_by": "library"}
                    for name in self.on_disk
                ]
                return _json({"object": "list", "data": listed})
        return Reply(404, b"404 page not found", "text/plain")

    def _show(self, request: Request) -> Reply:
        if request.method != "POST":
            return Reply(405, b"405 method not allowed", "text/plain")
        name = orjson.loads(request.body)["model"]
        self.shown[name] += 1
        model = self.on_disk.get(name)
        if model is None:
            return Reply(404, orjson.dumps({"error": f"model '{name}' not found"}))
        shown: dict[str, object] = {
            "details": self._details(model),
            "model_info": {
                "general.architecture": model.family,
                f"{model.family}.context_length": model.max_context,
            },
        }
        if not self.is_old:
            shown["capabilities"] = model.capabilities
        return _json(shown)

    def _use(self, request: Request) -> Reply:
        """A request without a prompt loads its model; a `keep_alive` of 0 unloads it."""
        if request.method != "POST":
            return Reply(405, b"405 method not allowed", "text/plain")
        wanted = orjson.loads(request.body)
        name = wanted["model"]
        model = self.on_disk.get(name)
        if model is None:
            return Reply(404, orjson.dumps({"error": f"model '{name}' not found"}))
        if wanted.get("keep_alive") == 0:
            self.unload(name)
            return _json({"model": name, "response": "", "done": True, "done_reason": "unload"})
        if request.path == "/api/generate" and "completion" not in model.capabilities:
            return Reply(400, orjson.dumps({"error": f'"{name}" does not support generate'}))
        if "keep_alive" in wanted:
            ends_s = time.time() + wanted["keep_alive"]
            ends_at = datetime.fromtimestamp(ends_s, UTC).isoformat()
            self.load(name, expires_at=ends_at)
        else:
            self.load(name)
        return _json({"model": name, "response": "", "done": True, "done_reason": "load"})

    def _tag(self, model: OllamaModel) -> dict[str, object]:
        details: dict[str, object] = self._details(model)
        tag: dict[str, object] = {
            "name": model.name,
            "model": model.name,
            "modified_at": "2026-05-04T17:37:44.706015396-07:00",
            "size": model.size,
            "digest": model.digest,
            "details": details,
        }
        if self.has_rich_tags and not self.is_old:
            tag["capabilities"] = model.capabilities
            details["context_length"] = model.max_context
        if model.remote_host:
            tag |= {"remote_host": model.remote_host, "remote_model": model.name, "size": 384}
        return tag

    def _details(self, model: OllamaModel) -> dict[str, object]:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": model.family,
            "families": [model.family],
            "parameter_size": model.parameter_size,
            "quantization_level": model.quantization,
        }

    def _running(self, name: str) -> dict[str, object]:
        model = self.on_disk.get(name, OllamaModel(name))
        loaded = self.loaded[name]
        running: dict[str, object] = {
            "name": name,
            "model": name,
            "size": loaded.size,
            "digest": model.digest,
            "details": self._details(model),
            "expires_at": loaded.expires_at,
        }
        if loaded.size_vram or not self.is_old:
            running["size_vram"] = loaded.size_vram
        if not self.is_old:
            running["context_length"] = loaded.context_length
        return running


def _json(value: object) -> Reply:
    return Reply(body=orjson.dumps(value), content_type="application/json; charset=utf-8")
