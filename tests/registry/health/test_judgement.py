"""The fleet's health in the registry: behaviour that involves several modules."""

from hub.base.bounds import MODEL_BYTES_PER_ENDPOINT
from hub.base.settings import FlappingSettings, PreservationSettings, ProbeSettings
from hub.base.timestamps import to_ms
from hub.registry.health.judgement import FleetHealth
from hub.registry.health.preservation import State
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    FAULT_DEAD,
    FAULT_NO_ANSWER,
    FAULT_NOT_SERVING,
    FAULT_UNREACHABLE,
    FAULT_UNSPECIFIED,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    OBSERVER_MANUAL,
    OBSERVER_PROBE,
    OBSERVER_SIDECAR,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    Model,
)
from llmhub.v1.frame_pb2 import ReportEndpointRequest
from tests.support.fleet import NOW, registered, saw

ID = "10.0.0.7:11434"
S = 1_000
LLAMA = Model(name="llama3.2:3b", state=MODEL_STATE_LOADED)
REFUSED = "connection refused"


def fleet(count: int = 1) -> Registry:
    registry = Registry(first_revision=1_000)
    for number in range(count):
        registry.put_endpoint(registered(f"10.0.0.{7 + number}:11434", agent_id="node-7"))
    return registry


def current(of: Registry, id_: str = ID) -> Endpoint:
    record = of.get(id_)
    assert record is not None
    return record.message


def view(**fields: object) -> ReportEndpointRequest:
    return ReportEndpointRequest(url="http://127.0.0.1:11434", **fields)


def events(of: Registry, after: int) -> int:
    return len(of.ring.after(after, 100))


def test_a_dead_server_is_distinguished_from_an_unreachable_one() -> None:
    registry = fleet()
    registry.observe(ID, saw(error=REFUSED))
    assert current(registry).fault == FAULT_NO_ANSWER
    registry.report_view(ID, "node-7", view(reachable=True, version="0.12"), NOW)
    assert current(registry).fault == FAULT_UNREACHABLE
    registry.report_view(ID, "node-7", view(reachable=False, error=REFUSED), NOW)
    assert current(registry).fault == FAULT_DEAD
    assert current(registry).sidecar_view.error == REFUSED
    registry.observe(ID, saw(error="needs an API key", answered=True))
    assert current(registry).fault == FAULT_NOT_SERVING
    registry.observe(ID, saw())
    assert current(registry).fault == FAULT_UNSPECIFIED


def test_a_sidecars_report_never_makes_an_endpoint_healthy() -> None:
    registry = fleet()
    registry.report_view(ID, "node-7", view(reachable=True, models=[LLAMA]), NOW)
    assert current(registry).status == STATUS_UNKNOWN
    for _ in range(2):
        registry.observe(ID, saw(error=REFUSED))
    registry.report_view(ID, "node-7", view(reachable=True, models=[LLAMA]), NOW)
    assert current(registry).status == STATUS_UNHEALTHY
    assert registry.healthy_count == 0


def test_a_sidecars_facts_are_used_while_the_hub_has_none_of_its_own() -> None:
    registry = fleet()
    registry.observe(ID, saw(error=REFUSED))
    report = view(backend=BACKEND_OLLAMA, version="0.11", models=[Model(name="b"), Model(name="a")])
    registry.report_view(ID, "node-7", report, NOW + 5 * S)
    endpoint = current(registry)
    assert (endpoint.backend, endpoint.backend_detected) == (BACKEND_OLLAMA, True)
    assert [model.name for model in endpoint.models] == ["a", "b"]
    assert registry.fleet_models() == {"a": 1, "b": 1}
    for fact in ("backend", "version", "models"):
        source = getattr(endpoint.provenance, fact)
        assert source.observer == OBSERVER_SIDECAR
        assert to_ms(source.observed_at) == NOW + 5 * S
    probe = saw(NOW + 9 * S, backend=BACKEND_LLAMA_CPP, version="b1", models=(LLAMA,))
    registry.observe(ID, probe)
    registry.report_view(ID, "node-7", report, NOW + 10 * S)
    endpoint = current(registry)
    assert (endpoint.backend, endpoint.version) == (BACKEND_LLAMA_CPP, "b1")
    assert list(endpoint.models) == [LLAMA]
    for fact in ("status", "backend", "version", "models"):
        assert getattr(endpoint.provenance, fact).observer == OBSERVER_PROBE
        assert to_ms(getattr(endpoint.provenance, fact).observed_at) == NOW + 9 * S


def test_a_probe_replaces_a_sidecars_models_even_by_those_it_saw_before() -> None:
    registry = fleet()
    mine = (LLAMA,)
    registry.observe(ID, saw(models=mine))
    registry.observe(ID, saw(error=REFUSED))
    registry.report_view(ID, "node-7", view(models=[Model(name="other")]), NOW)
    assert registry.models() == ["other"]
    registry.observe(ID, saw(models=mine))
    assert registry.models() == ["llama3.2:3b"]


