"""Why a selection finds no endpoint, as SelectEndpoint answers it."""

import base64
from urllib.parse import quote

import pytest

from hub.contract.errors import (
    HubError,
    ModelUnknown,
    NoCapacity,
    NoHealthyEndpoint,
)
from hub.registry.state import Registry
from hub.service.handlers.selection_refusals import GUESSES
from hub.transports.grpc.call_context import to_status
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, ADMIN_STATE_DRAINING, Endpoint
from tests.support.fleet_of import GIB, NOW, add, loaded, on_disk, report
from tests.support.selecting import Selecting, chosen


@pytest.fixture
def registry() -> Registry:
    return Registry(first_revision=1000)


@pytest.fixture
def select(registry: Registry) -> Selecting:
    return Selecting(registry)


def test_unknown_model(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded())
    with pytest.raises(ModelUnknown) as raised:
        select("nope")
    assert raised.value.metadata == {"model": "nope"}
    assert raised.value.retry_after_ms is None


def test_unknown_model_returns_near_names(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded("llama3.1:8b"), on_disk("llama3:8b"), on_disk("qwen2.5:7b"))
    with pytest.raises(ModelUnknown) as raised:
        select("lama3.1:8b")
    assert str(raised.value) == (
        "no endpoint has lama3.1:8b; did you mean llama3.1:8b or llama3:8b?"
    )
    assert raised.value.metadata == {
        "model": "lama3.1:8b",
        "near_1": "llama3.1:8b",
        "near_2": "llama3:8b",
    }


def test_frequent_guesses_return_no_near_names(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded("llama3.1:8b"))
    for _ in range(GUESSES):
        with pytest.raises(ModelUnknown, match="did you mean"):
            select("lama3.1:8b")
    with pytest.raises(ModelUnknown) as raised:
        select("lama3.1:8b")
    assert raised.value.metadata == {"model": "lama3.1:8b"}
    select.now_ms += 60_000
    with pytest.raises(ModelUnknown, match="did you mean"):
        select("lama3.1:8b")


def test_unknown_model_is_retryable_until_all_endpoints_were_probed(
    registry: Registry, select: Selecting
) -> None:
    registry.put_endpoint(Endpoint(id="new:1"))
    with pytest.raises(NoHealthyEndpoint) as raised:
        select("nope")
    assert raised.value.retry_after_ms == 5_000
    registry.put_endpoint(Endpoint(id="new:1", admin_state=ADMIN_STATE_DISABLED))
    with pytest.raises(ModelUnknown):
        select("nope")


def test_no_healthy_endpoint_says_when_to_retry(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded(), error="connection refused", checked_ms=NOW - 20_000)
    add(registry, "b:1", loaded(), admin_state=ADMIN_STATE_DRAINING, checked_ms=NOW - 29_000)
    with pytest.raises(NoHealthyEndpoint) as raised:
        select(explain=True)
    assert raised.value.retry_after_ms == 10_000
    assert raised.value.metadata == {
        "model": "m",
        "rejected_draining": "1",
        "rejected_not_healthy": "1",
        "rejected a:1": "unhealthy: connection refused",
        "rejected b:1": "being drained by an admin",
    }


def test_healthy_endpoints_without_capacity_are_no_capacity(
    registry: Registry, select: Selecting
) -> None:
    add(registry, "a:1", loaded(), error="down")
    add(registry, "b:1", loaded(), agent_id="n")
    report(registry, "n", vram_used_bytes=7 * GIB, vram_total_bytes=8 * GIB)
    with pytest.raises(NoCapacity) as raised:
        select(min_free_vram_bytes=2 * GIB)
    assert raised.value.metadata == {
        "model": "m",
        "rejected_not_healthy": "1",
        "rejected_vram": "1",
    }
    with pytest.raises(NoCapacity):
        select(exclude_ids=["b:1"])
    assert chosen(select()) == ["b:1"]


def trailers_bytes(error: HubError) -> int:
    """What gRPC makes of an error: the message in percent encoding, the details in base64."""
    details = to_status(error).SerializeToString()
    return len(quote(error.message)) + len(base64.b64encode(details))


@pytest.mark.parametrize("model", ["🦙" * 25, "🦙" * 190, "🦙" * 512], ids=["25", "190", "512"])
def test_an_error_fits_into_trailers_with_any_names(
    registry: Registry, select: Selecting, model: str
) -> None:
    add(registry, "a:1", *(loaded(model[:-1] + other) for other in "🐪🐫🐑"))
    with pytest.raises(ModelUnknown) as unknown:
        select(model)
    assert trailers_bytes(unknown.value) < 7000
    assert ("near_3" in unknown.value.metadata) == (len(model) == 25)
    assert unknown.value.metadata["model"] == model
    for i in range(20):
        add(registry, f"{i}{'h' * 250}:1", loaded(model), admin_state=ADMIN_STATE_DRAINING)
    with pytest.raises(NoHealthyEndpoint) as none_healthy:
        select(model, explain=True)
    assert trailers_bytes(none_healthy.value) < 7000
    assert none_healthy.value.metadata["rejected_draining"] == "20"
    assert any(key.startswith("rejected ") for key in none_healthy.value.metadata)
    for i in range(20):
        registry.remove_endpoint(f"{i}{'h' * 250}:1")
    add(registry, "b:1", loaded(model))
    with pytest.raises(NoCapacity) as no_capacity:
        select(model, exclude_ids=["b:1"])
    assert trailers_bytes(no_capacity.value) < 7000


@pytest.mark.parametrize("model", ["m", "model", "rejected_model", "near_1"])
def test_rejection_counts_never_overwrite_the_models_name(
    registry: Registry, select: Selecting, model: str
) -> None:
    add(registry, "a:1", loaded(model, family="llama"))
    with pytest.raises(NoCapacity) as raised:
        select(model, family="other", explain=True)
    assert raised.value.metadata["model"] == model
    assert raised.value.metadata["rejected_model"] == "1"
    assert len(raised.value.metadata) == 3


def test_an_unknown_fact_is_not_reported_as_missing(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded())
    with pytest.raises(NoCapacity) as raised:
        select(capabilities=["tools"], require_known_facts=True, explain=True)
    assert "none is known to meet the request's needs" in str(raised.value)
    assert raised.value.metadata["rejected_unknown"] == "1"
    assert raised.value.metadata["rejected a:1"] == "unknown: capability tools"
