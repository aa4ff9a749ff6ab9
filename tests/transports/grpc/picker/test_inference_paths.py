import pytest

from hub.transports.grpc.picker.inference_paths import Served, find, is_ollama


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"),
        *("/v1/rerank", "/rerank", "/v1/audio/transcriptions", "/v1/chat/completions?x=/api/pull"),
    ],
)
def test_inference_goes_to_an_endpoint(path):
    route = find("POST", path)
    assert route is not None
    assert (route.served, route.is_ollama) == (Served.ENDPOINT, False)
    assert not is_ollama(path)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show"])
def test_ollamas_paths_are_known(path):
    route = find("POST", path)
    assert route is not None
    assert (route.served, route.is_ollama) == (Served.ENDPOINT, True)
    assert is_ollama(path)


@pytest.mark.parametrize(
    ("path", "served", "model"),
    [
        ("/v1/models", Served.OPENAI_MODELS, ""),
        ("/v1/models/qwen3%3A8b?x", Served.OPENAI_MODEL, "qwen3:8b"),
        ("/v1/models/org/name", Served.OPENAI_MODEL, "org/name"),
        ("/api/tags", Served.OLLAMA_MODELS, ""),
        ("/api/version", Served.OLLAMA_VERSION, ""),
    ],
)
def test_lists_are_answered_by_the_hub(path, served, model):
    route = find("GET", path)
    assert route is not None
    assert (route.served, route.model) == (served, model)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/v1/chat/completions"), ("POST", "/v1/models"), ("GET", "/v1/models/")),
        *(("POST", "/api/pull"), ("POST", "/api/create"), ("DELETE", "/api/delete")),
        *(("POST", "/models/load"), ("POST", "/v1/load_lora_adapter"), ("GET", "/metrics")),
        *(("POST", "//v1/chat/completions"), ("POST", "/v1/chat/completions/"), ("", "")),
    ],
)
def test_everything_else_is_not_served(method, path):
    assert find(method, path) is None
