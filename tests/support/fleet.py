"""Random fleets for property tests, and short constructors of observations."""

from hypothesis import strategies as st

from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    SOURCE_MANUAL,
    Endpoint,
    Model,
)
from llmhub.v1.frame_pb2 import ReportResourcesRequest

NOW = 1_800_000_000_000
BYTES = st.integers(0, 2**53 - 1)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)

MODELS = st.builds(
    Model,
    name=st.sampled_from(["llama3.2:3b", "qwen3:8b", "modèle", "m" * 40]),
    digest=st.none() | WORDS,
    size_bytes=st.none() | BYTES,
    state=st.sampled_from([MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED]),
    capabilities=st.lists(WORDS, max_size=2),
)
MODEL_LISTS = st.lists(MODELS, max_size=4, unique_by=lambda model: model.name).map(
    lambda models: tuple(sorted(models, key=lambda model: model.name))
)


def registered(id_: str, **fields: object) -> Endpoint:
    """An endpoint as in the store: registered facts only, nothing observed."""
    host, _, port = id_.rpartition(":")
    defaults: dict[str, object] = {
        "id": id_,
        "host": host.strip("[]"),
        "port": int(port),
        "scheme": "http",
        "name": id_,
        "source": SOURCE_MANUAL,
        "admin_state": ADMIN_STATE_ENABLED,
        "etag": "1",
    }
    return Endpoint(**(defaults | fields))


def registrations(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Endpoint]:
    return st.builds(
        registered,
        ids,
        name=WORDS,
        scheme=st.sampled_from(["http", "https"]),
        backend=st.sampled_from([BACKEND_UNSPECIFIED, BACKEND_OLLAMA, BACKEND_VLLM]),
        admin_state=st.sampled_from([ADMIN_STATE_ENABLED, ADMIN_STATE_DRAINING]),
        labels=st.dictionaries(st.sampled_from(["zone", "tier"]), WORDS, max_size=2),
    )


def saw(now_ms: int = NOW, **facts: object) -> Observation:
    """The observation of a probe that ended at `now_ms`."""
    return Observation(checked_at_ms=now_ms, next_check_at_ms=now_ms + 30_000, **facts)


OBSERVATIONS = st.one_of(
    st.builds(saw, error=st.sampled_from(["connection refused", "timed out"])),
    st.builds(
        saw,
        models=st.none() | MODEL_LISTS,
        version=st.sampled_from(["", "0.5.1", "0.5.2"]),
        backend=st.sampled_from([BACKEND_UNSPECIFIED, BACKEND_OLLAMA, BACKEND_VLLM]),
        latency_ms=st.floats(0, 1_000),
    ),
)

REPORTS = st.builds(
    ReportResourcesRequest,
    cpu_percent=st.none() | st.floats(0, 100),
    ram_used_bytes=st.none() | BYTES,
    ram_total_bytes=st.none() | BYTES,
    vram_used_bytes=st.none() | BYTES,
    vram_total_bytes=st.none() | BYTES,
)
