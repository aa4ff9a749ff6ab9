"""SelectEndpoint and ReleaseSelection, as the service calls them."""

import asyncio
import random

import pytest

from hub.base.clock import ManualClock
from hub.base.tasks import Slices
from hub.contract.errors import (
    LeaseNotFound,
    LimitReached,
    ModelUnknown,
    NoCapacity,
    NoHealthyEndpoint,
    RateLimited,
)
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.handlers import followed_rankings, ranking_queue, select_endpoint
from hub.service.handlers.select_endpoint import SelectionHandlers
from llmhub.v1 import registry_service_pb2 as pb
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.frame_pb2 import ReportEndpointRequest
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.fleet import saw
from tests.support.fleet_of import GIB, NOW, add, change_at_random, loaded, on_disk, report
from tests.support.selecting import CALLER, Selecting, chosen


@pytest.fixture
def registry() -> Registry:
    return Registry(first_revision=1000)


@pytest.fixture
def select(registry: Registry) -> Selecting:
    return Selecting(registry)


def test_a_selection_has_the_whole_endpoint(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded(), name="A", labels={"zone": "x"})
    response = select()
    (select_endpoint,) = response.selections
    record = registry.get("a:1")
    assert record is not None
    assert select_endpoint.endpoint == record.message
    assert (select_endpoint.model, select_endpoint.lease_id) == ("m", "")
    assert select_endpoint.score > 0
    assert not select_endpoint.HasField("lease_expires_at")
    assert response.revision == registry.revision
    assert not response.candidates


def test_a_selection_returns_the_requested_count_best_first(
    registry: Registry, select: Selecting
) -> None:
    add(registry, "a:1", on_disk())
    add(registry, "b:1", loaded())
    add(registry, "c:1", loaded(), error="down")
    response = select(count=5)
    assert chosen(response) == ["b:1", "a:1"]
    assert response.selections[0].score > response.selections[1].score
    assert chosen(select(count=1)) == ["b:1"]


def test_a_selection_follows_the_fleet(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded(), agent_id="a")
    assert chosen(select(count=9)) == ["a:1"]
    add(registry, "b:1", loaded(), agent_id="b")
    assert chosen(select(count=9)) == ["b:1", "a:1"]
    report(registry, "b", cpu_percent=99)
    assert chosen(select(count=9)) == ["a:1", "b:1"]
    report(registry, "a", cpu_percent=100)
    assert chosen(select(count=9)) == ["b:1", "a:1"]
    select.now_ms += 90_000
    assert len(chosen(select(count=9))) == 2
    registry.remove_endpoint("b:1")
    assert chosen(select(count=9)) == ["a:1"]


def test_memory_that_a_neighbour_uses_is_not_free(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded(), agent_id="n")
    add(registry, "b:1", agent_id="n")
    report(registry, "n", vram_used_bytes=2 * GIB, vram_total_bytes=8 * GIB)
    assert chosen(select(min_free_vram_bytes=4 * GIB)) == ["a:1"]
    add(registry, "b:1", loaded("big", vram_bytes=6 * GIB), agent_id="n")
    with pytest.raises(NoCapacity) as raised:
        select(min_free_vram_bytes=4 * GIB, explain=True)
    assert f"{6 * GIB} claimed" in raised.value.metadata["rejected a:1"]
    registry.remove_endpoint("b:1")
    assert chosen(select(min_free_vram_bytes=4 * GIB)) == ["a:1"]


def test_an_updated_ranking_equals_a_new_one(registry: Registry, select: Selecting) -> None:
    rng = random.Random(3)
    requests = ({}, {"min_free_vram_bytes": 4 * GIB}, {"strategy": pb.STRATEGY_LEAST_LOADED})
    for _ in range(300):
        change_at_random(registry, rng)
        for request in requests:
            assert found(select, **request) == found(Selecting(registry), **request)


