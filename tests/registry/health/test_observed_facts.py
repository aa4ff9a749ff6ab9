"""Facts across a restart: which are kept, when they are still valid, how they are marked."""

import pytest

from hub.base.timestamps import to_ms, to_timestamp
from hub.registry.health.observed_facts import lasting_facts, merged, restore, shift
from hub.registry.observation import Observation
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    FAULT_NO_ANSWER,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    OBSERVER_MANUAL,
    OBSERVER_PROBE,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    Model,
)

ID = "10.0.0.1:11434"
NOW = 1_800_000_000_000
LATER = NOW + 60_000


def registered(**changes) -> Endpoint:
    endpoint = Endpoint(id=ID, host="10.0.0.1", port=11434, scheme="http", name="one")
    endpoint.registered_at.CopyFrom(to_timestamp(NOW - 1000))
    for field, value in changes.items():
        if field == "registered_at":
            endpoint.registered_at.CopyFrom(value)
        else:
            setattr(endpoint, field, value)
    return endpoint


def success(at_ms: int = NOW, **facts) -> Observation:
    known = {
        "backend": BACKEND_OLLAMA,
        "version": "0.17.4",
        "models": (Model(name="m"),),
        "latency_ms": 3.0,
    }
    return Observation(checked_at_ms=at_ms, next_check_at_ms=at_ms + 30_000, **(known | facts))


def miss(at_ms: int) -> Observation:
    return Observation(checked_at_ms=at_ms, next_check_at_ms=at_ms + 30_000, error="no answer")


def observed(*seen: Observation, **changes) -> Endpoint:
    """The endpoint as a hub knew it before its restart."""
    registry = Registry(first_revision=1)
    registry.put_endpoint(registered(**changes))
    for each in seen or (success(),):
        registry.observe(ID, each)
    return current(registry)


def current(registry: Registry) -> Endpoint:
    record = registry.get(ID)
    assert record is not None
    return record.message


def restarted(facts: Endpoint | None, **changes) -> Registry:
    registry = Registry(first_revision=1000)
    registry.put_endpoint(registered(**changes))
    assert facts is not None
    registry.restore_endpoint(facts)
    return registry


def test_known_facts_are_restored_with_their_age_and_marked():
    endpoint = current(restarted(lasting_facts(observed())))
    assert endpoint.status == STATUS_HEALTHY
    assert [model.name for model in endpoint.models] == ["m"]
    assert (endpoint.backend, endpoint.backend_detected) == (BACKEND_OLLAMA, True)
    assert endpoint.version == "0.17.4"
    assert endpoint.latency.ToMicroseconds() == 3000
    assert to_ms(endpoint.last_checked_at) == NOW
    for fact in ("status", "backend", "version", "models"):
        source = getattr(endpoint.provenance, fact)
        assert source.restored
        assert (source.observer, to_ms(source.observed_at)) == (OBSERVER_PROBE, NOW)
    # The new process sets the other fields.
    assert not endpoint.HasField("next_check_at")
    assert endpoint.name == "one"


def test_watchers_see_the_restored_state_and_its_confirmation_as_events():
    registry = restarted(lasting_facts(observed()))
    assert registry.healthy_count == 1
    assert registry.fleet_models() == {"m": 1}
    revision = registry.event_revision
    registry.observe(ID, success(LATER))
    (event,) = registry.ring.after(revision, 10)
    assert event.after is not None
    provenance = event.after.message.provenance
    assert not any(
        getattr(provenance, fact).restored for fact in ("status", "backend", "version", "models")
    )
    revision = registry.event_revision
    registry.observe(ID, success(LATER + 30_000))
    assert registry.event_revision == revision


def test_a_restored_status_that_probes_contradict_changes_as_usual():
    registry = restarted(lasting_facts(observed()))
    registry.observe(ID, miss(LATER))
    endpoint = current(registry)
    assert (endpoint.status, endpoint.consecutive_failures) == (STATUS_HEALTHY, 1)
    assert not endpoint.provenance.status.restored
    # No probe has confirmed the models.
    assert endpoint.provenance.models.restored
    registry.observe(ID, miss(LATER + 2000))
    assert current(registry).status == STATUS_UNHEALTHY


def test_a_dead_endpoint_stays_dead_and_keeps_counting_failures():
    facts = lasting_facts(observed(success(), miss(NOW + 1), miss(NOW + 2)))
    endpoint = current(restarted(facts))
    assert endpoint.status == STATUS_UNHEALTHY
    assert (endpoint.consecutive_failures, endpoint.fault) == (2, FAULT_NO_ANSWER)
    assert endpoint.last_error == "no answer"
    facts = lasting_facts(observed(success(), miss(NOW + 1)))
    registry = restarted(facts)
    registry.observe(ID, miss(LATER))
    assert current(registry).status == STATUS_UNHEALTHY


@pytest.mark.parametrize(
    "changes",
    [
        {"scheme": "https"},
        {"base_path": "/ollama"},
        {"backend": BACKEND_VLLM},
        {"registered_at": to_timestamp(NOW + 5000)},
        {"admin_state": ADMIN_STATE_DISABLED},
    ],
    ids=["scheme", "base path", "backend", "registered again", "disabled"],
)
def test_facts_about_another_server_are_not_restored(changes):
    endpoint = current(restarted(lasting_facts(observed()), **changes))
    assert endpoint.status == STATUS_UNKNOWN
    assert not endpoint.models
    assert not endpoint.HasField("last_checked_at")
    assert not endpoint.provenance.models.restored


