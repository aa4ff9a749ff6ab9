"""Fakes of Lemonade, LMDeploy, Docker Model Runner and Text Embeddings Inference.

Each records the effects that a probe must not have.
"""

from dataclasses import dataclass, field

from tools.fleetsim.replies import METRICS_TYPE, json_reply, model_list, not_found
from tools.fleetsim.server import Reply, Request


@dataclass(slots=True)
class FakeLemonade:
    """A Lemonade Server: `labels` by model on disk, the context by model in memory.

    It imitates Ollama and LM Studio, like the real one. `is_old` omits labels.
    """

    labels: dict[str, list[str]] = field(
        default_factory=lambda: {
            "Qwen3-0.6B-GGUF": ["reasoning", "tool-calling"],
            "nomic-embed-text-v1-GGUF": ["embeddings"],
        }
    )
    loaded: dict[str, int] = field(default_factory=lambda: {"Qwen3-0.6B-GGUF": 4096})
    version: str = "9.3.3"
    is_old: bool = False

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/api/version":
                return json_reply({"version": self.version})
            case "/api/tags" | "/api/ps":
                return json_reply({"models": [{"name": name} for name in self.labels]})
            case "/api/v1/health":
                loaded = [
                    {"model_name": name, "type": "llm", "recipe_options": {"ctx_size": context}}
                    for name, context in self.loaded.items()
                ]
                return json_reply(
                    {"status": "ok", "version": self.version, "all_models_loaded": loaded}
                )
            case "/v1/models" | "/api/v0/models" | "/api/v1/models":
                data = [self._model(name) for name in self.labels]
                return json_reply({"object": "list", "data": data})
        return not_found()

    def _model(self, name: str) -> dict[str, object]:
        entry: dict[str, object] = {
            "id": name,
            "object": "model",
            "owned_by": "lemonade",
            "checkpoint": f"someone/{name}:Q4_0",
            "recipe": "llamacpp",
            "size": 0.38,
            "downloaded": True,
        }
        return entry if self.is_old else entry | {"labels": self.labels[name]}


@dataclass(slots=True)
class FakeLmDeploy:
    """LMDeploy's api_server, with or without metrics."""

    models: list[str] = field(default_factory=lambda: ["internlm/internlm3-8b-instruct"])
    has_metrics: bool = True
    running: int = 2
    waiting: int = 1
    kv_cache: float = 0.25

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/v1/models":
                return model_list(self.models, "lmdeploy", root=self.models[0], parent=None)
            case "/metrics" if self.has_metrics:
                labels = '{engine="0",model_name="a"}'
                page = (
                    f"lmdeploy:num_requests_running{labels} {self.running}.0\n"
                    f"lmdeploy:num_requests_waiting{labels} {self.waiting}.0\n"
                    f"lmdeploy:gpu_cache_usage_perc{labels} {self.kv_cache}\n"
                )
                return Reply(body=page.encode(), content_type=METRICS_TYPE)
        return not_found()


@dataclass(slots=True)
class FakeDockerModelRunner:
    """A Docker Model Runner: `running` says by model whether it is still loading.

    It imitates Ollama, like the real one. `has_root_api` is False for an older one, whose
    OpenAI API is only below /engines.
    """

    models: list[str] = field(default_factory=lambda: ["ai/smollm2:latest", "ai/gemma3:4B-F16"])
    running: dict[str, bool] = field(default_factory=lambda: {"docker.io/ai/smollm2:latest": False})
    has_root_api: bool = True

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/":
                return Reply(body=b"Docker Model Runner is running\n", content_type="text/plain")
            case "/api/version":
                return json_reply({"version": "0.1.0"})
            case "/engines/v1/models":
                return model_list(self.models, "docker")
            case "/v1/models" if self.has_root_api:
                return model_list(self.models, "docker")
            case "/models":
                return json_reply([self._model(name) for name in self.models])
            case "/engines/ps":
                return json_reply([self._running(name) for name in self.running])
        return not_found()

    def _model(self, name: str) -> dict[str, object]:
        return {
            "id": f"sha256:{name.encode().hex():0<64.64}",
            "tags": [name],
            "created": 1_742_905_000,
            "config": {
                "format": "gguf",
                "quantization": "IQ2_XXS/Q4_K_M",
                "parameters": "361.82 M",
                "architecture": "llama",
                "size": "256.35 MiB",
            },
        }

    def _running(self, name: str) -> dict[str, object]:
        entry: dict[str, object] = {
            "backend_name": "llama.cpp",
            "model_name": name,
            "mode": "completion",
            "last_used": "2026-05-04T17:37:44Z",
        }
        return entry | ({"loading": True} if self.running[name] else {})


@dataclass(slots=True)
class FakeTextEmbeddings:
    """A Text Embeddings Inference server; `runs` counts the requests that run its model."""

    model: str = "thenlper/gte-base"
    kind: str = "embedding"
    version: str = "1.9.4"
    max_input_length: int = 512
    queue: int = 3
    runs: int = 0

    def answer(self, request: Request) -> Reply:
        """See `Persona`."""
        match request.path:
            case "/info":
                return json_reply(
                    {
                        "model_id": self.model,
                        "model_sha": "fca14538aa9956a46526bd1d0d11d69e19b5a101",
                        "model_dtype": "float16",
                        "model_type": {self.kind: {"pooling": "mean"}},
                        "max_concurrent_requests": 512,
                        "max_input_length": self.max_input_length,
                        "max_batch_tokens": 16_384,
                        "version": self.version,
                        "sha": None,
                        "docker_label": None,
                    }
                )
            case "/health":
                self.runs += 1
                return Reply(200)
            case "/metrics":
                page = f"# TYPE te_queue_size gauge\nte_queue_size {self.queue}\n"
                return Reply(body=page.encode(), content_type=METRICS_TYPE)
        return Reply(404)