async def test_a_ranking_made_in_slices_equals_a_new_one(
    registry: Registry, select: Selecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under changes of all kinds between the slices, by several callers of several criteria."""
    for module in (select_endpoint, ranking_queue):
        monkeypatch.setattr(module, "FEW", 0)
    # Some of them change sides while they are judged.
    monkeypatch.setattr(ranking_queue, "FAR_BEHIND", 30)
    rng = random.Random(11)
    for i in range(40):
        add(registry, f"base{i}:1", loaded(), agent_id=f"n{i % 2}", latency_ms=1 + i % 5)
    checked = 0

    async def ask(number: int) -> None:
        nonlocal checked
        weights = pb.ScoreWeights(vram=1, latency=1 + number % 3, loaded=1)
        request = pb.SelectEndpointRequest(
            model="m", count=60, strategy=pb.STRATEGY_WEIGHTED, weights=weights
        )
        raw = select.handlers.select_endpoint(request, CALLER, NOW)
        one = pb.SelectEndpointResponse.FromString(raw if isinstance(raw, bytes) else await raw)
        fresh = SelectionHandlers(registry, ManualClock(NOW))
        kept = fresh._followed.kept(request, NOW)
        assert all(step is None for step in kept.catch_up())
        again = fresh._answer(request, kept.ranking, CALLER, NOW)
        other = pb.SelectEndpointResponse.FromString(again)
        assert {each.endpoint.id: each.score for each in one.selections} == {
            each.endpoint.id: each.score for each in other.selections
        }
        assert one.revision == other.revision == registry.revision
        checked += 1

    async def change() -> None:
        while True:
            change_at_random(registry, rng)
            if rng.random() < 0.02:
                select.handlers._followed._rankings.touch_all()
            # Each change concerns some endpoints, and a slice here is a single one.
            for _ in range(20):
                await asyncio.sleep(0)

    for lane in ("_near", "_far"):
        monkeypatch.setattr(select.handlers._catching_up, lane, Slices(slice_s=0))
    changing = asyncio.create_task(change())
    for _ in range(5):
        await asyncio.gather(*map(ask, range(6)))
    changing.cancel()
    assert checked == 30


async def test_a_waiting_request_is_answered_as_of_its_turn(registry: Registry) -> None:
    clock = ManualClock(NOW)
    handlers = SelectionHandlers(registry, clock)
    for i in range(select_endpoint.FEW + 1):
        add(registry, f"h{i}:1", loaded())
    request = pb.SelectEndpointRequest(model="m")
    request.lease_ttl.FromSeconds(1)
    reply = handlers.select_endpoint(request, CALLER, NOW)
    assert not isinstance(reply, bytes)
    clock.advance(2600)
    (chosen,) = pb.SelectEndpointResponse.FromString(await reply).selections
    assert chosen.lease_expires_at.ToMilliseconds() == NOW + 3600
    assert handlers.in_flight_now(chosen.endpoint.id, NOW + 3599) == 1
    for i in range(select_endpoint.FEW + 1):
        registry.remove_endpoint(f"h{i}:1")
        add(registry, f"h{i}:1", loaded())
    request.max_fact_age.FromSeconds(3)
    reply = handlers.select_endpoint(request, CALLER, NOW + 2600)
    assert not isinstance(reply, bytes)
    clock.advance(401)
    with pytest.raises(NoCapacity, match="none meets"):
        await reply


def found(select: Selecting, **request: object) -> dict[str, float] | str:
    try:
        return {each.endpoint.id: each.score for each in select(count=20, **request).selections}
    except (NoCapacity, NoHealthyEndpoint, ModelUnknown) as error:
        return f"{error.reason_name} {sorted(error.metadata.items())}"


def test_more_changes_than_one_read_takes_are_all_applied(
    registry: Registry, select: Selecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_rankings, "_READ_AT_ONCE", 10)
    add(registry, "a:1", loaded())
    assert chosen(select(count=9)) == ["a:1"]
    for i in range(20):
        add(registry, f"b{i}:1", loaded())
    assert len(chosen(select(count=99))) == 21


def test_an_alias_selects_among_its_targets(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded("llama3:8b"))
    add(registry, "b:1", loaded("meta/llama-3"))
    targets = [AliasTarget(model="llama3:8b"), AliasTarget(model="meta/llama-3")]
    registry.put_alias(ModelAlias(name="small", targets=targets))
    found = {each.endpoint.id: each.model for each in select("small", count=9).selections}
    assert found == {"a:1": "llama3:8b", "b:1": "meta/llama-3"}
    registry.put_alias(ModelAlias(name="small", targets=targets[:1]))
    assert chosen(select("small", count=9)) == ["a:1"]
    registry.remove_alias("small")
    with pytest.raises(ModelUnknown):
        select("small")


# Explanations.


def test_an_explanation_names_every_candidate(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", on_disk())
    add(registry, "b:1", loaded())
    add(registry, "c:1", loaded(), error="no route to host")
    add(registry, "d:1", loaded("other"))
    response = select(explain=True, exclude_ids=["a:1"], count=3, lease_s=5)
    assert chosen(response) == ["b:1"]
    found = {each.endpoint_id: each for each in response.candidates}
    assert list(found) == ["b:1", "a:1", "c:1"]
    best = found["b:1"]
    assert sum(best.parts.values()) == pytest.approx(best.score)
    assert best.score == response.selections[0].score
    assert best.rejection == pb.REJECTION_UNSPECIFIED
    assert best.in_flight == 0, "as it was before this selection"
    assert found["a:1"].rejection == pb.REJECTION_EXCLUDED
    assert found["c:1"].rejection == pb.REJECTION_NOT_HEALTHY
    assert found["c:1"].detail == "unhealthy: no route to host"
    assert found["c:1"].score == 0
    assert select(explain=True).candidates[0].in_flight == 1


def test_a_failed_last_probe_is_explained(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded())
    add(registry, "b:1", on_disk())
    registry.observe("a:1", saw(error="connection refused"))
    response = select(explain=True, count=2)
    assert chosen(response) == ["b:1", "a:1"]
    assert [each.detail for each in response.candidates] == [
        "",
        "ranks last because its last probe failed: connection refused",
    ]
    registry.report_view("a:1", "", ReportEndpointRequest(url="http://a:1", reachable=False), NOW)
    response = select(explain=True, count=2)
    assert chosen(response) == ["b:1"]
    assert response.candidates[1].rejection == pb.REJECTION_NOT_HEALTHY
    assert response.candidates[1].detail == (
        "the hub and its sidecar both find it dead: connection refused"
    )


# Leases.


def test_a_lease_counts_until_released_or_expired(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded())
    add(registry, "b:1", loaded())
    (first,) = select(lease_s=10).selections
    assert first.lease_expires_at.ToMilliseconds() == NOW + 10_000
    (second,) = select(lease_s=20).selections
    assert {first.endpoint.id, second.endpoint.id} == {"a:1", "b:1"}
    select.release(first.lease_id)
    assert chosen(select()) == [first.endpoint.id]
    with pytest.raises(LeaseNotFound):
        select.release(first.lease_id)
    select.now_ms += 20_000
    with pytest.raises(LeaseNotFound):
        select.release(second.lease_id)
    assert len(select.handlers.leases) == 0


def test_max_in_flight_excludes_busy_endpoints(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded())
    for _ in range(2):
        select(lease_s=10, max_in_flight=2)
    with pytest.raises(NoCapacity) as raised:
        select(lease_s=10, max_in_flight=2)
    assert raised.value.metadata["rejected_in_flight"] == "1"


def test_new_large_rankings_are_limited_per_minute(
    registry: Registry, select: Selecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking_queue, "LARGE_RANKING", 1)
    add(registry, "a:1", loaded(), loaded("rare"))
    add(registry, "b:1", loaded())

    def ask(weight: float) -> None:
        weights = pb.ScoreWeights(cpu=weight)
        select(strategy=pb.STRATEGY_WEIGHTED, weights=weights)

    for i in range(ranking_queue.LARGE_RANKINGS):
        ask(1 + i)
    with pytest.raises(RateLimited) as raised:
        ask(0.5)
    assert raised.value.retry_after_ms == 60_000 // ranking_queue.LARGE_RANKINGS
    ask(1)
    select("rare")
    select.now_ms += raised.value.retry_after_ms
    ask(0.5)


def test_either_all_leases_are_taken_or_none(registry: Registry) -> None:
    select = Selecting(registry, max_leases=3)
    for id_ in ("a:1", "b:1"):
        add(registry, id_, loaded())
    select(lease_s=10, count=2)
    with pytest.raises(LimitReached):
        select(lease_s=10, count=2)
    assert len(select.handlers.leases) == 2


def test_one_token_cannot_hold_all_leases(registry: Registry) -> None:
    select = Selecting(registry, max_leases_per_token=1)
    add(registry, "a:1", loaded())
    select(lease_s=10)
    with pytest.raises(LimitReached):
        select(lease_s=10)
    request = pb.SelectEndpointRequest(model="m")
    request.lease_ttl.FromSeconds(10)
    other = Caller(Principal(ROLE_READER, "", "other"), "127.0.0.1", "grpc")
    assert select.handlers.select_endpoint(request, other, NOW)


@pytest.mark.parametrize("strategy", pb.Strategy.values())
def test_concurrent_selections_spread(registry: Registry, select: Selecting, strategy: int) -> None:
    weights = {"in_flight": 1, "loaded": 4}
    for i in range(8):
        add(registry, f"h{i}:1", loaded(), latency_ms=1 + i / 10)
    counts: dict[str, int] = {}
    for _ in range(200):
        (id_,) = chosen(select(lease_s=60, strategy=strategy, weights=weights))
        counts[id_] = counts.get(id_, 0) + 1
    assert len(counts) == 8
    assert all(abs(count - 25) <= 2 for count in counts.values()), counts


def test_concurrent_selections_do_not_pile_up_on_one_warm_host(
    registry: Registry, select: Selecting
) -> None:
    add(registry, "warm:1", loaded())
    for i in range(7):
        add(registry, f"cold{i}:1", on_disk())
    counts: dict[str, int] = {}
    for _ in range(200):
        (id_,) = chosen(select(lease_s=60))
        counts[id_] = counts.get(id_, 0) + 1
    assert 25 <= counts["warm:1"] <= 25 + 5
    assert min(counts.values()) >= 23


def one_server(registry: Registry) -> None:
    """A server at two addresses, and another server."""
    for id_, address in (("a:1", "10.0.0.1"), ("b:1", "10.0.0.1"), ("c:1", "10.0.0.2")):
        registry.put_endpoint(Endpoint(id=id_, host=id_[0], port=1, scheme="http"))
        registry.observe(id_, saw(models=(loaded(),), address=address))


def test_a_server_is_chosen_once(registry: Registry, select: Selecting) -> None:
    one_server(registry)
    response = select(count=5, explain=True)
    assert len(chosen(response)) == 2
    assert "c:1" in chosen(response)
    (rejected,) = (each for each in response.candidates if each.rejection)
    assert rejected.rejection == pb.REJECTION_SAME_SERVER
    assert rejected.endpoint_id in ("a:1", "b:1")
    assert rejected.detail.startswith("the same server as ")


def test_the_leases_of_a_server_count_at_each_of_its_addresses(
    registry: Registry, select: Selecting
) -> None:
    one_server(registry)
    lease = select(exclude_ids=["b:1", "c:1"], lease_s=60).selections[0].lease_id
    in_flight = {each.endpoint_id: each.in_flight for each in select(explain=True).candidates}
    assert in_flight == {"a:1": 1, "b:1": 1, "c:1": 0}
    assert select.handlers.in_flight_now("b:1", select.now_ms) == 1
    assert chosen(select(count=5, max_in_flight=1)) == ["c:1"]
    select.release(lease)
    assert len(chosen(select(count=5, max_in_flight=1))) == 2


def test_an_address_that_turns_out_to_be_the_same_server_takes_over_its_leases(
    registry: Registry, select: Selecting
) -> None:
    one_server(registry)
    select(exclude_ids=["a:1", "b:1"], lease_s=60)
    registry.observe("c:1", saw(models=(loaded(),), address="10.0.0.1"))
    in_flight = {each.endpoint_id: each.in_flight for each in select(explain=True).candidates}
    assert in_flight == {"a:1": 1, "b:1": 1, "c:1": 1}