def test_bare_names_do_not_erase_known_facts_of_models() -> None:
    registry = fleet()
    known = Model(name="a", state=MODEL_STATE_LOADED, context_length=4096, digest="d")
    registry.observe(ID, saw(models=(known,)))
    registry.observe(ID, saw(error=REFUSED))
    registry.report_view(ID, "node-7", view(reachable=True, models=[Model(name="a")]), NOW)
    assert list(current(registry).models) == [known]


def test_a_truncated_report_keeps_the_models_that_it_does_not_name() -> None:
    registry = fleet()
    registry.observe(ID, saw(models=(LLAMA,)))
    registry.observe(ID, saw(error=REFUSED))
    report = view(reachable=True, models=[Model(name="other")], models_omitted=1)
    registry.report_view(ID, "node-7", report, NOW)
    assert registry.models() == ["llama3.2:3b", "other"]


def test_reports_that_are_cut_do_not_add_up_without_end() -> None:
    """L10: a sidecar that names other models each time would make its endpoint grow for ever."""
    of = fleet()
    for number in range(12):
        models = [Model(name=f"{number:03}-{each:04}" + "x" * 200) for each in range(500)]
        report = view(reachable=True, models=models, models_omitted=9)
        of.report_view(ID, "node-7", report, NOW + number)
    kept = current(of).models
    assert 0 < sum(model.ByteSize() for model in kept) <= MODEL_BYTES_PER_ENDPOINT


def test_a_view_expires_at_its_deadline_but_its_facts_stay_with_their_age() -> None:
    registry = fleet()
    registry.observe(ID, saw(error=REFUSED))
    registry.report_view(ID, "node-7", view(reachable=True, models=[LLAMA]), NOW)
    assert to_ms(current(registry).sidecar_view.expires_at) == NOW + 90 * S
    assert registry.next_deadline_ms() == NOW + 90 * S
    registry.expire(NOW + 90 * S - 1)
    assert current(registry).HasField("sidecar_view")
    before = registry.revision
    registry.expire(NOW + 90 * S)
    endpoint = current(registry)
    assert not endpoint.HasField("sidecar_view")
    assert endpoint.fault == FAULT_NO_ANSWER
    assert list(endpoint.models) == [LLAMA]
    assert events(registry, before) == 1
    assert registry.next_deadline_ms() is None


def test_a_repeated_view_is_not_an_event() -> None:
    registry = fleet()
    registry.observe(ID, saw(error=REFUSED))
    report = view(reachable=True, models=[LLAMA])
    registry.report_view(ID, "node-7", report, NOW)
    before = registry.revision
    registry.report_view(ID, "node-7", report, NOW + 15 * S)
    assert events(registry, before) == 0
    assert to_ms(current(registry).sidecar_view.reported_at) == NOW + 15 * S


def test_reports_of_other_sidecars_are_ignored() -> None:
    registry = fleet()
    before = registry.revision
    registry.report_view(ID, "node-8", view(reachable=True), NOW)
    registry.report_view("unknown:1", "node-7", view(reachable=True), NOW)
    assert registry.revision == before


def test_a_view_is_forgotten_with_its_endpoint_or_its_server() -> None:
    registry = fleet()
    registry.report_view(ID, "node-7", view(reachable=True), NOW)
    registry.put_endpoint(registered(ID, agent_id="node-7", name="renamed"))
    assert current(registry).HasField("sidecar_view")
    registry.put_endpoint(registered(ID, agent_id="node-7", scheme="https"))
    assert not current(registry).HasField("sidecar_view")
    registry.report_view(ID, "node-7", view(reachable=True), NOW)
    registry.remove_endpoint(ID)
    registry.expire(NOW + 90 * S)
    assert registry.next_deadline_ms() is None


def test_a_registered_backend_is_attributed_to_a_person() -> None:
    registry = fleet()
    registry.put_endpoint(registered(ID, backend=BACKEND_OLLAMA))
    registry.observe(ID, saw(backend=BACKEND_OLLAMA))
    source = current(registry).provenance.backend
    assert source.observer == OBSERVER_MANUAL
    assert not source.HasField("observed_at")
    registry.put_endpoint(registered(ID))
    assert not current(registry).provenance.HasField("backend")
    registry.observe(ID, saw(backend=BACKEND_OLLAMA))
    assert current(registry).provenance.backend.observer == OBSERVER_PROBE