def test_a_removed_endpoint_is_not_restored():
    registry = Registry(first_revision=1)
    facts = lasting_facts(observed())
    assert facts is not None
    assert not registry.restore_endpoint(facts)
    assert registry.get(ID) is None


def test_newer_observations_are_not_overwritten():
    facts = lasting_facts(observed())
    assert facts is not None
    registry = Registry(first_revision=1000)
    registry.put_endpoint(registered())
    registry.observe(ID, success(LATER, models=(Model(name="new"),)))
    assert not registry.restore_endpoint(facts)
    assert [model.name for model in current(registry).models] == ["new"]


def test_a_registered_backend_is_never_restored():
    facts = lasting_facts(observed(backend=BACKEND_OLLAMA))
    endpoint = current(restarted(facts, backend=BACKEND_OLLAMA))
    assert endpoint.provenance.backend.observer == OBSERVER_MANUAL
    assert not endpoint.provenance.backend.restored
    # It does not become a detected one if the registration no longer names it, either.
    endpoint = current(restarted(facts))
    assert endpoint.backend == BACKEND_UNSPECIFIED
    assert not endpoint.provenance.HasField("backend")
    # A detected backend that was registered since counts as registered.
    endpoint = current(restarted(lasting_facts(observed()), backend=BACKEND_OLLAMA))
    assert endpoint.provenance.backend.observer == OBSERVER_MANUAL
    assert not endpoint.provenance.backend.restored


def test_a_disabled_or_never_observed_endpoint_has_no_lasting_facts():
    assert lasting_facts(registered()) is None
    assert lasting_facts(observed(admin_state=ADMIN_STATE_DISABLED)) is None


def test_a_restart_counts_neither_as_flapping_nor_as_load_time():
    facts = lasting_facts(observed())
    registry = restarted(facts)
    loading = Observation(
        checked_at_ms=NOW + 600_000,
        next_check_at_ms=NOW + 601_000,
        error="Loading model",
        answered=True,
        is_loading=True,
    )
    registry.observe(ID, loading)
    registry.observe(
        ID, success(NOW + 602_000, models=(Model(name="m", state=MODEL_STATE_LOADED),))
    )
    # It was first seen loading 2 s ago; the ten minutes without a hub do not count.
    assert registry.health.load_times.of(ID, "m") == [2000]


def test_times_move_to_another_clock_except_those_of_the_server():
    facts = lasting_facts(observed())
    assert facts is not None
    facts.models[0].expires_at.CopyFrom(to_timestamp(NOW + 300_000))
    shift(facts, -500)
    assert to_ms(facts.last_checked_at) == NOW - 500
    assert to_ms(facts.provenance.models.observed_at) == NOW - 500
    assert to_ms(facts.models[0].expires_at) == NOW + 300_000


def test_a_refused_restore_writes_nothing():
    facts = lasting_facts(observed())
    assert facts is not None
    endpoint = registered(scheme="https", status=STATUS_UNKNOWN)
    before = endpoint.SerializeToString(deterministic=True)
    assert not restore(facts, endpoint)
    assert endpoint.SerializeToString(deterministic=True) == before


KNOWN = Model(
    name="llama3.2:3b",
    digest="d1",
    state=MODEL_STATE_LOADED,
    context_length=4096,
    vram_bytes=5,
    expires_at=to_timestamp(9_000),
    capabilities=["completion", "tools"],
    capabilities_known=True,
)


def merge(reported: Model, known: Model = KNOWN) -> Model:
    [model] = merged([known], [reported], is_all=True)
    return model


def test_a_bare_name_removes_no_facts() -> None:
    assert merge(Model(name=KNOWN.name)) == KNOWN


def test_a_reported_fact_replaces_the_known_one() -> None:
    model = merge(Model(name=KNOWN.name, context_length=8192, capabilities=["vision"]))
    assert (model.context_length, model.state) == (8192, MODEL_STATE_LOADED)
    assert model.capabilities == ["vision"]


def test_a_model_that_left_memory_uses_no_vram() -> None:
    model = merge(Model(name=KNOWN.name, state=MODEL_STATE_AVAILABLE))
    assert not model.HasField("vram_bytes")
    assert not model.HasField("expires_at")
    assert (model.digest, model.context_length) == ("d1", 4096)


def test_another_digest_is_another_model() -> None:
    other = Model(name=KNOWN.name, digest="d2")
    assert merge(other) == other


def test_an_empty_list_of_capabilities_is_a_fact() -> None:
    model = merge(Model(name=KNOWN.name, capabilities_known=True))
    assert (list(model.capabilities), model.capabilities_known) == ([], True)


def test_only_a_complete_report_removes_the_models_that_it_does_not_name() -> None:
    reported = [Model(name="b"), Model(name="a"), Model(name="b", digest="second")]
    assert [model.name for model in merged([KNOWN], reported, is_all=True)] == ["a", "b"]
    kept = merged([KNOWN], reported, is_all=False)
    assert [model.name for model in kept] == ["a", "b", KNOWN.name]
    assert kept[1].digest == ""


def test_merging_does_not_change_its_arguments() -> None:
    known, reported = Model(), Model(name=KNOWN.name, state=MODEL_STATE_AVAILABLE)
    known.CopyFrom(KNOWN)
    merged([known], [reported], is_all=True)
    assert known == KNOWN
