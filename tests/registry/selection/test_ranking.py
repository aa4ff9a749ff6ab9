"""Judging one endpoint, and updating a ranking."""

import random

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.observation import Load, Observation
from hub.registry.selection.criteria import Criteria, Verdict
from hub.registry.selection.ranking import Limits, Ranking, pick
from hub.registry.state import Registry
from llmhub.v1 import registry_service_pb2 as pb
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, ADMIN_STATE_DRAINING, Endpoint
from llmhub.v1.frame_pb2 import ReportEndpointRequest
from llmhub.v1.model_alias_pb2 import AliasTarget
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest as Request
from llmhub.v1.resources_pb2 import HostResources, VramAccount
from tests.support.fleet import saw
from tests.support.fleet_of import GIB, NOW, add, change_at_random, loaded, on_disk, report


class Fleet:
    """A `FleetView` of a registry, with numbers of leases."""

    def __init__(self) -> None:
        self.registry = Registry(first_revision=1000)
        self.leases: dict[str, int] = {}

    def endpoint(self, id_: str) -> Endpoint | None:
        record = self.registry.get(id_)
        return record.message if record else None

    def resources(self, agent_id: str) -> HostResources | None:
        record = self.registry.resources.get(agent_id)
        return record.message if record else None

    def vram(self, agent_id: str) -> VramAccount:
        return self.registry.vram(agent_id).message

    def in_flight(self, id_: str) -> int:
        return self.leases.get(id_, 0)

    @property
    def ids(self) -> list[str]:
        return [record.message.id for record in self.registry.endpoints()]

    def ranking(self, targets=None, **request: object) -> Ranking:
        made = Ranking(Criteria(Request(**({"model": "m"} | request)), targets), self)
        for id_ in self.ids:
            made.update(id_)
        return made


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def order(ranking: Ranking) -> list[str]:
    return [verdict.endpoint.id for verdict in ranking.best()]


def rejections(ranking: Ranking) -> dict[str, int]:
    return {verdict.endpoint.id: verdict.rejection for verdict in ranking.rejected()}


def test_only_endpoints_with_the_model_are_candidates(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded("m"))
    add(fleet.registry, "b:1", loaded("m:7b"))
    assert order(fleet.ranking()) == ["a:1"]
    assert len(fleet.ranking()) == 1


def test_a_name_without_a_tag_means_the_tag_latest_too(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded("m:latest"))
    add(fleet.registry, "b:1", loaded("m:latest"), loaded("m"))
    best = {each.endpoint.id: each.model.name for each in fleet.ranking().best()}
    assert best == {"a:1": "m:latest", "b:1": "m"}
    assert order(fleet.ranking(model="m:latest")) == ["a:1", "b:1"]
    assert order(fleet.ranking(targets=[AliasTarget(model="m")], model="alias")) == ["a:1", "b:1"]


def test_unknown_facts_rank_after_known_ones_and_are_named(fleet: Fleet) -> None:
    add(fleet.registry, "known:1", on_disk(capabilities=["tools"], capabilities_known=True))
    add(fleet.registry, "lacks:1", loaded(capabilities=["completion"], capabilities_known=True))
    add(fleet.registry, "says-no:1", loaded(absent_capabilities=["tools"]))
    add(fleet.registry, "unknown:1", loaded())
    ranking = fleet.ranking(capabilities=["tools"])
    assert order(ranking) == ["known:1", "unknown:1"]
    *_, last = ranking.best()
    assert last.unknown == ("capability tools",)
    assert "unknown: capability tools" in last.detail
    assert rejections(ranking) == {
        "lacks:1": pb.REJECTION_CAPABILITIES,
        "says-no:1": pb.REJECTION_CAPABILITIES,
    }


def test_an_endpoint_with_a_failed_probe_ranks_below_one_with_an_unknown_fact(fleet: Fleet) -> None:
    add(fleet.registry, "failing:1", loaded(capabilities=["tools"]))
    saw_failure = Observation(checked_at_ms=NOW, next_check_at_ms=NOW + 30_000, error="refused")
    fleet.registry.observe("failing:1", saw_failure)
    add(fleet.registry, "unknown:1", loaded())
    assert order(fleet.ranking(capabilities=["tools"])) == ["unknown:1", "failing:1"]


