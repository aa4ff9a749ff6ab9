from hypothesis import given
from hypothesis import strategies as st

from hub.base.timestamps import to_timestamp
from hub.registry.state import Registry
from hub.registry.unloads import Unloads
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    Endpoint,
    Model,
)
from tests.support.fleet import NOW, registered, saw

ID = "10.0.0.7:11434"
S = 1_000


def warm(name: str, ends_ms: int) -> Model:
    return Model(
        name=name, state=MODEL_STATE_LOADED, vram_bytes=7, expires_at=to_timestamp(ends_ms)
    )


def fleet() -> Registry:
    registry = Registry(first_revision=1_000)
    registry.put_endpoint(registered(ID, agent_id="node-7"))
    return registry


def states(registry: Registry) -> dict[str, int]:
    record = registry.get(ID)
    assert record is not None
    return {model.name: model.state for model in record.message.models}


def test_a_model_is_unloaded_at_its_deadline_and_watchers_see_it():
    registry = fleet()
    registry.observe(ID, saw(models=(warm("a", NOW + 4 * S), warm("b", NOW + 9 * S))))
    assert registry.next_deadline_ms() == NOW + 4 * S
    before = registry.revision
    registry.expire(NOW + 4 * S - 1)
    assert states(registry) == {"a": MODEL_STATE_LOADED, "b": MODEL_STATE_LOADED}
    registry.expire(NOW + 4 * S)
    assert states(registry) == {"a": MODEL_STATE_AVAILABLE, "b": MODEL_STATE_LOADED}
    (event,) = registry.ring.after(before, 10)
    (a, b) = event.after.message.models
    assert not a.HasField("expires_at")
    assert (a.vram_bytes, b.vram_bytes) == (0, 7)
    assert registry.vram("node-7").message.claimed_bytes == 7
    assert registry.next_deadline_ms() == NOW + 9 * S


def test_a_probe_that_shows_a_model_loaded_after_its_deadline_is_believed():
    """A running request keeps a model in memory past its time."""
    registry = fleet()
    seen = (warm("a", NOW + 4 * S),)
    registry.observe(ID, saw(models=seen))
    registry.expire(NOW + 4 * S)
    registry.observe(ID, saw(NOW + 30 * S, models=seen))
    assert states(registry) == {"a": MODEL_STATE_LOADED}
    assert registry.next_deadline_ms() is None
    before = registry.revision
    registry.observe(ID, saw(NOW + 60 * S, models=seen))
    registry.expire(NOW + 60 * S)
    assert states(registry) == {"a": MODEL_STATE_LOADED}
    assert registry.ring.after(before, 10) == []


def test_a_probe_between_the_deadline_and_its_turn_makes_no_event():
    registry = fleet()
    seen = (warm("a", NOW + 4 * S),)
    registry.observe(ID, saw(models=seen))
    registry.observe(ID, saw(NOW + 5 * S, models=seen))
    before = registry.revision
    registry.expire(NOW + 6 * S)
    assert states(registry) == {"a": MODEL_STATE_LOADED}
    assert registry.revision == before


def test_a_removed_or_extended_model_no_longer_has_its_old_deadline():
    registry = fleet()
    registry.observe(ID, saw(models=(warm("a", NOW + 4 * S),)))
    registry.observe(ID, saw(NOW + 1 * S, models=(warm("a", NOW + 50 * S),)))
    assert registry.next_deadline_ms() == NOW + 50 * S
    registry.remove_endpoint(ID)
    assert registry.next_deadline_ms() is None


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(1, 1_000)), max_size=200))
def test_unloads_store_little_more_than_the_earliest_of_each_endpoint(
    steps: list[tuple[int, int | None]],
):
    unloads, wanted = Unloads(), {}
    for number, ends_ms in steps:
        id_ = f"h:{number}"
        endpoint = Endpoint(id=id_)
        wanted.pop(id_, None)
        if ends_ms is not None:
            endpoint.models.append(warm("m", ends_ms))
            endpoint.models.append(warm("n", ends_ms + 5))
            wanted[id_] = ends_ms
        unloads.change(id_, endpoint)
        assert unloads.next_ms() == min(wanted.values(), default=None)
        assert len(unloads._heap) <= 2 * 6 + 65
    due = {}
    while (id_ := unloads.pop_due(500)) is not None:
        due[id_] = wanted[id_]
    assert due == {id_: at for id_, at in wanted.items() if at <= 500}
