import pytest

from hub.base.timestamps import to_ms, to_timestamp
from hub.registry.health import status
from hub.registry.observation import Load, Observation
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    OBSERVER_MANUAL,
    OBSERVER_PROBE,
    OBSERVER_SIDECAR,
    SOURCE_AUTO,
    SOURCE_MANUAL,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    EndpointLoad,
    Model,
    Observer,
    Source,
    Status,
)

NOW = 1_800_000_000_000
LLAMA = Model(name="llama3.2:3b", state=MODEL_STATE_AVAILABLE)


def success(**facts: object) -> Observation:
    return Observation(checked_at_ms=NOW, next_check_at_ms=NOW + 30_000, **facts)


def failure(error: str = "connection refused") -> Observation:
    return success(error=error)


def endpoint(status: Status = STATUS_HEALTHY, **fields: object) -> Endpoint:
    return Endpoint(id="gpu-1:11434", status=status, **fields)


def observe(of: Endpoint, seen: Observation, unhealthy_after: int = 2) -> bool:
    return status.observe(of, seen, models=seen.models, unhealthy_after=unhealthy_after)


@pytest.mark.parametrize("before", [STATUS_UNKNOWN, STATUS_UNHEALTHY])
def test_healthy_on_the_first_success(before: Status) -> None:
    seen = endpoint(before, consecutive_failures=7, last_error="refused")
    assert observe(seen, success(latency_ms=1.5))
    assert seen.status == STATUS_HEALTHY
    assert seen.consecutive_failures == 0
    assert seen.last_error == ""
    assert seen.latency.ToMicroseconds() == 1500


@pytest.mark.parametrize("before", [STATUS_UNKNOWN, STATUS_HEALTHY])
def test_unhealthy_after_the_set_number_of_failures_in_a_row(before: Status) -> None:
    seen = endpoint(before)
    for miss in (1, 2):
        observe(seen, failure(), unhealthy_after=3)
        assert seen.status == before, f"after failure {miss}"
    assert observe(seen, failure(), unhealthy_after=3)
    assert seen.status == STATUS_UNHEALTHY
    assert seen.consecutive_failures == 3
    assert seen.last_error == "connection refused"


def test_success_in_between_restarts_the_count() -> None:
    seen = endpoint()
    for _ in range(5):
        observe(seen, failure())
        observe(seen, success())
    assert seen.status == STATUS_HEALTHY


def test_the_bookkeeping_of_a_check_is_not_an_event() -> None:
    seen = endpoint(models=[LLAMA], version="0.5.1", backend=BACKEND_OLLAMA)
    facts = {"models": (LLAMA,), "version": "0.5.1", "backend": BACKEND_OLLAMA}
    assert not observe(seen, success(latency_ms=9.0, **facts))
    assert to_ms(seen.last_checked_at) == NOW
    assert to_ms(seen.next_check_at) == NOW + 30_000
    observe(seen, failure())
    observe(seen, failure())
    assert not observe(seen, failure()), "the same error of an endpoint that is already down"
    assert seen.consecutive_failures == 3


def test_another_error_is_an_event() -> None:
    seen = endpoint()
    assert observe(seen, failure("refused"))
    assert observe(seen, failure("timed out"))


@pytest.mark.parametrize(
    "models",
    [
        (),
        (Model(name="llama3.2:3b", state=MODEL_STATE_LOADED),),
        (LLAMA, Model(name="qwen3:8b", state=MODEL_STATE_AVAILABLE)),
    ],
    ids=["gone", "loaded", "one more"],
)
def test_a_changed_model_list_is_an_event_even_if_the_health_stays(
    models: tuple[Model, ...],
) -> None:
    seen = endpoint(models=[LLAMA])
    assert observe(seen, success(models=models))
    assert list(seen.models) == list(models)
    assert seen.status == STATUS_HEALTHY
    assert not observe(seen, success(models=models))


def test_an_observation_without_models_keeps_the_known_ones() -> None:
    seen = endpoint(models=[LLAMA])
    assert not observe(seen, success(models=None))
    observe(seen, failure())
    observe(seen, failure())
    assert list(seen.models) == [LLAMA]


def test_a_changed_version_is_an_event_and_a_missing_one_is_not() -> None:
    seen = endpoint(version="0.5.1")
    assert observe(seen, success(version="0.5.2"))
    assert not observe(seen, success(version=""))
    assert seen.version == "0.5.2"


