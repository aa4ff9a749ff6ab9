from collections.abc import Collection

import pytest

from hub.registry.selection.kept_rankings import Rankings
from hub.registry.state import Registry
from hub.service.handlers.followed_rankings import FollowedRankings
from llmhub.v1.endpoint_pb2 import Endpoint
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


def facts_of(registry: Registry) -> FollowedRankings:
    return FollowedRankings(registry, max_leases=9, max_leases_per_token=9)


def rankings(registry: Registry, **bounds: int) -> Rankings:
    facts = facts_of(registry)
    return Rankings(facts, facts._candidates, **bounds)


def test_requests_that_differ_only_in_momentary_fields_share_a_ranking(registry: Registry) -> None:
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


def test_a_changed_alias_gets_another_ranking(registry: Registry) -> None:
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
    assert len(kept) == 3, "the oldest was evicted, the large one is still there"


def test_cheap_rankings_evict_only_each_other(registry: Registry) -> None:
    kept = rankings(registry, max_rankings=2, cheap=1)
    dear = [kept.ranking(Request(model="m", labels={"a": f"{i}"}), None, 0) for i in range(3)]
    for i in range(5):
        kept.ranking(Request(model=f"only-{i}"), None, 0)
    assert len(kept) == 4
    for i in (2, 1):
        assert kept.ranking(Request(model="m", labels={"a": f"{i}"}), None, 0) is dear[i]
    assert kept.ranking(Request(model="m", labels={"a": "0"}), None, 0) is not dear[0]
    assert len(kept) == 4


def test_a_ranking_without_candidates_is_not_cached(registry: Registry) -> None:
    kept = rankings(registry)
    assert len(kept.ranking(Request(model="misspelt"), None, 0)) == 0
    assert len(kept) == 0
    add(registry, "h0:1", loaded("misspelt"))
    assert len(kept.ranking(Request(model="misspelt"), None, 0)) == 1


def test_a_changed_endpoint_is_judged_again_on_the_next_request(registry: Registry) -> None:
    kept = rankings(registry)
    assert len(kept.ranking(Request(model="m"), None, 0)) == 5
    registry.remove_endpoint("h1:1")
    kept.touch({"h1:1"})
    assert len(kept.ranking(Request(model="m"), None, 0)) == 4
    registry.remove_endpoint("h2:1")
    add(registry, "new:1", loaded("m"))
    kept.touch_all()
    ranking = kept.ranking(Request(model="m"), None, 0)
    assert sorted(ranking.ids()) == ["h0:1", "h3:1", "h4:1", "new:1"]


def test_after_a_change_of_everything_only_requested_rankings_are_judged_again(
    registry: Registry,
) -> None:
    facts, asked = facts_of(registry), []

    def candidates(model: str | None) -> Collection[str]:
        asked.append(model)
        return facts._candidates(model)

    kept = Rankings(facts, candidates)
    for model in ("m", "only-1", "only-2"):
        kept.ranking(Request(model=model), None, 0)
    asked.clear()
    kept.touch_all()
    assert asked == []
    kept.touch({"h0:1"})
    assert kept.kept(Request(model="m"), None, 0).behind() == 5
    assert kept.kept(Request(model="m"), None, 0).behind() == 5
    kept.ranking(Request(model="m"), None, 0)
    assert kept.kept(Request(model="m"), None, 0).behind() == 0
    assert set(asked) == {"m"}


def test_a_new_ranking_catches_up_step_by_step_with_concurrent_changes(
    registry: Registry,
) -> None:
    rankings_ = rankings(registry)
    kept = rankings_.kept(Request(model="m"), None, 0)
    assert (kept.behind(), kept.size(), len(kept.ranking)) == (5, 5, 0)
    steps = kept.catch_up()
    for _ in range(3):
        next(steps)
    assert (kept.behind(), kept.size(), len(kept.ranking)) == (2, 5, 3)
    registry.remove_endpoint("h0:1")
    registry.remove_endpoint("h4:1")
    add(registry, "new:1", loaded("m"))
    rankings_.touch({"h0:1", "h4:1", "new:1"})
    rankings_.touch_leases("h1:1")
    for _ in steps:
        pass
    assert kept.behind() == 0
    assert sorted(kept.ranking.ids()) == ["h1:1", "h2:1", "h3:1", "new:1"]
    assert rankings_.kept(Request(model="m"), None, 0) is kept


def test_endpoints_that_never_had_the_model_are_not_judged(registry: Registry) -> None:
    rankings_ = rankings(registry)
    rankings_.ranking(Request(model="only-1"), None, 0)
    add(registry, "h3:1", loaded("only-1"))
    add(registry, "h1:1", loaded("m"))
    rankings_.touch({f"h{i}:1" for i in range(5)} | {"gone:1"})
    kept = rankings_.kept(Request(model="only-1"), None, 0)
    assert kept.changed == {"h1:1", "h3:1"}
    assert list(rankings_.ranking(Request(model="only-1"), None, 0).ids()) == ["h3:1"]


def test_an_endpoint_that_cannot_be_judged_fails_only_one_request(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = facts_of(registry)
    kept = Rankings(facts, facts._candidates)
    endpoint = facts.endpoint

    def failing(id_: str) -> Endpoint | None:
        if id_ == "h2:1":
            raise ValueError(id_)
        return endpoint(id_)

    monkeypatch.setattr(facts, "endpoint", failing)
    with pytest.raises(ValueError, match="h2:1"):
        kept.ranking(Request(model="m"), None, 0)
    assert "h2:1" not in kept.ranking(Request(model="m"), None, 0).ids()


def test_the_oldest_rankings_go_until_the_verdicts_fit(registry: Registry) -> None:
    kept = rankings(registry, max_verdicts=7)
    oldest = kept.ranking(Request(model="m"), None, 0)
    small = [kept.ranking(Request(model=f"only-{i}"), None, 0) for i in range(2)]
    assert kept.ranking(Request(model="m"), None, 0) is oldest
    # Five and five verdicts do not fit; what was used last stays.
    newest = kept.ranking(Request(model="m", labels={"a": "b"}), None, 0)
    assert len(kept) == 1
    assert kept.ranking(Request(model="m", labels={"a": "b"}), None, 0) is newest
    assert kept.ranking(Request(model="only-0"), None, 0) is not small[0]
    # One alone stays whatever its size.
    alone = rankings(registry, max_verdicts=1)
    first = alone.ranking(Request(model="m"), None, 0)
    assert alone.ranking(Request(model="m"), None, 0) is first


def test_labels_in_another_order_are_the_same_request(registry: Registry) -> None:
    kept, labels = rankings(registry), {f"k{i}": "v" for i in range(20)}
    first = kept.ranking(Request(model="m", labels=labels), None, 0)
    backwards = dict(reversed(labels.items()))
    assert kept.ranking(Request(model="m", labels=backwards), None, 0) is first


def test_a_lease_of_an_endpoint_that_is_judged_anyway_costs_no_step(registry: Registry) -> None:
    kept = rankings(registry)
    kept.ranking(Request(model="m"), None, 0)
    kept.touch({"h0:1"})
    kept.touch_leases("h0:1")
    assert len(list(kept.kept(Request(model="m"), None, 0).catch_up())) == 1