def test_a_request_may_require_known_facts(fleet: Fleet) -> None:
    add(fleet.registry, "known:1", on_disk(capabilities=["tools"], context_length=8192))
    add(fleet.registry, "unknown:1", loaded(capabilities=["tools"]))
    asked = {"capabilities": ["tools"], "min_context_length": 4096}
    assert order(fleet.ranking(**asked)) == ["known:1", "unknown:1"]
    certain = fleet.ranking(**asked, require_known_facts=True)
    assert order(certain) == ["known:1"]
    assert rejections(certain) == {"unknown:1": pb.REJECTION_UNKNOWN}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"labels": {"zone": "x"}}, pb.REJECTION_LABELS),
        ({"family": "qwen"}, pb.REJECTION_MODEL),
        ({"digest": "sha256:2"}, pb.REJECTION_MODEL),
        ({"quantization": "Q8_0"}, pb.REJECTION_MODEL),
        ({"min_context_length": 8193}, pb.REJECTION_MODEL),
        ({"capabilities": ["vision"]}, pb.REJECTION_CAPABILITIES),
        ({"capabilities": ["tools", "vision"]}, pb.REJECTION_CAPABILITIES),
        ({"min_free_vram_bytes": 5 * GIB}, pb.REJECTION_VRAM),
        ({"labels": {"zone": "y"}}, None),
        ({"family": "LLAMA", "quantization": "q4_k_m"}, None),
        ({"digest": "sha256:1", "min_context_length": 8192}, None),
        ({"capabilities": ["tools"]}, None),
        ({"min_free_vram_bytes": 4 * GIB}, None),
    ],
)
def test_an_endpoint_that_lacks_a_requirement_is_rejected(fleet: Fleet, request_, reason) -> None:
    model = loaded(
        family="llama",
        digest="sha256:1",
        quantization="Q4_K_M",
        context_length=8192,
        capabilities=["tools", "completion"],
        capabilities_known=True,
    )
    add(fleet.registry, "a:1", model, agent_id="n", labels={"zone": "y"})
    report(fleet.registry, "n", vram_used_bytes=4 * GIB, vram_total_bytes=8 * GIB)
    assert rejections(fleet.ranking(**request_)) == ({"a:1": reason} if reason else {})


def test_unreported_vram_is_unknown(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded())
    (only,) = fleet.ranking(min_free_vram_bytes=1).best()
    assert only.unknown == ("free_vram",)
    certain = fleet.ranking(min_free_vram_bytes=1, require_known_facts=True)
    assert rejections(certain) == {"a:1": pb.REJECTION_UNKNOWN}


def test_memory_that_a_neighbour_claimed_since_the_report_is_not_free(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded(), agent_id="n")
    add(fleet.registry, "b:1", agent_id="n")
    report(fleet.registry, "n", vram_used_bytes=2 * GIB, vram_total_bytes=8 * GIB)
    asked = {"min_free_vram_bytes": 4 * GIB}
    (before,) = fleet.ranking(**asked).best()
    add(fleet.registry, "b:1", loaded("big", vram_bytes=6 * GIB), agent_id="n")
    (rejected,) = fleet.ranking(**asked).rejected()
    assert rejected.rejection == pb.REJECTION_VRAM
    assert rejected.detail == (
        f"{2 * GIB} of {8 * GIB} bytes of VRAM are free: "
        f"{2 * GIB} are measured in use, {6 * GIB} claimed by loaded models"
    )
    (after,) = fleet.ranking().best()
    assert after.score == pytest.approx(before.score - 0.5 * (6 - 2) / 8)


def test_endpoints_in_these_states_are_not_selected(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded(), admin_state=ADMIN_STATE_DISABLED)
    add(fleet.registry, "b:1", loaded(), admin_state=ADMIN_STATE_DRAINING)
    add(fleet.registry, "c:1", loaded(), error="connection refused")
    ranking = fleet.ranking()
    assert rejections(ranking) == {
        "a:1": pb.REJECTION_DISABLED,
        "b:1": pb.REJECTION_DRAINING,
        "c:1": pb.REJECTION_NOT_HEALTHY,
    }
    assert [verdict.detail for verdict in ranking.rejected()][2] == "unhealthy: connection refused"
    assert order(ranking) == []


