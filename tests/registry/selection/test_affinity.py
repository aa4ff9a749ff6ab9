import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.registry.observation import Load
from hub.registry.selection.affinity import LOAD_FACTOR, _weight, affinity_of
from hub.registry.selection.criteria import Criteria
from hub.registry.selection.ranking import Limits, Ranking, pick
from hub.registry.state import Registry
from llmhub.v1 import registry_service_pb2 as pb
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.resources_pb2 import HostResources, VramAccount
from tests.support.fleet_of import NOW, add, loaded, on_disk


class Fleet:
    """A registry and the leases on its endpoints."""

    def __init__(self, servers: int = 0, slots: int = 1) -> None:
        self.registry = Registry(first_revision=1)
        self.leases: Counter[str] = Counter()
        for n in range(servers):
            add(self.registry, f"s{n}:1", loaded(), load=Load(slots=slots))

    def endpoint(self, id_: str) -> Endpoint | None:
        record = self.registry.get(id_)
        return record.message if record is not None else None

    def resources(self, _agent_id: str) -> HostResources | None:
        return None

    def vram(self, agent_id: str) -> VramAccount:
        return self.registry.vram(agent_id).message

    def in_flight(self, id_: str) -> int:
        return self.leases[id_]

    def ranking(self, **request: object) -> Ranking:
        ranking = Ranking(Criteria(pb.SelectEndpointRequest(model="m", **request), None), self)
        for record in self.registry.endpoints():
            ranking.update(record.message.id)
        return ranking

    def owner(self, key: str, **request: object) -> str:
        return affinity_of(self.ranking(**request), key).pool[0].endpoint.id


KEYS = [f"conversation {n}" for n in range(60)]


def owners(fleet: Fleet) -> dict[str, str]:
    ranking = fleet.ranking()
    return {key: affinity_of(ranking, key).pool[0].endpoint.id for key in KEYS}


@settings(max_examples=30)
@given(st.integers(2, 12), st.data())
def test_only_the_keys_of_a_server_that_leaves_move(servers: int, data: st.DataObject) -> None:
    fleet = Fleet(servers)
    before = owners(fleet)
    ranking = fleet.ranking()
    second = {key: affinity_of(ranking, key).pool[1].endpoint.id for key in KEYS}
    leaving = data.draw(st.sampled_from(sorted(set(before.values()))))
    fleet.registry.remove_endpoint(leaving)
    for key, after in owners(fleet).items():
        assert after == (second[key] if before[key] == leaving else before[key])


@settings(max_examples=30)
@given(st.integers(1, 12))
def test_a_new_server_takes_over_only_its_own_keys(servers: int) -> None:
    fleet = Fleet(servers)
    before = owners(fleet)
    add(fleet.registry, "new:1", loaded(), load=Load(slots=1))
    for key, after in owners(fleet).items():
        assert after in ("new:1", before[key])


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=8),
    st.lists(st.sampled_from(KEYS[:4]), min_size=1, max_size=80),
)
def test_no_server_gets_more_than_its_share(slots: list[int], keys: list[str]) -> None:
    fleet = Fleet()
    for n, number in enumerate(slots):
        add(fleet.registry, f"s{n}:1", loaded(), load=Load(slots=number))
    ranking = fleet.ranking()
    for placed, key in enumerate(keys):
        (chosen,) = pick(ranking, Limits(), 1, NOW, order=affinity_of(ranking, key).order())
        id_ = chosen.endpoint.id
        fleet.leases[id_] += 1
        ranking.recount(id_)
        share = LOAD_FACTOR * (placed + 1) * slots[int(id_[1:-2])] / sum(slots)
        assert fleet.leases[id_] <= math.ceil(share)


def test_keys_spread_by_slots() -> None:
    fleet = Fleet(2)
    add(fleet.registry, "large:1", loaded(), load=Load(slots=6))
    ranking = fleet.ranking()
    counts = Counter(affinity_of(ranking, f"key {n}").pool[0].endpoint.id for n in range(2000))
    assert 0.70 < counts["large:1"] / 2000 < 0.80
    assert 0.09 < counts["s0:1"] / 2000 < 0.16


def test_the_order_is_the_same_on_each_machine() -> None:
    """These are the values of the formula in the module's docstring, which must not change."""
    fleet = Fleet(5)
    ids = [each.endpoint.id for each in affinity_of(fleet.ranking(), "alpha").pool]
    assert ids == ["s4:1", "s3:1", "s1:1", "s2:1", "s0:1"]


def test_a_key_prefers_servers_with_the_model_in_memory_if_that_matters() -> None:
    fleet = Fleet()
    for n in range(8):
        add(fleet.registry, f"disk{n}:1", on_disk())
    add(fleet.registry, "memory:1", loaded())
    assert {fleet.owner(key) for key in KEYS} == {"memory:1"}
    assert len({fleet.owner(key, strategy=pb.STRATEGY_ROUND_ROBIN) for key in KEYS}) > 5
    order = [each.endpoint.id for each in affinity_of(fleet.ranking(), "k").order()]
    assert order[0] == "memory:1"
    assert len(order) == 9


def test_failing_servers_and_unknown_facts_come_last() -> None:
    fleet = Fleet()
    add(fleet.registry, "known:1", loaded("m", family="f"))
    add(fleet.registry, "unknown:1", loaded("m"))
    assert {fleet.owner(key, family="f") for key in KEYS} == {"known:1"}


def test_a_full_server_is_passed_over_and_explained() -> None:
    fleet = Fleet(3)
    fleet.leases["s0:1"] = 4
    ranking = fleet.ranking()
    key = next(key for key in KEYS if owners(fleet)[key] == "s0:1")
    affinity = affinity_of(ranking, key)
    order = [*affinity.order()]
    assert [affinity.rank(each) for each in order] == [1, 2, 0]
    assert affinity.explain(order[0]) == "place 2 for the affinity key"
    assert affinity.explain(order[2]) == "place 1 for the affinity key, at its bound of 3 leases"


def test_an_empty_ranking_has_an_empty_order() -> None:
    assert [*affinity_of(Fleet().ranking(), "k").order()] == []


def test_those_that_fit_less_have_no_place() -> None:
    fleet = Fleet(1)
    add(fleet.registry, "disk:1", on_disk())
    affinity = affinity_of(fleet.ranking(), "k")
    (other,) = affinity.rest
    assert affinity.rank(other) is None
    assert "fit better" in affinity.explain(other)


# The finalizer maps 0 to 0, and this to the greatest number of 64 bits.
TO_GREATEST = 0x89A5850E63C5F8AA


@pytest.mark.parametrize("hash_", [0, 1, 2**52, 2**63, 2**64 - 1, TO_GREATEST])
def test_every_hash_has_a_finite_weight(hash_: int) -> None:
    assert 0 < _weight(hash_, 0, 4) < math.inf


def test_the_least_and_the_greatest_hash_are_far_apart() -> None:
    assert _weight(TO_GREATEST, 0, 1) > 1e15
    assert _weight(0, 0, 1) < 0.03
