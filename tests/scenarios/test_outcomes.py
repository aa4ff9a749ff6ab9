"""What callers report of their requests, and what selections learn from it."""

import pytest

from hub.contract.errors import LeaseNotFound, NoCapacity, NoHealthyEndpoint
from hub.registry.observation import Load
from hub.registry.state import Registry
from llmhub.v1 import registry_service_pb2 as pb
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from tests.support.fleet_of import add, loaded
from tests.support.selecting import CALLER, Selecting, caller, chosen


@pytest.fixture
def registry() -> Registry:
    return Registry(first_revision=1000)


@pytest.fixture
def select(registry: Registry) -> Selecting:
    return Selecting(registry)


BAD = pb.Outcome(result=pb.OUTCOME_RESULT_SERVER_ERROR)
OK = pb.Outcome(result=pb.OUTCOME_RESULT_OK)


def fail_at(select: Selecting, id_: str, others: list[str], count: int = 5) -> None:
    for _ in range(count):
        (selection,) = select(lease_s=60, exclude_ids=others).selections
        assert selection.endpoint.id == id_
        select.release(selection.lease_id, BAD)


def test_failed_requests_open_the_circuit_until_a_trial_succeeds(
    registry: Registry, select: Selecting
) -> None:
    for id_ in ("a:1", "b:1"):
        add(registry, id_, loaded())
    fail_at(select, "a:1", ["b:1"])
    assert chosen(select(count=9)) == ["b:1"]
    explained = select(explain=True)
    rejected = explained.candidates[-1]
    assert (rejected.endpoint_id, rejected.rejection) == ("a:1", pb.REJECTION_CIRCUIT_OPEN)
    assert "5 requests in a row failed" in rejected.detail
    select.now_ms += 10_000
    assert chosen(select(count=9)) == ["b:1"], "the trial needs a lease"
    trial = select(lease_s=60, exclude_ids=["b:1"]).selections[0]
    assert trial.endpoint.id == "a:1"
    assert chosen(select(lease_s=60, count=9)) == ["b:1"], "there is one trial at a time"
    select.release(trial.lease_id, OK)
    assert sorted(chosen(select(count=9))) == ["a:1", "b:1"]


def test_a_trial_without_an_outcome_is_followed_by_another(
    registry: Registry, select: Selecting
) -> None:
    for id_ in ("a:1", "b:1"):
        add(registry, id_, loaded())
    fail_at(select, "a:1", ["b:1"])
    select.now_ms += 10_000
    assert chosen(select(lease_s=5, exclude_ids=["b:1"])) == ["a:1"]
    with pytest.raises(NoCapacity):
        select(lease_s=5, exclude_ids=["b:1"])
    select.now_ms += 5_000
    assert chosen(select(lease_s=5, exclude_ids=["b:1"])) == ["a:1"]


def test_a_selection_that_only_open_circuits_prevent_says_when_to_retry(
    registry: Registry, select: Selecting
) -> None:
    add(registry, "a:1", loaded())
    add(registry, "b:1", loaded(), error="down")
    add(registry, "c:1", loaded())
    fail_at(select, "a:1", ["c:1"])
    registry.remove_endpoint("c:1")
    with pytest.raises(NoHealthyEndpoint) as caught:
        select()
    assert caught.value.retry_after_ms == 10_000
    assert caught.value.metadata["rejected_circuit_open"] == "1"
    assert "not ejected" in caught.value.message


def test_failures_lower_the_score_before_they_open_a_circuit(
    registry: Registry, select: Selecting
) -> None:
    add(registry, "a:1", loaded())
    add(registry, "b:1", loaded())
    fail_at(select, "a:1", ["b:1"], count=4)
    select.now_ms += 5_000
    for _ in range(3):
        assert chosen(select()) == ["b:1"]
    parts = {each.endpoint_id: each.parts["failures"] for each in select(explain=True).candidates}
    assert parts["b:1"] == 0
    assert parts["a:1"] < -0.5


def test_observed_speed_is_a_part_of_the_score(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded())
    add(registry, "b:1", loaded())
    for other, first_ms in (("b:1", 4000), ("a:1", 100)):
        for _ in range(5):
            (selection,) = select(lease_s=60, exclude_ids=[other]).selections
            outcome = pb.Outcome(result=pb.OUTCOME_RESULT_OK)
            outcome.time_to_first_token.FromMilliseconds(first_ms)
            select.release(selection.lease_id, outcome)
    select.now_ms += 5_000
    for _ in range(3):
        assert chosen(select(strategy=pb.STRATEGY_LEAST_LATENCY)) == ["b:1"]


def test_only_the_tokens_own_lease_takes_an_outcome_and_only_once(
    registry: Registry, select: Selecting
) -> None:
    add(registry, "a:1", loaded())
    (selection,) = select(lease_s=60).selections
    with pytest.raises(LeaseNotFound):
        select.release(selection.lease_id, BAD, by=caller("another"))
    assert select.handlers.in_flight("a:1") == 1, "the lease is still held"
    select.release(selection.lease_id, OK)
    with pytest.raises(LeaseNotFound):
        select.release(selection.lease_id, BAD)
    assert select.handlers.outcomes.results == {pb.OUTCOME_RESULT_OK: 1}


def test_an_outcome_after_the_leases_end_is_refused(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded())
    (selection,) = select(lease_s=1).selections
    select.now_ms += 1_000
    with pytest.raises(LeaseNotFound):
        select.release(selection.lease_id, BAD)


def test_one_token_cannot_eject_the_fleet_of_others(registry: Registry, select: Selecting) -> None:
    ids = [f"s{n}:1" for n in range(20)]
    for id_ in ids:
        add(registry, id_, loaded())
    attacker = caller("attacker")
    for _ in range(10):
        for lease_by, outcome in ((CALLER, OK), (attacker, BAD)):
            response = select(lease_s=60, count=20, by=lease_by)
            for selection in response.selections:
                select.release(selection.lease_id, outcome, by=lease_by)
        select.now_ms += 10_000
    assert sorted(chosen(select(count=20))) == sorted(ids)
    select.now_ms += 300_000
    for _ in range(50):
        for selection in select(lease_s=60, count=20, by=attacker).selections:
            select.release(selection.lease_id, BAD, by=attacker)
    assert len(chosen(select(count=20))) == 10, "with no one else, it ejects half for a while"


def test_a_name_of_several_models_avoids_the_one_whose_circuit_is_open(
    registry: Registry, select: Selecting
) -> None:
    target = AliasTarget(family="f")
    registry.put_alias(ModelAlias(name="any", targets=[target]))
    for id_ in ("a:1", "b:1"):
        add(registry, id_, loaded("m", family="f"), loaded("n", family="f"))
    for _ in range(5):
        (selection,) = select(model="m", lease_s=60, exclude_ids=["b:1"]).selections
        select.release(selection.lease_id, BAD)
    (selection,) = select(model="any", exclude_ids=["b:1"]).selections
    assert selection.model == "n"


def test_leases_per_slot_are_bounded(registry: Registry, select: Selecting) -> None:
    add(registry, "a:1", loaded(), load=Load(slots=2))
    add(registry, "b:1", loaded())
    taken = [select(lease_s=60, max_in_flight_per_slot=1) for _ in range(3)]
    assert sorted(chosen(each)[0] for each in taken) == ["a:1", "a:1", "b:1"]
    with pytest.raises(NoCapacity):
        select(lease_s=60, max_in_flight_per_slot=1)
    assert chosen(select(lease_s=60, max_in_flight_per_slot=2))