def test_an_alias_means_any_of_its_targets(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded("llama3:8b"))
    add(fleet.registry, "b:1", loaded("meta/Llama-3-8B", family="llama", context_length=4096))
    add(fleet.registry, "c:1", loaded("x", family="Llama", context_length=8192))
    targets = [AliasTarget(model="llama3:8b"), AliasTarget(family="llama", min_context_length=8000)]
    assert sorted(order(fleet.ranking(targets))) == ["a:1", "c:1"]
    models = {verdict.endpoint.id: verdict.model.name for verdict in fleet.ranking(targets).best()}
    assert models == {"a:1": "llama3:8b", "c:1": "x"}


def test_an_unknown_fact_of_an_alias_ranks_after_a_known_one(fleet: Fleet) -> None:
    add(fleet.registry, "unknown:1", loaded("m"))
    add(fleet.registry, "known:1", on_disk("m", context_length=8192))
    add(fleet.registry, "short:1", loaded("m", context_length=10))
    targets = [AliasTarget(model="m", min_context_length=8000)]
    assert order(fleet.ranking(targets)) == ["known:1", "unknown:1"]
    assert [verdict.unknown for verdict in fleet.ranking(targets).best()] == [
        (),
        ("context_length",),
    ]
    certain = fleet.ranking(targets, require_known_facts=True)
    assert order(certain) == ["known:1"]
    # Any target is enough, so the one whose facts are all known counts.
    anyhow = [*targets, AliasTarget(model="m")]
    assert order(fleet.ranking(anyhow, require_known_facts=True))[0] in {"unknown:1", "short:1"}


def test_a_missing_report_does_not_count_as_stale(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded())
    request = Request(model="m", min_free_vram_bytes=1, max_fact_age=Duration(seconds=60))
    ranking = fleet.ranking(min_free_vram_bytes=1)
    (verdict,) = pick(ranking, Limits.of(request), 1, NOW)
    assert verdict.unknown == ("free_vram",)