def test_failing_every_other_probe_is_flapping_but_never_unhealthy() -> None:
    registry = fleet()
    for number in range(8):
        registry.observe(ID, saw(NOW + number * 30 * S, error=REFUSED if number % 2 else ""))
        if number < 6:
            assert not current(registry).HasField("flapping"), number
    endpoint = current(registry)
    assert endpoint.status == STATUS_HEALTHY
    assert to_ms(endpoint.flapping.trusted_at) == NOW + (7 * 30 + 300) * S
    registry.observe(ID, saw(NOW + (7 * 30 + 10) * S))
    assert to_ms(current(registry).flapping.trusted_at) == NOW + (7 * 30 + 10 + 300) * S
    before = registry.revision
    registry.observe(ID, saw(NOW + (7 * 30 + 309) * S))
    assert events(registry, before) == 0
    registry.observe(ID, saw(NOW + (7 * 30 + 310) * S))
    assert not current(registry).HasField("flapping")
    assert events(registry, before) == 1


def lose(registry: Registry, count: int, at: int) -> None:
    for number in range(count):
        registry.observe(f"10.0.0.{7 + number}:11434", saw(at, error=REFUSED))


def well(registry: Registry, count: int, at: int) -> None:
    for number in range(count):
        registry.observe(f"10.0.0.{7 + number}:11434", saw(at))


def test_no_endpoint_becomes_unhealthy_when_all_fail_at_once() -> None:
    registry = fleet(10)
    well(registry, 10, NOW)
    for cycle in range(1, 5):
        lose(registry, 10, NOW + cycle * 30 * S)
    assert registry.healthy_count == 10
    assert registry.health.preservation_state is State.FROZEN
    endpoint = current(registry)
    assert (endpoint.status, endpoint.last_error) == (STATUS_HEALTHY, REFUSED)
    assert (endpoint.fault, endpoint.consecutive_failures) == (FAULT_NO_ANSWER, 4)
    well(registry, 10, NOW + 200 * S)
    assert registry.health.preservation_state is State.TRUSTING
    lose(registry, 2, NOW + 230 * S)
    lose(registry, 2, NOW + 260 * S)
    assert registry.healthy_count == 8, "a few failures are believed again"


def test_a_second_failure_after_2_s_makes_one_of_many_unhealthy() -> None:
    registry = fleet(10)
    well(registry, 10, NOW)
    registry.observe(ID, saw(NOW + 30 * S, error=REFUSED))
    registry.observe("10.0.0.8:11434", saw(NOW + 31 * S))
    registry.observe(ID, saw(NOW + 32 * S, error=REFUSED))
    assert current(registry).status == STATUS_UNHEALTHY


def test_a_waiting_endpoint_becomes_unhealthy_once_another_probe_succeeds() -> None:
    registry = fleet(10)
    well(registry, 10, NOW)
    registry.observe(ID, saw(NOW + 30 * S, error=REFUSED))
    registry.observe(ID, saw(NOW + 31 * S, error=REFUSED))
    assert current(registry).status == STATUS_HEALTHY
    before = registry.revision
    registry.observe("10.0.0.8:11434", saw(NOW + 32 * S))
    assert current(registry).status == STATUS_UNHEALTHY
    assert to_ms(current(registry).provenance.status.observed_at) == NOW + 32 * S
    assert registry.healthy_count == 9
    assert [event.id for event in registry.ring.after(before, 10)] == [ID]


def test_a_waiting_endpoint_that_is_disabled_or_removed_does_not_become_unhealthy() -> None:
    registry = fleet(10)
    well(registry, 10, NOW)
    for id_ in (ID, "10.0.0.8:11434"):
        registry.observe(id_, saw(NOW + 30 * S, error=REFUSED))
        registry.observe(id_, saw(NOW + 31 * S, error=REFUSED))
    registry.put_endpoint(registered(ID, admin_state=ADMIN_STATE_DISABLED))
    registry.remove_endpoint("10.0.0.8:11434")
    for number in range(9, 12):
        registry.observe(f"10.0.0.{number}:11434", saw(NOW + 32 * S))
    assert current(registry).status == STATUS_UNKNOWN
    assert registry.healthy_count == 8


def test_repeated_probes_make_no_endpoint_unhealthy_when_the_hub_is_cut_off() -> None:
    """One probe every 3 s, each repeated 1.5 s later: all stay healthy until the freeze."""
    registry = fleet(10)
    well(registry, 10, NOW)
    for number in range(10):
        id_ = f"10.0.0.{7 + number}:11434"
        for at in (NOW + (30 + 3 * number) * S, NOW + (30 + 3 * number) * S + 1_500):
            registry.observe(id_, saw(at, error=REFUSED))
            assert registry.healthy_count == 10, number
    assert registry.health.preservation_state is State.FROZEN


