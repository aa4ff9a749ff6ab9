"""Single rules of the registry, and a comparison with a naive model of it."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from hub.base.timestamps import to_ms, to_timestamp
from hub.registry.history.ring import Compacted
from hub.registry.observation import Observation
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    BACKEND_LLAMA_CPP,
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    FAULT_NO_ANSWER,
    MODEL_STATE_AVAILABLE,
    OBSERVER_MANUAL,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    Model,
)
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from tests.support.fleet import NOW, OBSERVATIONS, REPORTS, registered, registrations, saw

ID = "gpu-1:11434"
LLAMA = Model(name="llama3.2:3b", state=MODEL_STATE_AVAILABLE)


def registry(**settings_: int) -> Registry:
    return Registry(first_revision=1_000, **settings_)


def current(of: Registry, id_: str = ID) -> Endpoint:
    record = of.get(id_)
    assert record is not None
    return record.message


def healthy(of: Registry, **fields: object) -> Endpoint:
    of.put_endpoint(registered(ID, **fields))
    of.observe(ID, saw(models=(LLAMA,), version="0.5.1", backend=BACKEND_OLLAMA, latency_ms=3.0))
    return current(of)


def test_a_new_endpoint_has_an_unknown_status_and_makes_an_event() -> None:
    fleet = registry()
    fleet.put_endpoint(registered(ID))
    assert current(fleet).status == STATUS_UNKNOWN
    (event,) = fleet.ring.after(1_000, 10)
    assert (event.id, event.before, event.after) == (ID, None, fleet.get(ID))
    assert event.revision == fleet.revision == 1_001


def test_registering_again_keeps_observed_facts() -> None:
    fleet = registry()
    before = healthy(fleet, registered_at=to_timestamp(NOW - 5))
    fleet.put_endpoint(registered(ID, name="renamed", registered_at=to_timestamp(NOW - 5)))
    after = current(fleet)
    assert after.name == "renamed"
    assert after.status == STATUS_HEALTHY
    assert list(after.models) == [LLAMA]
    assert (after.version, after.latency) == ("0.5.1", before.latency)
    assert (after.backend, after.backend_detected) == (BACKEND_OLLAMA, True)
    assert after.last_checked_at == before.last_checked_at
    assert after.next_check_at == before.next_check_at
    assert to_ms(after.registered_at) == NOW - 5
    assert fleet.fleet_models() == {"llama3.2:3b": 1}
    assert fleet.healthy_count == 1


def test_registering_again_keeps_failures_too() -> None:
    fleet = registry()
    healthy(fleet)
    for _ in range(2):
        fleet.observe(ID, saw(error="refused"))
    fleet.put_endpoint(registered(ID, name="renamed"))
    after = current(fleet)
    assert after.status == STATUS_UNHEALTHY
    assert (after.consecutive_failures, after.last_error) == (2, "refused")


@pytest.mark.parametrize(
    "change",
    [{"scheme": "https"}, {"base_path": "/v2"}, {"backend": BACKEND_VLLM}],
    ids=lambda change: next(iter(change)),
)
def test_a_new_server_under_the_same_id_has_no_observed_facts(change: dict[str, object]) -> None:
    fleet = registry()
    healthy(fleet)
    wanted = registered(ID, **change)
    fleet.put_endpoint(wanted)
    wanted.status = STATUS_UNKNOWN
    if wanted.backend:
        wanted.provenance.backend.observer = OBSERVER_MANUAL
    assert current(fleet) == wanted
    assert fleet.fleet_models() == {}
    assert fleet.healthy_count == 0


def test_registering_the_detected_backend_keeps_observed_facts() -> None:
    fleet = registry()
    healthy(fleet)
    fleet.put_endpoint(registered(ID, backend=BACKEND_OLLAMA))
    after = current(fleet)
    assert after.status == STATUS_HEALTHY
    assert not after.backend_detected


def test_the_stored_message_is_a_copy() -> None:
    fleet = registry()
    mine = registered(ID)
    fleet.put_endpoint(mine)
    mine.name = "changed behind its back"
    assert current(fleet).name == ID


def test_a_changed_model_list_is_an_event_although_the_health_stays() -> None:
    fleet = registry()
    healthy(fleet)
    seen = fleet.revision
    fleet.observe(ID, saw(models=(LLAMA, Model(name="qwen3:8b"))))
    (event,) = fleet.ring.after(seen, 10)
    assert event.after is not None
    assert [model.name for model in event.after.message.models] == ["llama3.2:3b", "qwen3:8b"]
    assert fleet.models() == ["llama3.2:3b", "qwen3:8b"]


def test_an_unchanged_probe_makes_a_revision_but_no_event() -> None:
    fleet = registry()
    healthy(fleet)
    seen = fleet.revision
    fleet.observe(ID, saw(NOW + 30_000, models=(LLAMA,)))
    assert fleet.ring.after(seen, 10) == []
    assert fleet.revision == seen + 1
    assert to_ms(current(fleet).last_checked_at) == NOW + 30_000


def test_an_endpoint_that_always_shows_different_models_does_not_fill_the_memory() -> None:
    fleet = registry(ring_bytes=50_000)
    fleet.put_endpoint(registered(ID))
    for n in range(100):
        fleet.observe(ID, saw(models=tuple(Model(name=f"{n}-{i}" + "m" * 90) for i in range(10))))
    assert 1 < len(fleet.ring) <= 10
    assert fleet.ring.after(fleet.revision - 1, 10)[0].after is fleet.get(ID)


def test_a_record_made_by_a_check_counts_with_the_next_event() -> None:
    held = []
    for checks in (0, 1):
        fleet = registry(ring_bytes=50_000)
        fleet.put_endpoint(registered(ID))
        for n in range(100):
            models = tuple(Model(name=f"{n}-{i}" + "m" * 90) for i in range(10))
            for _ in range(1 + checks):
                fleet.observe(ID, saw(models=models))
        events = fleet.ring.after(fleet.ring.floor, 100)
        records = {id(each) for event in events for each in (event.before, event.after)}
        held.append(len(records))
    assert held[1] <= held[0] + 1


def test_a_probe_does_not_restore_a_removed_endpoint() -> None:
    fleet = registry()
    healthy(fleet)
    fleet.remove_endpoint(ID)
    seen = fleet.revision
    fleet.observe(ID, saw(models=(LLAMA,)))
    fleet.remove_endpoint(ID)
    assert fleet.get(ID) is None
    assert len(fleet) == 0
    assert fleet.revision == seen
    assert fleet.fleet_models() == {}


def test_a_removed_endpoint_returns_without_observed_facts() -> None:
    fleet = registry()
    healthy(fleet)
    fleet.remove_endpoint(ID)
    fleet.put_endpoint(registered(ID))
    assert current(fleet).status == STATUS_UNKNOWN
    assert not current(fleet).models


def test_resources_are_found_by_the_agent_of_an_endpoint() -> None:
    fleet = registry()
    fleet.put_endpoint(registered("10.0.0.7:11434", agent_id="node-7"))
    fleet.report_resources("node-7", ReportResourcesRequest(vram_total_bytes=24 << 30), NOW)
    record = fleet.resources.get(current(fleet, "10.0.0.7:11434").agent_id)
    assert record is not None
    assert record.message.vram_total_bytes == 24 << 30


def test_resources_vanish_exactly_at_their_deadline() -> None:
    fleet = registry()
    fleet.report_resources("node-7", ReportResourcesRequest(), NOW)
    reported = fleet.revision
    fleet.expire(NOW + 89_999)
    assert fleet.resources.get("node-7") is not None
    assert fleet.revision == reported
    fleet.expire(NOW + 90_000)
    assert fleet.resources.get("node-7") is None
    assert fleet.revision == reported + 1


def test_listeners_are_called_for_every_change_and_nothing_else() -> None:
    fleet = registry()
    heard: list[int] = []
    fleet.on_change(lambda: heard.append(fleet.revision))
    fleet.put_endpoint(registered(ID))
    fleet.observe(ID, saw(models=(LLAMA,)))
    fleet.report_resources("node-7", ReportResourcesRequest(), NOW)
    fleet.expire(NOW)
    fleet.expire(NOW + 90_000)
    fleet.remove_endpoint(ID)
    fleet.remove_endpoint(ID)
    assert heard == [1_001, 1_002, 1_003, 1_004, 1_005]


def test_endpoints_after_an_id() -> None:
    fleet = registry()
    for id_ in ("b:1", "a:1", "a:10", "[::1]:2"):
        fleet.put_endpoint(registered(id_))
    assert [record.message.id for record in fleet.endpoints()] == ["[::1]:2", "a:1", "a:10", "b:1"]
    assert [record.message.id for record in fleet.endpoints("a:1")] == ["a:10", "b:1"]
    assert [record.message.id for record in fleet.endpoints("a:2")] == ["b:1"]
    assert list(fleet.endpoints("b:1")) == []


IDS = ["a:1", "a:10", "b:1", "[::1]:2"]
AGENTS = ["node-1", "node-2", "node-3"]
TTL_MS = 1_000
# The bookkeeping of a check, which changes without an event.
BOOKKEEPING = ("last_checked_at", "next_check_at", "consecutive_failures", "latency", "provenance")


def findings(endpoint: Endpoint) -> bytes:
    """An endpoint as watchers see it."""
    shown = Endpoint()
    shown.CopyFrom(endpoint)
    for field in BOOKKEEPING:
        shown.ClearField(field)
    return shown.SerializeToString(deterministic=True)


def naive_put(old: Endpoint | None, new: Endpoint) -> Endpoint:
    after = Endpoint()
    if old is not None:
        after.CopyFrom(old)
        other_server = (old.scheme, old.base_path) != (new.scheme, new.base_path)
        other_kind = new.backend not in (BACKEND_UNSPECIFIED, old.backend)
        if other_server or other_kind:
            after = Endpoint()
    detected = after.backend if after.backend_detected else BACKEND_UNSPECIFIED
    for field in ("id", "host", "port", "scheme", "name", "source", "admin_state", "etag"):
        setattr(after, field, getattr(new, field))
    after.labels.clear()
    after.labels.update(new.labels)
    after.backend = new.backend or detected
    after.backend_detected = not new.backend and bool(detected)
    after.status = after.status or STATUS_UNKNOWN
    return after


def naive_observe(old: Endpoint, seen: Observation, unhealthy_after: int) -> Endpoint:
    after = Endpoint()
    after.CopyFrom(old)
    after.last_checked_at.CopyFrom(to_timestamp(seen.checked_at_ms))
    after.next_check_at.CopyFrom(to_timestamp(seen.next_check_at_ms))
    if seen.error:
        after.last_error = seen.error
        after.fault = FAULT_NO_ANSWER
        after.consecutive_failures += 1
        if after.consecutive_failures >= unhealthy_after:
            after.status = STATUS_UNHEALTHY
        return after
    after.status, after.last_error, after.consecutive_failures = STATUS_HEALTHY, "", 0
    after.ClearField("fault")
    after.version = seen.version or old.version
    after.latency.FromMicroseconds(round(seen.latency_ms * 1000))
    if seen.models is not None:
        after.ClearField("models")
        after.models.extend(seen.models)
    if seen.backend and (old.backend_detected or not old.backend):
        after.backend, after.backend_detected = seen.backend, True
    return after


def judged(endpoint: Endpoint) -> Endpoint:
    """The endpoint without the fields that tests/registry/health/test_judgement.py checks."""
    plain = Endpoint()
    plain.CopyFrom(endpoint)
    plain.ClearField("provenance")
    plain.ClearField("flapping")
    return plain


class RegistryMachine(RuleBasedStateMachine):
    """Compares the registry with dictionaries, and remembers every state."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(first_revision=500, ring_capacity=6, resources_ttl_ms=TTL_MS)
        self.now = NOW
        self.endpoints: dict[str, Endpoint] = {}
        self.resources: dict[str, tuple[int, ReportResourcesRequest]] = {}
        self.past_endpoints: dict[int, dict[str, bytes]] = {}
        self.past_resources: dict[int, dict[str, bytes]] = {}
        self._remember()

    @rule(target=ids, endpoint=registrations(st.sampled_from(IDS)))
    def register(self, endpoint: Endpoint) -> str:
        self.registry.put_endpoint(endpoint)
        self.endpoints[endpoint.id] = naive_put(self.endpoints.get(endpoint.id), endpoint)
        self._remember()
        return endpoint.id

    @rule(id_=ids)
    def remove(self, id_: str) -> None:
        self.registry.remove_endpoint(id_)
        self.endpoints.pop(id_, None)
        self._remember()

    @rule(id_=ids, seen=OBSERVATIONS)
    def probe(self, id_: str, seen: Observation) -> None:
        self.registry.observe(id_, seen)
        if id_ in self.endpoints:
            self.endpoints[id_] = naive_observe(self.endpoints[id_], seen, 2)
        self._remember()

    @rule(agent_id=st.sampled_from(AGENTS), report=REPORTS)
    def report(self, agent_id: str, report: ReportResourcesRequest) -> None:
        self.registry.report_resources(agent_id, report, self.now)
        self.resources[agent_id] = (self.now, report)
        self._remember()

    @rule(passed=st.integers(1, TTL_MS))
    def time_passes(self, passed: int) -> None:
        self.now += passed
        before = self.registry.revision
        self.registry.expire(self.now)
        gone = {id_ for id_, (at, _) in self.resources.items() if at + TTL_MS <= self.now}
        for agent_id in gone:
            del self.resources[agent_id]
        assert self.registry.revision == before + len(gone)
        self._remember()

    def _remember(self) -> None:
        revision = self.registry.revision
        self.past_endpoints[revision] = {
            record.message.id: findings(record.message) for record in self.registry.endpoints()
        }
        self.past_resources[revision] = {
            agent_id: record.message.SerializeToString(deterministic=True)
            for agent_id, record in self.registry.resources.items()
        }

    @invariant()
    def the_current_state_is_right(self) -> None:
        registry = self.registry
        assert [judged(record.message) for record in registry.endpoints()] == [
            self.endpoints[id_] for id_ in sorted(self.endpoints)
        ]
        assert len(registry) == len(self.endpoints)
        counts: dict[str, int] = {}
        for endpoint in self.endpoints.values():
            for name in {model.name for model in endpoint.models}:
                counts[name] = counts.get(name, 0) + 1
        assert registry.fleet_models() == counts
        assert registry.models() == sorted(counts)
        for name in counts:
            assert [record.message.id for record in registry.with_model(name)] == sorted(
                id_
                for id_, endpoint in self.endpoints.items()
                if any(model.name == name for model in endpoint.models)
            )
        healthy_now = [e for e in self.endpoints.values() if e.status == STATUS_HEALTHY]
        assert registry.healthy_count == len(healthy_now)
        assert {agent_id for agent_id, _ in registry.resources.items()} == set(self.resources)

    @invariant()
    def every_cursor_of_the_ring_leads_to_the_current_state(self) -> None:
        present = self.past_endpoints[self.registry.revision]
        for revision, past in self.past_endpoints.items():
            if revision < self.registry.ring.floor:
                with pytest.raises(Compacted):
                    self.registry.ring.after(revision, 1)
                continue
            state = dict(past)
            for event in self.registry.ring.after(revision, 100):
                before = None if event.before is None else findings(event.before.message)
                assert state.get(event.id) == before
                if event.after is None:
                    del state[event.id]
                else:
                    assert event.after.revision == event.revision
                    state[event.id] = findings(event.after.message)
            assert state == present

    @invariant()
    def every_cursor_of_the_resources_leads_to_the_current_state(self) -> None:
        present = self.past_resources[self.registry.revision]
        for revision, past in self.past_resources.items():
            try:
                changes = self.registry.resources.after(revision)
            except Compacted:
                continue
            state = dict(past)
            for change in changes:
                if change.value is None:
                    state.pop(change.key, None)
                else:
                    assert change.value.revision == change.revision > revision
                    state[change.key] = change.value.message.SerializeToString(deterministic=True)
            assert state == present


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_llama_cpp_may_replace_a_detected_ollama_on_its_port() -> None:
    fleet = registry()
    healthy(fleet)
    fleet.observe(ID, saw(backend=BACKEND_LLAMA_CPP, models=()))
    assert current(fleet).backend == BACKEND_LLAMA_CPP
    assert fleet.fleet_models() == {}


def test_the_health_of_a_disabled_endpoint_is_unknown() -> None:
    fleet = Registry(first_revision=1)
    fleet.put_endpoint(registered(ID))
    fleet.observe(ID, saw(models=(LLAMA,)))
    assert fleet.healthy_count == 1
    since = fleet.revision
    fleet.put_endpoint(registered(ID, admin_state=ADMIN_STATE_DISABLED))
    disabled = fleet.get(ID).message
    assert (disabled.status, fleet.healthy_count) == (STATUS_UNKNOWN, 0)
    assert not disabled.HasField("next_check_at")
    assert list(disabled.models) == [LLAMA]
    assert fleet.model_index.summary(LLAMA.name).healthy_count == 0
    (event,) = fleet.ring.after(since, 10)
    assert event.after.message.status == STATUS_UNKNOWN
    # A probe that was already in flight no longer changes anything.
    fleet.observe(ID, saw())
    assert fleet.get(ID).message == disabled
    fleet.put_endpoint(registered(ID))
    assert fleet.get(ID).message.status == STATUS_UNKNOWN
    fleet.observe(ID, saw(models=(LLAMA,)))
    assert fleet.healthy_count == 1
