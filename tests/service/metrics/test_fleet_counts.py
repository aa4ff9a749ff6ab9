import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hub.registry.state import Registry
from hub.service.metrics.fleet_counts import MAX_MODELS, OTHER, FleetCounts, ModelCounts
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    AdminState,
    Backend,
    Model,
    Status,
)
from tests.support.fleet import NOW, OBSERVATIONS, registered, registrations, saw

IDS = st.sampled_from(["a:1", "b:1", "c:1"])


def count_again(registry: Registry):
    kinds, models = Counter(), {}
    for record in registry.endpoints():
        endpoint = record.message
        kinds[
            Status.Name(endpoint.status).removeprefix("STATUS_").lower(),
            Backend.Name(endpoint.backend).removeprefix("BACKEND_").lower(),
            AdminState.Name(endpoint.admin_state).removeprefix("ADMIN_STATE_").lower(),
        ] += 1
        for name in {model.name for model in endpoint.models}:
            counts = models.setdefault(name, [0, 0, 0])
            counts[0] += 1
            counts[1] += endpoint.status == STATUS_HEALTHY
            counts[2] += (
                endpoint.status == STATUS_HEALTHY
                and not endpoint.last_error
                and any(m.state == MODEL_STATE_LOADED for m in endpoint.models if m.name == name)
            )
    return dict(kinds), {ModelCounts(name, *counts) for name, counts in models.items()}


def counts_of(fleet: FleetCounts):
    return fleet.kinds(), set(fleet.models())


@given(
    st.lists(
        st.one_of(
            registrations(IDS).map(lambda endpoint: ("put", endpoint)),
            IDS.map(lambda id_: ("remove", id_)),
            st.tuples(st.just("observe"), IDS, OBSERVATIONS),
            st.just(("scrape",)),
        ),
        max_size=40,
    ),
    st.sampled_from([3, 1000]),
)
def test_followed_counts_equal_a_full_count(steps, ring_capacity):
    registry = Registry(first_revision=100, ring_capacity=ring_capacity)
    fleet = FleetCounts(registry)

    async def scrape():
        await fleet.catch_up()
        assert counts_of(fleet) == count_again(registry)

    with asyncio.Runner() as runner:
        for step in steps:
            match step:
                case ("put", endpoint):
                    registry.put_endpoint(endpoint)
                case ("remove", id_):
                    registry.remove_endpoint(id_)
                case ("observe", id_, seen):
                    registry.observe(id_, seen)
                case _:
                    runner.run(scrape())
        runner.run(scrape())


async def half_counted() -> tuple[Registry, FleetCounts, asyncio.Task[None]]:
    """A thousand endpoints that are being counted, and the count."""
    registry = Registry(first_revision=100, ring_capacity=5)
    fleet = FleetCounts(registry)
    for i in range(1000):
        registry.put_endpoint(registered(f"h{i}:1"))
    counting = asyncio.create_task(fleet.catch_up())
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < sum(fleet.kinds().values()) < 1000
    return registry, fleet, counting


async def test_changes_during_a_count_are_not_missed():
    registry, fleet, counting = await half_counted()
    registry.remove_endpoint("h0:1")
    registry.remove_endpoint("h999:1")
    await counting
    await fleet.catch_up()
    assert sum(fleet.kinds().values()) == 998


async def test_a_cancelled_count_starts_again():
    _, fleet, counting = await half_counted()
    counting.cancel()
    await asyncio.wait([counting])
    await fleet.catch_up()
    assert fleet.kinds() == {("unknown", "unspecified", "enabled"): 1000}


async def test_models_beyond_the_most_frequent_share_one_series():
    registry = Registry(first_revision=100)
    names = [f"m{i:03}" for i in range(MAX_MODELS + 3)]
    registry.put_endpoint(registered("a:1"))
    registry.put_endpoint(registered("b:1"))
    models = [Model(name=name, state=MODEL_STATE_AVAILABLE) for name in names]
    models[0].state = MODEL_STATE_LOADED
    registry.observe("a:1", saw(models=tuple(models)))
    registry.observe("b:1", saw(models=tuple(models[:MAX_MODELS])))
    registry.observe("b:1", saw(NOW + 1, error="refused"))
    registry.observe("b:1", saw(NOW + 2, error="refused"))
    fleet = FleetCounts(registry)
    await fleet.catch_up()
    shown = fleet.models()
    assert len(shown) == MAX_MODELS + 1
    assert shown[-1] == ModelCounts(OTHER, 3, 3, 0)
    assert ModelCounts("m000", 2, 1, 1) in shown, "b:1 is down and has nothing in memory"
    assert fleet.model_count() == MAX_MODELS + 3


async def test_a_model_without_endpoints_is_forgotten():
    registry = Registry(first_revision=100)
    fleet = FleetCounts(registry)
    registry.put_endpoint(registered("a:1"))
    registry.observe("a:1", saw(models=(Model(name="m"),)))
    await fleet.catch_up()
    assert fleet.models() == [ModelCounts("m", 1, 1, 0)]
    registry.observe("a:1", saw(models=()))
    await fleet.catch_up()
    assert (fleet.models(), fleet.model_count()) == ([], 0)
