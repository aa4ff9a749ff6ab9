"""A fake llama-server in router mode that records whether a probe made it load a model."""

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

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/health":
                return _json({"status": "ok"})
            case "/v1/models" | "/models":
                return _json(
                    {"object": "list", "data": [self._model(name) for name in self.status]}
                )
            case "/props" if "model" not in request.query:
                props = {"role": "router", "max_instances": 4, "build_info": self.build}
                return _json(props | {"default_generation_settings": {"n_ctx": 0}})
            case "/slots" | "/props" | "/metrics":
                return self._of_model(request)
        return _error(404, "File Not Found")

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
