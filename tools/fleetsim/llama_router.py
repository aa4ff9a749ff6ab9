"""A fake llama-server in router mode that records whether a probe made it load a model.

`/models/load` answers at once and loads later, like the real one: the model is loaded
after its list has been requested `lists_while_loading` times. Models in `fails_to_load`
are then unloaded again.
"""

from dataclasses import dataclass, field

import orjson

from tools.fleetsim.server import Reply, Request


@dataclass(slots=True)
class FakeLlamaRouter:
    """A router: `status` by model; a request for a model loads it unless `autoload` is false."""

    status: dict[str, str] = field(default_factory=lambda: {"small": "loaded", "big": "unloaded"})
    build: str = "b7000-abcdef0"
    context: int = 8192
    slots: int = 4
    busy: int = 1
    lists_while_loading: int = 1
    fails_to_load: frozenset[str] = frozenset()
    loading: dict[str, int] = field(default_factory=dict)

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/health":
                return _json({"status": "ok"})
            case "/v1/models" | "/models":
                listed = [self._model(name) for name in self.status]
                self._go_on_loading()
                return _json({"object": "list", "data": listed})
            case "/models/load" | "/models/unload" if request.method == "POST":
                return self._change(request)
            case "/props" if "model" not in request.query:
                props = {"role": "router", "max_instances": 4, "build_info": self.build}
                return _json(props | {"default_generation_settings": {"n_ctx": 0}})
            case "/slots" | "/props" | "/metrics":
                return self._of_model(request)
        return _error(404, "File Not Found")

    def _change(self, request: Request) -> Reply:
        name = orjson.loads(request.body)["model"]
        if name not in self.status:
            return _error(404, "model is not found")
        is_load = request.path == "/models/load"
        if (self.status[name] == "loaded") == is_load:
            return _error(400, f"model is {'already' if is_load else 'not'} loaded")
        self.status[name] = "loading" if is_load else "unloaded"
        if is_load:
            self.loading[name] = self.lists_while_loading
        return _json({"success": True})

    def _go_on_loading(self) -> None:
        for name, left in list(self.loading.items()):
            self.loading[name] = left - 1
            if left <= 0:
                del self.loading[name]
                self.status[name] = "unloaded" if name in self.fails_to_load else "loaded"

    def _of_model(self, request: Request) -> Reply:
        name = request.query.get("model", "")
        if name not in self.status:
            return _error(400, "model name is missing from the request")
        if self.status[name] != "loaded":
            if request.query.get("autoload") == "false":
                return _error(400, "model is not loaded")
            self.status[name] = "loaded"
        if request.path == "/props":
            return _json({"chat_template_caps": {"supports_tools": True}, "build_info": self.build})
        if request.path != "/slots":
            return _error(501, "not supported")
        return _json(
            [
                {"id": number, "n_ctx": self.context, "is_processing": number < self.busy}
                for number in range(self.slots)
            ]
        )

    def _model(self, name: str) -> dict[str, object]:
        return {
            "id": name,
            "object": "model",
            "owned_by": "llamacpp",
            "created": 1_717_000_000,
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "status": {"value": self.status[name], "args": ["llama-server", "--port", "0"]},
        }


def _json(value: object, status: int = 200) -> Reply:
    return Reply(
        status,
        orjson.dumps(value),
        "application/json; charset=utf-8",
        (("Server", "llama.cpp"),),
    )


def _error(status: int, message: str) -> Reply:
    return _json({"error": {"code": status, "message": message, "type": "error"}}, status)
