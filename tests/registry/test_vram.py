from hub.registry.host_report import ResourcesRecord
from hub.registry.vram import NO_CLAIM, Claim, VramLedger, account, claim_of
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    Endpoint,
    Model,
    SidecarView,
)
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.resources_pb2 import HostResources, VramAccount

GIB = 1 << 30
SEVEN = Model(name="a", state=MODEL_STATE_LOADED, vram_bytes=7 * GIB)
UNTOLD = Model(name="b", state=MODEL_STATE_LOADED)
ON_DISK = Model(name="c", state=MODEL_STATE_AVAILABLE, vram_bytes=9 * GIB)


def endpoint(id_: str = "gpu-1:11434", agent_id: str = "gpu-1", **fields: object) -> Endpoint:
    given = {"status": STATUS_HEALTHY, "models": [SEVEN, UNTOLD, ON_DISK]} | fields
    return Endpoint(id=id_, agent_id=agent_id, **given)


def host(used: int | None = None, total: int | None = None, revision: int = 5) -> ResourcesRecord:
    report = ReportResourcesRequest(vram_used_bytes=used, vram_total_bytes=total)
    return ResourcesRecord("gpu-1", report, revision, 1_000)


def test_only_loaded_models_claim_and_unknown_sizes_are_counted() -> None:
    assert claim_of(endpoint()) == Claim(7 * GIB, 1)
    assert claim_of(endpoint(models=[ON_DISK])) is NO_CLAIM


def test_an_unreachable_server_claims_nothing() -> None:
    assert claim_of(endpoint(status=STATUS_UNHEALTHY)) is NO_CLAIM
    seen = SidecarView(reachable=True)
    assert claim_of(endpoint(status=STATUS_UNHEALTHY, sidecar_view=seen)) == Claim(7 * GIB, 1)


def test_memory_in_use_that_is_not_claimed_is_unattributed() -> None:
    reported = HostResources(vram_used_bytes=10 * GIB, vram_total_bytes=24 * GIB)
    assert account("gpu-1", Claim(7 * GIB, 1), reported) == VramAccount(
        agent_id="gpu-1",
        total_bytes=24 * GIB,
        measured_bytes=10 * GIB,
        claimed_bytes=7 * GIB,
        untold_models=1,
        unattributed_bytes=3 * GIB,
        free_bytes=14 * GIB,
    )


def test_a_claim_beyond_the_measurement_reduces_free_memory_but_never_below_zero() -> None:
    reported = HostResources(vram_used_bytes=1 * GIB, vram_total_bytes=8 * GIB)
    made = account("gpu-1", Claim(7 * GIB, 0), reported)
    assert (made.unattributed_bytes, made.free_bytes) == (0, 1 * GIB)
    assert account("gpu-1", Claim(9 * GIB, 0), reported).free_bytes == 0


def test_free_memory_is_unknown_if_the_host_does_not_measure() -> None:
    for reported in (None, HostResources(), HostResources(vram_total_bytes=24 * GIB)):
        made = account("gpu-1", Claim(7 * GIB, 0), reported)
        assert made.claimed_bytes == 7 * GIB
        assert not made.HasField("free_bytes")
        assert not made.HasField("unattributed_bytes")


def test_the_ledger_adds_up_a_host_and_follows_its_endpoints() -> None:
    ledger = VramLedger()
    first, second = endpoint(), endpoint("gpu-1:8000", models=[SEVEN])
    ledger.change(None, first)
    ledger.change(None, second)
    ledger.change(None, endpoint("else:1", agent_id=""))
    assert list(ledger.agents()) == ["gpu-1"]
    assert ledger.account("gpu-1", None).message.claimed_bytes == 14 * GIB
    moved = endpoint("gpu-1:8000", agent_id="gpu-2", models=[SEVEN])
    ledger.change(second, moved)
    assert ledger.account("gpu-1", None).message.claimed_bytes == 7 * GIB
    assert ledger.account("gpu-2", None).message.claimed_bytes == 7 * GIB
    ledger.change(first, None)
    ledger.change(moved, None)
    assert list(ledger.agents()) == []
    assert ledger.account("gpu-1", None).message == VramAccount(agent_id="gpu-1")


def test_a_change_returns_the_hosts_whose_claims_changed() -> None:
    ledger = VramLedger()
    one, moved, idle = endpoint(), endpoint(agent_id="gpu-2"), endpoint(models=[])
    assert ledger.change(None, one) == ["gpu-1"]
    assert ledger.change(one, endpoint(name="renamed")) == []
    assert ledger.change(one, endpoint(models=[SEVEN, UNTOLD])) == []
    assert ledger.change(one, moved) == ["gpu-1", "gpu-2"]
    assert ledger.claim("gpu-2") == Claim(7 * GIB, 1)
    assert ledger.change(moved, idle) == ["gpu-2"]
    assert ledger.change(idle, None) == []
    assert ledger.change(None, endpoint(agent_id="")) == []
    assert ledger.claim("gpu-2") == NO_CLAIM


def test_an_account_is_cached_while_claim_and_report_are_unchanged() -> None:
    ledger = VramLedger()
    ledger.change(None, endpoint())
    report = host(10 * GIB, 24 * GIB)
    made = ledger.account("gpu-1", report)
    ledger.change(endpoint(), endpoint())
    assert ledger.account("gpu-1", report) is made
    newer = host(11 * GIB, 24 * GIB)
    assert ledger.account("gpu-1", newer).message.measured_bytes == 11 * GIB
    ledger.change(endpoint(), endpoint(models=[]))
    assert ledger.account("gpu-1", newer).message.unattributed_bytes == 11 * GIB
    ledger.drop("gpu-1")
    ledger.drop("gpu-1")
    assert ledger.account("gpu-1", None).message == VramAccount(agent_id="gpu-1")