def test_a_detected_backend_may_change_but_a_registered_one_may_not() -> None:
    seen = endpoint(backend=BACKEND_UNSPECIFIED)
    assert observe(seen, success(backend=BACKEND_OLLAMA))
    assert seen.backend_detected
    assert observe(seen, success(backend=BACKEND_LLAMA_CPP))
    assert seen.backend == BACKEND_LLAMA_CPP
    pinned = endpoint(backend=BACKEND_VLLM)
    assert not observe(pinned, success(backend=BACKEND_OLLAMA))
    assert pinned.backend == BACKEND_VLLM
    assert not pinned.backend_detected


def test_a_server_that_answers_with_a_fault_reveals_its_kind_and_silence_does_not() -> None:
    seen = endpoint(STATUS_UNKNOWN)
    silent = success(error="connection refused", backend=BACKEND_OLLAMA)
    observe(seen, silent)
    assert seen.backend == BACKEND_UNSPECIFIED
    assert observe(seen, success(error="needs an API key", answered=True, backend=BACKEND_VLLM))
    assert (seen.backend, seen.backend_detected) == (BACKEND_VLLM, True)
    assert seen.provenance.backend.observer == OBSERVER_PROBE
    registered = endpoint(backend=BACKEND_OLLAMA)
    observe(registered, success(error="needs an API key", answered=True, backend=BACKEND_VLLM))
    assert (registered.backend, registered.backend_detected) == (BACKEND_OLLAMA, False)


def test_an_error_is_cut_to_the_limit_of_the_contract() -> None:
    seen = endpoint(STATUS_UNHEALTHY)
    observe(seen, failure("é" * 5_000))
    assert seen.last_error == "é" * 2_000
    assert not observe(seen, failure("é" * 5_000))


def test_the_load_is_that_of_the_last_success_within_the_limits_of_the_contract() -> None:
    seen = endpoint()
    load = Load(
        running=2, waiting=2**53, slots=4, kv_cache_used_ratio=0.25, prefix_cache_hit_ratio=0.5
    )
    assert not observe(seen, success(load=load)), "load changes all the time, so it is not an event"
    assert seen.load == EndpointLoad(
        running=2, slots=4, kv_cache_used_ratio=0.25, prefix_cache_hit_ratio=0.5
    )
    observe(seen, success())
    assert not seen.HasField("load")
    observe(seen, success(load=load))
    observe(seen, failure())
    assert not seen.HasField("load"), "its load is unknown now"


def test_forgetting_keeps_the_registered_fields() -> None:
    registered = endpoint(STATUS_UNKNOWN, name="n", backend=BACKEND_VLLM, labels={"a": "b"})
    seen = Endpoint()
    seen.CopyFrom(registered)
    observe(seen, success(models=(LLAMA,), version="1", latency_ms=2.0))
    observe(seen, failure())
    status.forget(seen)
    assert seen == registered


def test_forgetting_forgets_a_detected_backend() -> None:
    seen = endpoint(STATUS_UNKNOWN)
    observe(seen, success(backend=BACKEND_OLLAMA))
    seen.next_check_at.CopyFrom(to_timestamp(NOW))
    status.forget(seen)
    assert seen == endpoint(STATUS_UNKNOWN)


def test_a_loading_server_that_lists_its_models_shows_them_beside_its_error() -> None:
    seen = endpoint(STATUS_HEALTHY, models=[Model(name="a", state=MODEL_STATE_LOADED)])
    loading = (Model(name="a", state=MODEL_STATE_LOADING),)
    assert observe(seen, success(error="is loading its model", models=loading, answered=True))
    assert list(seen.models) == list(loading)
    assert seen.last_error == "is loading its model"
    assert seen.provenance.models.observer == OBSERVER_PROBE


@pytest.mark.parametrize(
    ("source", "observer"),
    [(SOURCE_AUTO, OBSERVER_SIDECAR), (SOURCE_MANUAL, OBSERVER_MANUAL)],
)
def test_a_registered_backend_is_attributed_to_its_source(
    source: Source, observer: Observer
) -> None:
    registered = endpoint(backend=BACKEND_OLLAMA, source=source)
    status.register(registered)
    assert registered.provenance.backend.observer == observer
