import pytest

from hub.handlers.selection import SelectionHandlers
from hub.registry.rankings import Rankings
from hub.registry.state import Registry
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.registry_service_pb2 import STRATEGY_ROUND_ROBIN
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest as Request
from tests.support.fleet_of import add, loaded


@pytest.fixture
def registry() -> Registry:
    filled = Registry(first_revision=1000)
    for i in range(5):
        add(filled, f"h{i}:1", loaded("m"), loaded(f"only-{i}"))
    return filled


def rankings(registry: Registry, **bounds: int) -> Rankings:
    facts = SelectionHandlers(registry)
    return Rankings(facts, facts._candidates, **bounds)


def test_requests_that_differ_for_the_moment_alone_share_a_ranking(registry: Registry) -> None:
    kept = rankings(registry)
    first = kept.ranking(Request(model="m"), None, 0)
    momentary = Request(model="m", count=3, explain=True, max_in_flight=2, exclude_ids=["x"])
    momentary.max_fact_age.FromSeconds(3)
    momentary.lease_ttl.FromSeconds(3)
    assert kept.ranking(momentary, None, 0) is first
    for other in (
        Request(model="only-1"),
        Request(model="m", labels={"a": "b"}),
        Request(model="m", strategy=STRATEGY_ROUND_ROBIN),
        Request(model="m", min_free_vram_bytes=1),
    ):
        assert kept.ranking(other, None, 0) is not first
    assert len(kept) == 5


def test_an_alias_that_changes_is_another_question(registry: Registry) -> None:
    kept = rankings(registry)
    one = ModelAlias(name="m", targets=[AliasTarget(model="only-1")])
    two = ModelAlias(name="m", targets=[AliasTarget(model="only-2")])
    sizes = [
        len(kept.ranking(Request(model="m"), alias, revision))
        for alias, revision in ((None, 0), (one, 7), (two, 8))
    ]
    assert sizes == [5, 1, 1]


def test_the_number_of_rankings_and_of_verdicts_is_bounded(registry: Registry) -> None:
    kept = rankings(registry, max_rankings=3)
    for i in range(5):
        kept.ranking(Request(model=f"only-{i}"), None, 0)
    assert len(kept) == 3
    kept = rankings(registry, max_verdicts=7)
    kept.ranking(Request(model="only-1"), None, 0)
    kept.ranking(Request(model="m"), None, 0)
    assert len(kept) == 2
    kept.ranking(Request(model="only-2"), None, 0)
    kept.ranking(Request(model="only-3"), None, 0)
    assert len(kept) == 3, "the oldest went, the large one is still there"


def test_what_is_touched_is_judged_anew_when_next_asked_for(registry: Registry) -> None:
    kept = rankings(registry)
    assert len(kept.ranking(Request(model="m"), None, 0)) == 5
    registry.remove_endpoint("h1:1")
    kept.touch({"h1:1"})
    assert len(kept.ranking(Request(model="m"), None, 0)) == 4
    kept.clear()
    assert len(kept) == 0
