"""Fakes of servers with OpenAI's API: vLLM, SGLang, LM Studio, and a generic one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tools.fleetsim.replies import json_reply, model_list, not_found
from tools.fleetsim.server import Reply, Request


def _with_adapters(
    models: Sequence[str], adapters: Mapping[str, str], owner: str, **more: object
) -> Reply:
    parents: dict[str, str | None] = dict.fromkeys(models) | dict(adapters)
    data = [
        {"id": name, "object": "model", "owned_by": owner, "root": name, "parent": parent, **more}
        for name, parent in parents.items()
    ]
    return json_reply({"object": "list", "data": data})


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
            return model_list(self.models, "someone")
        return not_found()


@dataclass(slots=True)
class FakeVllm:
    """A vLLM server; `is_old` uses the cache gauge's name before 0.9, `dev` adds sleep mode."""

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
    # LoRA adapters, each with its base.
    adapters: dict[str, str] = field(default_factory=dict)
    prefix_queries: int = 0
    prefix_hits: int = 0

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/health":
                return Reply(503 if self.engine_dead else 200, b"")
            case "/version":
                return json_reply({"version": self.version})
            case "/v1/models":
                return self._models()
            case "/sleep" | "/wake_up" if self.dev and request.method == "POST":
                self.sleeping = request.path == "/sleep"
                return Reply()
            case "/is_sleeping" if self.dev:
                return json_reply({"is_sleeping": self.sleeping})
            case "/metrics":
                return Reply(
                    body=self._metrics().encode(), content_type="text/plain; version=0.0.4"
                )
        return not_found()

    def _models(self) -> Reply:
        more = {"max_model_len": self.max_model_len, "permission": []}
        return _with_adapters(self.models, self.adapters, "vllm", **more)

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
            f"vllm:prefix_cache_queries_total{labels} {self.prefix_queries}.0\n"
            f"vllm:prefix_cache_hits_total{labels} {self.prefix_hits}.0\n"
        )


@dataclass(slots=True)
class FakeSglang:
    """An SGLang server; `is_old` has neither /v1/loads nor max_model_len.

    `has_metrics` is True for one that was started with --enable-metrics.
    """

    models: list[str] = field(default_factory=lambda: ["Qwen/Qwen3-8B"])
    version: str = "0.5.4"
    max_model_len: int = 40_960
    running: int = 2
    waiting: int = 5
    token_usage: float = 0.5
    cache_hit_rate: float = 0.75
    max_running: int = 64
    is_old: bool = False
    has_metrics: bool = False
    adapters: dict[str, str] = field(default_factory=dict)

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/v1/models":
                more = {} if self.is_old else {"max_model_len": self.max_model_len}
                return _with_adapters(self.models, self.adapters, "sglang", **more)
            case "/metrics" if self.has_metrics:
                return Reply(
                    body=self._metrics().encode(), content_type="text/plain; version=0.0.4"
                )
            case "/get_model_info":
                return json_reply({"model_path": self.models[0], "is_generation": True})
            case "/get_server_info":
                return json_reply({"version": self.version, "tp_size": 1, "internal_states": [{}]})
            case "/v1/loads" if not self.is_old:
                load = {
                    "dp_rank": 0,
                    "num_running_reqs": self.running,
                    "num_waiting_reqs": self.waiting,
                    "token_usage": self.token_usage,
                    "cache_hit_rate": self.cache_hit_rate,
                    "max_running_requests": self.max_running,
                    "memory": {"weight_gb": 15.3},
                }
                return json_reply({"version": self.version, "dp_rank_count": 1, "loads": [load]})
        return not_found()

    def _metrics(self) -> str:
        labels = '{model_name="a"}'
        return (
            f"sglang:num_running_reqs{labels} {self.running}.0\n"
            f"sglang:num_queue_reqs{labels} {self.waiting}.0\n"
            f"sglang:token_usage{labels} {self.token_usage}\n"
            f"sglang:cache_hit_rate{labels} {self.cache_hit_rate}\n"
        )


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
                return model_list(self.on_disk, "organization_owner")
            case "/api/v1/models" if not self.is_old:
                return json_reply({"models": [self._v1(name) for name in self.on_disk]})
            case "/api/v0/models":
                return json_reply(
                    {"object": "list", "data": [self._v0(name) for name in self.on_disk]}
                )
        unknown = f"Unexpected endpoint or method. ({request.method} {request.path})"
        return json_reply({"error": unknown})

    def _v1(self, name: str) -> dict[str, object]:
        context = self.loaded.get(name)
        instance = {"id": name, "config": {"context_length": context, "parallel": 4}}
        return {
            "type": "llm",
            "publisher": "someone",
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
            "publisher": "someone",
            "arch": "qwen2",
            "compatibility_type": "gguf",
            "quantization": "Q4_K_M",
            "state": "not-loaded" if context is None else "loaded",
            "max_context_length": self.max_context,
        }
        if context is not None:
            entry["loaded_context_length"] = context
        return entry