def test_one_failure_is_enough_if_the_sidecar_finds_the_server_down_too() -> None:
    registry = fleet(10)
    well(registry, 10, NOW)
    registry.report_view(ID, "node-7", view(reachable=False, error=REFUSED), NOW + 5 * S)
    assert current(registry).status == STATUS_HEALTHY, "the hub has not probed it yet"
    registry.observe(ID, saw(NOW + 5 * S, error="needs an API key", answered=True))
    assert current(registry).status == STATUS_HEALTHY, "a server that answers is not down"
    registry.observe(ID, saw(NOW + 6 * S))
    registry.observe(ID, saw(NOW + 7 * S, error=REFUSED))
    assert (current(registry).status, current(registry).fault) == (STATUS_UNHEALTHY, FAULT_DEAD)


def test_lasting_failures_are_believed_in_the_end() -> None:
    registry = fleet(10)
    well(registry, 10, NOW)
    for cycle in range(1, 13):
        lose(registry, 10, NOW + cycle * 30 * S)
    assert registry.healthy_count == 0
    assert registry.health.preservation(0, NOW + 400 * S).freezes == 1


def test_half_of_the_fleet_may_become_unhealthy() -> None:
    registry = fleet(10)
    well(registry, 10, NOW)
    lose(registry, 5, NOW + 30 * S)
    lose(registry, 5, NOW + 60 * S)
    assert registry.healthy_count == 5


def test_endpoints_that_were_never_healthy_are_not_preserved() -> None:
    registry = fleet(10)
    lose(registry, 10, NOW)
    lose(registry, 10, NOW + 30 * S)
    assert current(registry).status == STATUS_UNHEALTHY
    assert registry.health.preservation_state is State.TRUSTING


def test_a_disabled_or_removed_endpoint_no_longer_counts_as_failing() -> None:
    registry = fleet(10)
    well(registry, 10, NOW)
    lose(registry, 5, NOW + 30 * S)
    registry.put_endpoint(registered(ID, admin_state=ADMIN_STATE_DISABLED))
    registry.remove_endpoint("10.0.0.8:11434")
    assert registry.health.preservation(registry.healthy_count, NOW + 31 * S).failing == 3


def test_an_extra_probe_does_not_count_as_another_failure() -> None:
    registry = fleet()
    registry.observe(ID, saw())
    loading = {"error": "is loading its model", "answered": True, "is_loading": True}
    registry.observe(ID, saw(NOW + 30 * S, **loading))
    for second in range(31, 60):
        registry.observe(ID, saw(NOW + second * S, is_extra=True, **loading))
    assert current(registry).status == STATUS_HEALTHY
    assert current(registry).consecutive_failures == 1
    registry.observe(ID, saw(NOW + 60 * S, **loading))
    assert current(registry).status == STATUS_UNHEALTHY


def test_a_learned_load_time_is_shown_at_the_model_on_every_endpoint() -> None:
    registry = fleet(2)
    other = "10.0.0.8:11434"
    loading = Model(name="m", state=MODEL_STATE_LOADING)
    loaded = (Model(name="m", state=MODEL_STATE_LOADED),)
    registry.observe(ID, saw(NOW, models=(loading,)))
    registry.observe(ID, saw(NOW + 4 * S, models=loaded))
    (model,) = current(registry).models
    assert model.expected_load.ToMilliseconds() == 4 * S
    assert not loaded[0].HasField("expected_load"), "the probe's own model is unchanged"
    before = registry.revision
    registry.observe(ID, saw(NOW + 34 * S, models=loaded))
    registry.observe(ID, saw(NOW + 64 * S, models=(Model(name="m", state=MODEL_STATE_LOADED),)))
    assert events(registry, before) == 0
    registry.observe(other, saw(NOW, models=loaded))
    assert current(registry, other).models[0].expected_load.ToMilliseconds() == 4 * S


def test_a_sidecar_may_report_a_load_time() -> None:
    registry = fleet()
    model = Model(name="m")
    model.expected_load.FromSeconds(7)
    registry.report_view(ID, "node-7", view(reachable=True, models=[model]), NOW)
    registry.observe(ID, saw(models=(Model(name="m", state=MODEL_STATE_LOADED),)))
    assert current(registry).models[0].expected_load.ToMilliseconds() == 7 * S


def test_the_settings_decide_when_failures_are_believed() -> None:
    health = FleetHealth(
        ProbeSettings(unhealthy_after=1),
        FlappingSettings(changes=2, window_s=10, hold_s=20),
        PreservationSettings(share=1),
    )
    registry = Registry(first_revision=1_000, health=health)
    registry.put_endpoint(registered(ID))
    for second, error in enumerate(["", REFUSED, ""]):
        registry.observe(ID, saw(NOW + second * S, error=error))
        assert (current(registry).status == STATUS_HEALTHY) == (not error)
    assert to_ms(current(registry).flapping.trusted_at) == NOW + 22 * S
