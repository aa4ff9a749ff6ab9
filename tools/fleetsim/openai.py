"""Fakes of the servers with OpenAI's API: vLLM, SGLang, LM Studio, and any other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from tools.fleetsim.server import Reply, Request


def _json(value: object, status: int = 200, server: str = "uvicorn") -> Reply:
    return Reply(status, orjson.dumps(value), headers=(("Server", server),))


def _not_found() -> Reply:
    return _json({"detail": "Not Found"}, 404)


def _listed(names: Sequence[str], owner: str, **more: object) -> Reply:
    data = [
        {"id": name, "object": "model", "created": 1_717_000_000, "owned_by": owner, **more}
        for name in names
    ]
    return _json({"object": "list", "data": data})


@dataclass(slots=True)
class FakeOpenAi:
    """A server that has only a model list; it returns 429 while `retry_after` is set."""

    models: list[str] = field(default_factory=lambda: ["gpt-oss-120b"])
    retry_after: str = ""

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        if self.retry_after:
            return Reply(429, b"{}", headers=(("Retry-After", self.retry_after),))
        if request.path == "/v1/models":
            return _listed(self.models, "somebody")
        return _not_found()


@dataclass(slots=True)
class FakeVllm:
    """A vLLM server; `is_old` uses the cache gauge's name before 0.9, `dev` adds /is_sleeping."""

    models: list[str] = field(default_factory=lambda: ["meta-llama/Llama-3.1-8B-Instruct"])
    version: str = "0.11.0"
    max_model_len: int = 32_768
    running: int = 3
    waiting: int = 1
    kv_cache: float = 0.25
    is_old: bool = False
    dev: bool = False
    sleeping: bool = False
    engine_dead: bool = False

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/health":
                return Reply(503 if self.engine_dead else 200, b"")
            case "/version":
                return _json({"version": self.version})
            case "/v1/models":
                return self._models()
            case "/is_sleeping" if self.dev:
                return _json({"is_sleeping": self.sleeping})
            case "/metrics":
                return Reply(
                    body=self._metrics().encode(), content_type="text/plain; version=0.0.4"
                )
        return _not_found()

    def _models(self) -> Reply:
        return _listed(
            self.models,
            "vllm",
            root=self.models[0] if self.models else "",
            parent=None,
            max_model_len=self.max_model_len,
            permission=[],
        )

    def _metrics(self) -> str:
        cache = "vllm:gpu_cache_usage_perc" if self.is_old else "vllm:kv_cache_usage_perc"
        labels = '{engine="0",model_name="a } b"}'
        return (
            "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
            "# TYPE vllm:num_requests_running gauge\n"
            f"vllm:num_requests_running{labels} {self.running}.0\n"
            f"vllm:num_requests_waiting{labels} {self.waiting}.0\n"
            f"vllm:num_requests_waiting_by_reason{labels} 99.0\n"
            f"{cache}{labels} {self.kv_cache}\n"
        )


@dataclass(slots=True)
class FakeSglang:
    """An SGLang server; `is_old` has neither /v1/loads nor max_model_len."""

    models: list[str] = field(default_factory=lambda: ["Qwen/Qwen3-8B"])
    version: str = "0.5.4"
    max_model_len: int = 40_960
    running: int = 2
    waiting: int = 5
    token_usage: float = 0.5
    is_old: bool = False

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/v1/models":
                more = {} if self.is_old else {"max_model_len": self.max_model_len}
                return _listed(self.models, "sglang", root=self.models[0], **more)
            case "/get_model_info":
                return _json({"model_path": self.models[0], "is_generation": True})
            case "/get_server_info":
                return _json({"version": self.version, "tp_size": 1, "internal_states": [{}]})
            case "/v1/loads" if not self.is_old:
                load = {
                    "dp_rank": 0,
                    "num_running_reqs": self.running,
                    "num_waiting_reqs": self.waiting,
                    "token_usage": self.token_usage,
                    "memory": {"weight_gb": 15.3},
                }
                return _json({"version": self.version, "dp_rank_count": 1, "loads": [load]})
        return _not_found()


@dataclass(slots=True)
class FakeLmStudio:
    """LM Studio; `is_old` has only /api/v0. As in LM Studio, an unknown route returns 200."""

    on_disk: list[str] = field(default_factory=lambda: ["qwen2.5-7b-instruct"])
    loaded: dict[str, int] = field(default_factory=dict)
    max_context: int = 32_768
    is_old: bool = False

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/v1/models":
                return _listed(self.on_disk, "organization_owner")
            case "/api/v1/models" if not self.is_old:
                return _json({"models": [self._v1(name) for name in self.on_disk]})
            case "/api/v0/models":
                return _json({"object": "list", "data": [self._v0(name) for name in self.on_disk]})
        unknown = f"Unexpected endpoint or method. ({request.method} {request.path})"
        return _json({"error": unknown})

    def _v1(self, name: str) -> dict[str, object]:
        context = self.loaded.get(name)
        instance = {"id": name, "config": {"context_length": context, "parallel": 4}}
        return {
            "type": "llm",
            "publisher": "somebody",
            "key": name,
            "display_name": name,
            "architecture": "qwen2",
            "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
            "size_bytes": 4_683_073_952,
            "params_string": "7B",
            "loaded_instances": [] if context is None else [instance],
            "max_context_length": self.max_context,
            "format": "gguf",
            "capabilities": {"vision": False, "trained_for_tool_use": True},
        }

    def _v0(self, name: str) -> dict[str, object]:
        context = self.loaded.get(name)
        entry: dict[str, object] = {
            "id": name,
            "object": "model",
            "type": "llm",
            "publisher": "somebody",
            "arch": "qwen2",
            "compatibility_type": "gguf",
            "quantization": "Q4_K_M",
            "state": "not-loaded" if context is None else "loaded",
            "max_context_length": self.max_context,
        }
        if context is not None:
            entry["loaded_context_length"] = context
        return entry
