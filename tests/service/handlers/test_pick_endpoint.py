import asyncio
import json

import pytest

from hub.contract.errors import (
    LimitReached,
    ModelUnknown,
    NoCapacity,
    NoHealthyEndpoint,
    ScopeForbidden,
    ValidationFailed,
)
from hub.service.handlers.pick_endpoint import MAX_MODEL_CHARS, outcome_of
from hub.service.picks import PickOutcome, PickRequest
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, BACKEND_VLLM
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_CANCELLED,
    OUTCOME_RESULT_CONNECT_FAILED,
    OUTCOME_RESULT_OK,
    OUTCOME_RESULT_OVERLOADED,
    OUTCOME_RESULT_REFUSED,
    OUTCOME_RESULT_REQUEST_REJECTED,
    OUTCOME_RESULT_SERVER_ERROR,
)
from tests.support.fleet_of import NOW, loaded
from tests.support.picking import Picking

ONE, TWO = "10.0.0.1:1", "10.0.0.2:2"
OK = PickOutcome(ok=True)


@pytest.fixture
def picking() -> Picking:
    made = Picking()
    made.endpoint(ONE, loaded("m"), backend=BACKEND_VLLM)
    made.endpoint(TWO, loaded("m"), loaded("o"), backend=BACKEND_OLLAMA, latency_ms=800)
    return made


def pick(picking: Picking, model: str = "m", **wanted):
    return picking.picks.pick_endpoint(PickRequest(model, **wanted), picking.caller(), NOW)


def test_a_pick_holds_a_lease_until_it_is_finished(picking: Picking):
    picked = pick(picking)
    assert (picked.addresses, picked.ids, picked.model) == ((ONE, TWO), (ONE, TWO), "m")
    assert picking.selection.in_flight(ONE) == 1
    picked.finish(OK, NOW)
    picked.finish(OK, NOW)
    assert picking.leases() == 0


def test_picks_spread_over_equal_endpoints():
    picking = Picking(fallbacks=9)
    for port in range(1, 5):
        picking.endpoint(f"10.0.0.{port}:1", loaded("m"))
    firsts = [pick(picking).ids[0] for _ in range(8)]
    assert sorted(firsts) == sorted([f"10.0.0.{port}:1" for port in range(1, 5)] * 2)
    for _ in range(4):
        pick(picking).finish(OK, NOW)
    again = [pick(picking) for _ in range(4)]
    assert len({picked.ids[0] for picked in again}) == 4


def test_the_repr_of_a_pick_does_not_show_the_key(picking: Picking):
    picking.api_key(ONE, "secret")
    picked = pick(picking)
    assert picked.api_key == "secret"
    assert "secret" not in repr(picked)
    assert picked.addresses == (ONE,)


def test_ollama_is_chosen_where_it_is_needed(picking: Picking):
    assert pick(picking, needs_ollama=True).ids == (TWO,)
    picking.registry.put_alias(ModelAlias(name="a", targets=[AliasTarget(model="m")]))
    assert pick(picking, "a", needs_ollama=True).ids == (TWO,)
    picking.registry.put_alias(ModelAlias(name="f", targets=[AliasTarget(family="llama")]))
    with pytest.raises(ModelUnknown):
        pick(picking, "f", needs_ollama=True)


def test_a_model_that_only_other_servers_have_is_unknown_to_ollamas_paths():
    picking = Picking()
    picking.endpoint(ONE, loaded("m"), backend=BACKEND_VLLM)
    with pytest.raises(ModelUnknown, match="no Ollama server has m"):
        pick(picking, needs_ollama=True)


def test_a_subset_without_the_model_is_not_ready(picking: Picking):
    assert pick(picking, subset=frozenset({TWO})).ids == (TWO,)
    with pytest.raises(NoHealthyEndpoint, match="allows no endpoint"):
        pick(picking, subset=frozenset({"10.9.9.9:1"}))
    # Within a subset other reasons count.
    picking.endpoint(TWO, loaded("m"), backend=BACKEND_OLLAMA, error="down")
    with pytest.raises(NoCapacity):
        pick(picking, subset=frozenset({TWO}))


@pytest.mark.parametrize("model", ["", "x" * (MAX_MODEL_CHARS + 1)])
def test_names_have_bounds(picking: Picking, model):
    with pytest.raises(ValidationFailed):
        pick(picking, model)


def test_an_endpoint_whose_name_is_not_resolved_is_not_ready_and_holds_no_lease():
    picking = Picking()
    picking.endpoint("gpu.lan:1", loaded("m"))
    with pytest.raises(NoHealthyEndpoint, match="not resolved") as refused:
        pick(picking)
    assert refused.value.retry_after_ms
    assert picking.leases() == 0


