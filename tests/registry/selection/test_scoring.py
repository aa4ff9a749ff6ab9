import pytest
from google.protobuf.duration_pb2 import Duration

from hub.registry.selection.scoring import UNKNOWN, parts, slots_of, weighted, weights_of
from hub.registry.vram import Claim, account
from llmhub.v1.endpoint_pb2 import Endpoint, EndpointLoad, Model, ModelOutcomes
from llmhub.v1.registry_service_pb2 import (
    STRATEGY_LEAST_LATENCY,
    STRATEGY_LEAST_LOADED,
    STRATEGY_PREFER_LOADED,
    STRATEGY_ROUND_ROBIN,
    STRATEGY_UNSPECIFIED,
    STRATEGY_WEIGHTED,
    ScoreWeights,
    Strategy,
)
from llmhub.v1.resources_pb2 import HostResources, VramAccount
from tests.support.fleet_of import loaded, on_disk

NOTHING = ScoreWeights()


def test_unknown_figures_get_a_neutral_score() -> None:
    found = parts(Endpoint(), Model(), None, None)
    assert found == {
        **dict.fromkeys(("loaded", "cpu", "ram", "vram", "latency"), UNKNOWN),
        **dict.fromkeys(("first_token", "throughput"), UNKNOWN),
        "health": 1.0,
        "queue": 0.0,
        "failures": 0.0,
    }
    assert parts(Endpoint(), Model(), HostResources(), VramAccount()) == found


def test_every_part_has_a_weight_and_every_weight_a_part() -> None:
    names = set(ScoreWeights.DESCRIPTOR.fields_by_name)
    assert set(parts(Endpoint(), Model(), None, None)) | {"in_flight"} == names
    for strategy in Strategy.values():
        assert set(weights_of(strategy, NOTHING)) == names


def test_scores_of_known_figures() -> None:
    endpoint = Endpoint(
        latency=Duration(nanos=100_000_000),
        consecutive_failures=1,
        load=EndpointLoad(running=3, waiting=1, slots=2),
        outcomes=[
            ModelOutcomes(
                model="m",
                recent_requests=12,
                failed_ratio=0.4,
                time_to_first_token=Duration(seconds=3),
                tokens_per_second=90,
            )
        ],
    )
    resources = HostResources(
        cpu_percent=25,
        ram_used_bytes=1,
        ram_total_bytes=4,
        vram_used_bytes=6,
        vram_total_bytes=8,
    )
    vram = account("n", Claim(), resources)
    assert parts(endpoint, loaded(), resources, vram) == {
        "loaded": 1.0,
        "health": UNKNOWN,
        "cpu": 0.75,
        "ram": 0.75,
        "vram": 0.25,
        "queue": -2.0,
        "latency": 0.5,
        "first_token": 0.3,
        "throughput": 0.7,
        "failures": -0.3,
    }
    assert parts(endpoint, on_disk(), resources, vram)["loaded"] == 0
    assert slots_of(endpoint) == 2
    assert slots_of(Endpoint()) == 1


@pytest.mark.parametrize(
    ("used", "total", "share"), [(9, 4, 0.0), (0, 0, UNKNOWN), (0, 4, 1.0), (None, 4, UNKNOWN)]
)
def test_free_memory_stays_within_its_bounds(used, total, share) -> None:
    resources = HostResources(
        vram_used_bytes=used, vram_total_bytes=total, ram_used_bytes=used, ram_total_bytes=total
    )
    found = parts(Endpoint(), Model(), resources, account("n", Claim(), resources))
    assert (found["vram"], found["ram"]) == (share, share)


@pytest.mark.parametrize(("claimed", "share"), [(2, 0.5), (4, 0.5), (6, 0.25), (9, 0.0)])
def test_memory_claimed_beyond_the_measurement_is_not_free(claimed, share) -> None:
    resources = HostResources(vram_used_bytes=4, vram_total_bytes=8)
    vram = account("n", Claim(claimed_bytes=claimed), resources)
    assert parts(Endpoint(), Model(), resources, vram)["vram"] == share


def test_each_strategy_weighs_most_what_it_is_named_after() -> None:
    def heaviest(strategy: Strategy) -> str:
        weights = weights_of(strategy, NOTHING)
        return max(weights, key=weights.__getitem__)

    assert heaviest(STRATEGY_PREFER_LOADED) == "loaded"
    assert heaviest(STRATEGY_LEAST_LATENCY) == "latency"
    least = weights_of(STRATEGY_LEAST_LOADED, NOTHING)
    assert min(least[part] for part in ("cpu", "vram", "queue", "in_flight")) > least["loaded"]
    assert not any(weights_of(STRATEGY_ROUND_ROBIN, NOTHING).values())
    assert weights_of(STRATEGY_UNSPECIFIED, NOTHING) == weights_of(STRATEGY_PREFER_LOADED, NOTHING)
    assert weights_of(STRATEGY_WEIGHTED, ScoreWeights(ram=3))["ram"] == 3


def test_each_part_is_multiplied_by_its_weight() -> None:
    weights = weights_of(STRATEGY_WEIGHTED, ScoreWeights(cpu=2, queue=3))
    assert weighted({"cpu": 0.5, "queue": -2.0, "ram": 1.0}, weights) == {
        "cpu": 1.0,
        "queue": -6.0,
        "ram": 0.0,
    }


def test_a_flapping_endpoint_gets_no_points_for_health() -> None:
    endpoint = Endpoint(flapping={"reason": "changes too often"})
    assert parts(endpoint, loaded(), None, None)["health"] == 0


def test_the_queue_of_a_server_with_one_slot_counts_whole() -> None:
    endpoint = Endpoint()
    endpoint.load.slots, endpoint.load.running, endpoint.load.waiting = 1, 1, 1
    assert parts(endpoint, Model(), None, None)["queue"] == -2.0


def test_an_empty_queue_weighs_zero_and_not_minus_zero() -> None:
    found = weighted(parts(Endpoint(), Model(), None, None), weights_of(STRATEGY_WEIGHTED, NOTHING))
    assert str(found["queue"]) == "0.0"