def test_an_ambiguous_name_means_the_model_in_memory(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", on_disk("l:1"), loaded("l:2"))
    targets = [AliasTarget(model="l:1"), AliasTarget(model="l:2")]
    (verdict,) = fleet.ranking(targets).best()
    assert verdict.model.name == "l:2"


def test_a_warm_endpoint_is_preferred_until_too_much_is_in_flight(fleet: Fleet) -> None:
    add(fleet.registry, "cold:1", on_disk())
    add(fleet.registry, "warm:1", loaded())
    assert order(fleet.ranking()) == ["warm:1", "cold:1"]
    fleet.leases["warm:1"] = 3
    assert order(fleet.ranking()) == ["warm:1", "cold:1"]
    fleet.leases["warm:1"] = 5
    assert order(fleet.ranking()) == ["cold:1", "warm:1"]
    assert order(fleet.ranking(strategy=pb.STRATEGY_LEAST_LOADED)) == ["cold:1", "warm:1"]


def test_the_reported_load_of_servers_and_hosts_counts(fleet: Fleet) -> None:
    add(fleet.registry, "busy:1", loaded(), load=Load(running=4, waiting=2, slots=2))
    add(fleet.registry, "idle:1", loaded(), load=Load(running=0, waiting=0, slots=2))
    assert order(fleet.ranking()) == ["idle:1", "busy:1"]
    add(fleet.registry, "hot:1", loaded(), agent_id="h", load=Load(slots=2))
    add(fleet.registry, "cool:1", loaded(), agent_id="c", load=Load(slots=2))
    report(fleet.registry, "h", cpu_percent=90)
    report(fleet.registry, "c", cpu_percent=10)
    assert order(fleet.ranking(strategy=pb.STRATEGY_LEAST_LOADED)) == [
        "cool:1",
        "idle:1",
        "hot:1",
        "busy:1",
    ]


def test_latency_and_own_weights(fleet: Fleet) -> None:
    add(fleet.registry, "far:1", loaded(), latency_ms=200)
    add(fleet.registry, "near:1", on_disk(), latency_ms=2)
    assert order(fleet.ranking(strategy=pb.STRATEGY_LEAST_LATENCY)) == ["near:1", "far:1"]
    own = {"strategy": pb.STRATEGY_WEIGHTED, "weights": {"loaded": 1}}
    assert order(fleet.ranking(**own)) == ["far:1", "near:1"]


def test_equals_take_turns(fleet: Fleet) -> None:
    for id_ in ("a:1", "b:1", "c:1"):
        add(fleet.registry, id_, loaded())
    add(fleet.registry, "d:1", on_disk())
    ranking = fleet.ranking()
    turns = []
    for _ in range(6):
        (verdict,) = pick(ranking, Limits(), 1, NOW)
        turns.append(verdict.endpoint.id)
        ranking.picked(verdict.endpoint.id)
    assert turns == ["a:1", "b:1", "c:1"] * 2
    in_turn = fleet.ranking(strategy=pb.STRATEGY_ROUND_ROBIN)
    in_turn.picked("a:1")
    assert order(in_turn) == ["b:1", "c:1", "d:1", "a:1"]


def test_no_part_of_a_score_is_minus_zero(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded(), load=Load(running=0, waiting=0, slots=4))
    ranking = fleet.ranking()
    [best] = ranking.best()
    found = ranking.criteria.explain(best, fleet)
    assert found["in_flight"] == found["queue"] == 0
    assert [name for name, part in found.items() if str(part) == "-0.0"] == []


def test_the_parts_add_up_to_the_score(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded(), agent_id="n", load=Load(running=1, slots=2))
    report(fleet.registry, "n", cpu_percent=30, vram_used_bytes=1, vram_total_bytes=4)
    fleet.leases["a:1"] = 3
    for strategy in pb.Strategy.values():
        ranking = fleet.ranking(strategy=strategy, weights={"queue": 2, "in_flight": 1, "cpu": 1})
        (verdict,) = ranking.best()
        explained = ranking.criteria.explain(verdict, fleet)
        assert sum(explained.values()) == pytest.approx(verdict.score)
        assert set(explained) == set(pb.ScoreWeights.DESCRIPTOR.fields_by_name)


def test_momentary_requirements(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded(), checked_ms=NOW - 1000)
    add(fleet.registry, "b:1", loaded(), checked_ms=NOW - 50)
    add(fleet.registry, "c:1", loaded(), checked_ms=NOW)
    fleet.leases["c:1"] = 2
    ranking = fleet.ranking()

    def chosen(**request: object) -> list[str]:
        limits = Limits.of(Request(model="m", **request))
        return sorted(verdict.endpoint.id for verdict in pick(ranking, limits, 10, NOW))

    assert chosen() == ["a:1", "b:1", "c:1"]
    assert chosen(max_fact_age=Duration(nanos=50_000_000)) == ["b:1", "c:1"]
    assert chosen(max_fact_age=Duration(nanos=1)) == ["c:1"]
    assert chosen(max_in_flight=2) == ["a:1", "b:1"]
    assert chosen(exclude_ids=["a:1", "x:1"]) == ["b:1", "c:1"]
    assert [verdict.endpoint.id for verdict in pick(ranking, Limits(), 2, NOW)] == ["a:1", "b:1"]


def test_the_age_of_the_report_counts_if_vram_is_required(fleet: Fleet) -> None:
    add(fleet.registry, "a:1", loaded(), agent_id="n")
    report(fleet.registry, "n", NOW - 2000, vram_used_bytes=0, vram_total_bytes=8)
    reported: list[tuple[str, int]] = []
    for request in ({}, {"min_free_vram_bytes": 1}):
        limits = Limits.of(Request(model="m", max_fact_age=Duration(seconds=1), **request))
        pick(
            fleet.ranking(**request),
            limits,
            1,
            NOW,
            lambda verdict, why, _: reported.append((verdict.endpoint.id, why)),
        )
    assert reported == [("a:1", pb.REJECTION_STALE)]


def test_an_updated_ranking_equals_a_new_one(fleet: Fleet) -> None:
    rng = random.Random(7)
    registry, followed = fleet.registry, fleet.ranking()
    ids = [f"h{i}:1" for i in range(12)]
    for _ in range(600):
        id_, seen = rng.choice(ids), registry.revision
        match rng.randrange(5):
            case 0:
                registry.remove_endpoint(id_)
                followed.update(id_)
            case 1:
                fleet.leases[id_] = rng.randrange(4)
                followed.recount(id_)
            case 2:
                report(registry, f"n{id_}", cpu_percent=rng.randrange(100))
                followed.update(id_)
            case _:
                models = rng.choice([(), (loaded(),), (on_disk(),), (loaded("other"),)])
                error = rng.choice(["", "", "down"])
                latency = rng.choice([1.0, 40.0])
                add(
                    registry,
                    id_,
                    *models,
                    agent_id=f"n{id_}",
                    error=error,
                    latency_ms=latency,
                )
                followed.update(id_)
        # A success may make another endpoint unhealthy that waited for it.
        for event in registry.ring.after(seen, 100):
            followed.update(event.id)
        fresh = fleet.ranking()
        assert order(followed) == order(fresh)
        assert rejections(followed) == rejections(fresh)
        assert len(followed) == len(fresh)


STRATEGIES = st.sampled_from(
    [
        pb.STRATEGY_LEAST_LOADED,
        pb.STRATEGY_PREFER_LOADED,
        pb.STRATEGY_ROUND_ROBIN,
        pb.STRATEGY_LEAST_LATENCY,
        pb.STRATEGY_WEIGHTED,
    ]
)


@given(STRATEGIES, st.randoms(use_true_random=False), st.integers(1, 60))
def test_an_endpoint_whose_last_probe_failed_never_ranks_above_one_whose_succeeded(
    strategy: int, rng: random.Random, steps: int
) -> None:
    fleet = Fleet()
    weights = pb.ScoreWeights(health=rng.random() * 4, loaded=4, latency=rng.random())
    request: dict[str, object] = {"strategy": strategy}
    if strategy == pb.STRATEGY_WEIGHTED:
        request["weights"] = weights
    ranking = fleet.ranking(**request)
    for _ in range(steps):
        change_at_random(fleet.registry, rng)
        for id_ in fleet.ids:
            if rng.random() < 0.3:
                seen = saw(error="connection refused" if rng.random() < 0.5 else "")
                fleet.registry.observe(id_, seen)
        for id_ in {*fleet.ids, *ranking.ids()}:
            fleet.leases[id_] = rng.randrange(3)
            ranking.update(id_)
            if rng.random() < 0.3:
                ranking.picked(id_)
        failing = [verdict.endpoint.last_error != "" for verdict in ranking.best()]
        assert failing == sorted(failing)


def test_a_dead_endpoint_is_rejected_although_its_status_is_still_healthy(fleet: Fleet) -> None:
    for n in range(5):
        add(fleet.registry, f"{n}:1", loaded("m"), agent_id="node")
        fleet.registry.report_view(
            f"{n}:1", "node", ReportEndpointRequest(url="http://a:1", reachable=False), NOW
        )
    # The fifth failure is more than half of the fleet, so self-preservation keeps it healthy.
    for n in range(5):
        fleet.registry.observe(f"{n}:1", saw(error="connection refused"))
    assert fleet.registry.healthy_count == 1
    assert order(fleet.ranking()) == []
    assert set(rejections(fleet.ranking()).values()) == {pb.REJECTION_NOT_HEALTHY}


def verdict(fleet: Fleet, id_: str, targets=None, **request: object) -> Verdict:
    endpoint = fleet.endpoint(id_)
    assert endpoint is not None
    found = Criteria(Request(**({"model": "m"} | request)), targets).judge(endpoint, fleet)
    assert found is not None
    return found


def test_an_objection_is_explained_in_words(fleet: Fleet) -> None:
    add(fleet.registry, "off:1", loaded(), admin_state=ADMIN_STATE_DISABLED)
    add(fleet.registry, "down:1", loaded(), error="e" * 300)
    add(fleet.registry, "ok:1", loaded(family="llama", capabilities_known=True))
    fleet.registry.put_endpoint(Endpoint(id="new:1"))
    assert verdict(fleet, "off:1").detail == "disabled by an admin"
    assert verdict(fleet, "down:1").detail == f"unhealthy: {'e' * 200}"
    assert verdict(fleet, "ok:1", labels={"a": "b"}).detail == "lacks a requested label"
    other = "the model's digest, family, quantization or context differs"
    assert verdict(fleet, "ok:1", family="qwen").detail == other
    lacks = "the model lacks a requested capability"
    assert verdict(fleet, "ok:1", capabilities=["tools"]).detail == lacks
    unknown = {"digest": "d", "quantization": "q"}
    assert verdict(fleet, "ok:1", **unknown, require_known_facts=True).detail == (
        "unknown: digest, quantization"
    )
    assert verdict(fleet, "ok:1", **unknown).detail == (
        "ranks after those that are known to fit; unknown: digest, quantization"
    )
    assert verdict(fleet, "ok:1").detail == ""


def test_a_failing_endpoint_with_an_unknown_fact_says_both(fleet: Fleet) -> None:
    add(fleet.registry, "ok:1", loaded())
    failed = Observation(checked_at_ms=NOW, next_check_at_ms=NOW + 1, error="e" * 300)
    fleet.registry.observe("ok:1", failed)
    assert verdict(fleet, "ok:1", digest="d").detail == (
        f"ranks last because its last probe failed: {'e' * 200}; "
        "ranks after those that are known to fit; unknown: digest"
    )


def test_a_rejected_endpoint_keeps_its_leases(fleet: Fleet) -> None:
    add(fleet.registry, "off:1", loaded(), admin_state=ADMIN_STATE_DISABLED)
    fleet.leases["off:1"] = 3
    assert verdict(fleet, "off:1").in_flight == 3


def test_each_of_an_endpoints_models_is_tried(fleet: Fleet) -> None:
    # The alias means all of them; the last one alone fits.
    wrong, lacking = on_disk("a", family="qwen"), on_disk("b", capabilities_known=True)
    right = on_disk("c", capabilities=["tools"], capabilities_known=True)
    models = [AliasTarget(model=name) for name in "abc"]
    add(fleet.registry, "x:1", wrong, lacking, right)
    found = verdict(fleet, "x:1", models, family="llama", capabilities=["tools"])
    assert (found.model.name, found.rejection) == ("c", pb.REJECTION_UNSPECIFIED)
    assert found.unknown == ("family",)


def test_the_model_that_is_shown_is_the_one_in_memory(fleet: Fleet) -> None:
    add(fleet.registry, "x:1", on_disk("a"), loaded("b"), on_disk("c"))
    models = [AliasTarget(model=name) for name in "abc"]
    assert verdict(fleet, "x:1", models).model.name == "b"
    # Also if none of them fits.
    assert verdict(fleet, "x:1", models, min_context_length=1).model.name == "b"
    known = [
        model(name, digest=digest)
        for model, name, digest in ((on_disk, "a", "other"), (loaded, "b", "other"))
    ]
    add(fleet.registry, "y:1", *known)
    rejected = verdict(fleet, "y:1", models, digest="d")
    assert (rejected.model.name, rejected.rejection) == ("b", pb.REJECTION_MODEL)


def test_known_facts_count_more_than_memory(fleet: Fleet) -> None:
    add(fleet.registry, "x:1", loaded("a"), on_disk("b", digest="d", capabilities=["tools"]))
    models = [AliasTarget(model=name) for name in "ab"]
    found = verdict(fleet, "x:1", models, digest="d", capabilities=["tools"])
    assert (found.model.name, found.unknown) == ("b", ())


def test_an_alias_takes_the_target_that_a_model_meets_best(fleet: Fleet) -> None:
    add(fleet.registry, "x:1", loaded("a", family="llama"))
    targets = [
        AliasTarget(model="a", family="qwen"),
        AliasTarget(model="a", digest="d"),
        AliasTarget(model="a", family="llama"),
    ]
    assert verdict(fleet, "x:1", targets).unknown == ()


def test_more_slots_make_a_lease_weigh_less(fleet: Fleet) -> None:
    add(fleet.registry, "one:1", loaded(), load=Load(slots=1))
    add(fleet.registry, "four:1", loaded(), load=Load(slots=4))
    one, four = (verdict(fleet, id_).lease_weight for id_ in ("one:1", "four:1"))
    assert one == 4 * four > 0


def test_the_age_of_facts_is_counted_in_whole_milliseconds_rounded_up(fleet: Fleet) -> None:
    age = Duration(seconds=2, nanos=1_000_001)
    assert Limits.of(Request(max_fact_age=age)).max_fact_age_ms == 2002
    assert Limits.of(Request(max_fact_age=Duration(nanos=999_999))).max_fact_age_ms == 1
    assert Limits.of(Request()).max_fact_age_ms == 0