def test_a_scope_limits_picks(picking: Picking):
    caller = picking.caller(models=["o"])
    picked = picking.picks.pick_endpoint_in_view(PickRequest("o"), caller, NOW)
    assert picked.ids == (TWO,)
    with pytest.raises(ScopeForbidden):
        picking.picks.pick_endpoint_in_view(PickRequest("m"), caller, NOW)


async def test_a_pick_among_many_is_awaited():
    picking = Picking()
    for i in range(300):
        picking.endpoint(f"10.1.{i // 250}.{i % 250}:1", loaded("m"))
    picked = await pick(picking)
    assert len(picked.ids) == 3
    picked.finish(OK, NOW)
    assert picking.leases() == 0


async def test_the_bound_on_leases_holds(picking: Picking):
    picking.selection.leases._max_per_owner = 1
    first = pick(picking)
    with pytest.raises(LimitReached):
        pick(picking)
    first.finish(OK, NOW)
    pick(picking).finish(OK, NOW)


# What picks learn, and where they wait.


def figures(picking: Picking, id_: str):
    record = picking.registry.get(id_)
    assert record is not None
    return [(each.recent_requests, each.failed_ratio) for each in record.message.outcomes]


def test_the_outcome_of_a_pick_is_learned(picking: Picking):
    picked = pick(picking)
    picked.finish(PickOutcome(ok=True, status=200, address=ONE, ttft_ms=120, bytes=9), NOW)
    assert figures(picking, ONE) == [(1, 0)]
    assert figures(picking, TWO) == []


def test_a_fallback_that_served_is_learned_and_so_is_the_failure_before_it(picking: Picking):
    picked = pick(picking)
    outcome = PickOutcome(ok=True, status=200, address=TWO, tried=(ONE,))
    picked.finish(outcome, NOW)
    assert figures(picking, ONE) == [(1, 1)]
    assert figures(picking, TWO) == [(1, 0)]


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (PickOutcome(ok=True, status=200, address=ONE), OUTCOME_RESULT_OK),
        (PickOutcome(ok=True, status=404, address=ONE), OUTCOME_RESULT_REFUSED),
        (PickOutcome(ok=True, status=400, address=ONE), OUTCOME_RESULT_REQUEST_REJECTED),
        (PickOutcome(ok=False, status=500, address=ONE), OUTCOME_RESULT_SERVER_ERROR),
        (PickOutcome(ok=False, status=429, address=ONE), OUTCOME_RESULT_OVERLOADED),
        (PickOutcome(ok=False, status=503), OUTCOME_RESULT_CONNECT_FAILED),
        (PickOutcome(ok=False), OUTCOME_RESULT_CANCELLED),
    ],
)
def test_each_end_of_a_request_has_its_result(outcome: PickOutcome, result) -> None:
    assert outcome_of(outcome).result == result


def test_a_server_that_fails_its_requests_is_no_longer_picked(picking: Picking):
    failing = pick(picking).ids[0]
    for _ in range(5):
        picked = pick(picking, subset=frozenset({failing}))
        picked.finish(PickOutcome(ok=False, status=500, address=failing), NOW)
    assert {pick(picking).ids for _ in range(4)} == {(ONE if failing == TWO else TWO,)}


def test_the_turns_of_a_conversation_go_to_one_endpoint():
    picking = Picking(affinity=True, fallbacks=0)
    for port in range(1, 5):
        picking.endpoint(f"10.0.0.{port}:1", loaded("m"))
    found = set()
    for name in "abcdefgh":
        messages = [{"role": "user", "content": name}, {"role": "assistant", "content": "x"}]
        picks = set()
        for turn in (messages[:1], messages):
            picked = pick(picking, head=json.dumps({"model": "m", "messages": turn}).encode())
            picked.finish(OK, NOW)
            picks.add(picked.ids)
        assert len(picks) == 1
        found |= picks
    assert len(found) > 1


async def test_a_pick_waits_for_an_endpoint_with_room():
    picking = Picking(wait_s=60, max_in_flight_per_slot=1)
    picking.endpoint(ONE, loaded("m"))
    first = pick(picking)
    waiting = asyncio.ensure_future(pick(picking))
    await asyncio.sleep(0)
    first.finish(OK, NOW)
    assert (await waiting).ids == (ONE,)


async def test_a_pick_that_waited_in_vain_has_no_capacity():
    picking = Picking(wait_s=0.001, max_in_flight_per_slot=1)
    picking.endpoint(ONE, loaded("m"))
    pick(picking)
    with pytest.raises(NoCapacity) as caught:
        await pick(picking)
    assert caught.value.retry_after_ms is not None


def test_what_is_beyond_reach_is_not_waited_for():
    picking = Picking(wait_s=60)
    picking.endpoint(ONE, loaded("m"))
    with pytest.raises(NoHealthyEndpoint, match="allows no endpoint"):
        pick(picking, subset=frozenset({"10.9.9.9:1"}))
