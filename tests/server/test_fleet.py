import asyncio
from pathlib import Path

import pytest

from hub.base.clock import ManualClock, SystemClock
from hub.base.settings import PreservationSettings
from hub.base.timestamps import to_ms, to_timestamp
from hub.registry.health.judgement import FleetHealth
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.server.fleet import Expiry, Fleet, mistrust, self_preservation
from llmhub.v1.admin_service_pb2 import (
    PRESERVATION_STATE_CONFIRMED,
    PRESERVATION_STATE_FROZEN,
    PRESERVATION_STATE_TRUSTING,
    CheckEndpointRequest,
    RegisterEndpointRequest,
    SelfPreservation,
)
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Endpoint, Model
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from tests.support.fleet import NOW, registered, saw
from tests.support.hub import running_hub, settings_for
from tests.support.waiting import wait_until


async def test_a_report_is_dropped_at_its_deadline(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = settings_for(tmp_path).model_copy(update={"resources_ttl_s": 0.05})
    fleet = Fleet(settings, clock, first_revision=1_000)
    failed = asyncio.Event()
    await fleet.start(failed.set)
    try:
        report = ReportResourcesRequest(cpu_percent=5)
        fleet.registry.report_resources("node-1", report, clock.now_ms())
        clock.advance(1_000)
        await wait_until(lambda: fleet.registry.resources.get("node-1") is None)
    finally:
        await fleet.stop()
        await fleet.stop()
    assert not failed.is_set()
    assert fleet.why_mistrusted() is None


S = 1_000
IDS = [f"127.0.0.{number}:9" for number in range(1, 9)]


def fleet() -> Registry:
    registry = Registry(
        first_revision=1, health=FleetHealth(preservation=PreservationSettings(confirm_s=60))
    )
    for id_ in IDS:
        registry.put_endpoint(registered(id_))
        registry.observe(id_, saw())
    return registry


def test_a_trusting_hub_reports_the_trusting_state() -> None:
    reported = self_preservation(fleet(), NOW)
    assert reported == SelfPreservation(state=PRESERVATION_STATE_TRUSTING, base_count=8)
    assert mistrust(fleet(), NOW) is None


def test_a_frozen_fleet_is_reported_in_figures_and_in_a_sentence() -> None:
    registry = fleet()
    for id_ in IDS[:5]:
        registry.observe(id_, saw(NOW + 30 * S, error="connection refused"))
    reported = self_preservation(registry, NOW + 31 * S)
    assert reported.state == PRESERVATION_STATE_FROZEN
    assert (reported.failing_count, reported.base_count, reported.freeze_count) == (5, 8, 1)
    assert to_ms(reported.since) == NOW + 30 * S
    assert to_ms(reported.confirmed_at) == NOW + 90 * S
    sentence = mistrust(registry, NOW + 31 * S)
    assert sentence is not None
    assert sentence.startswith("5 of 8 healthy endpoints fail at once")
    confirmed = self_preservation(registry, NOW + 90 * S)
    assert confirmed.state == PRESERVATION_STATE_CONFIRMED
    assert not confirmed.HasField("confirmed_at")
    assert mistrust(registry, NOW + 90 * S) is None


async def test_readiness_server_info_and_log_report_self_preservation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything a probe shows comes in through the hub's own report."""
    settings = {"probes": {"interval_s": 3600}, "limits": {"max_endpoints": 100}}
    async with running_hub(tmp_path, **settings) as hub:
        for id_ in IDS:
            host, _, port = id_.rpartition(":")
            await hub.call("RegisterEndpoint", RegisterEndpointRequest(host=host, port=int(port)))
            # Its own first probe is over then, and the next is an hour away.
            await hub.call("CheckEndpoint", CheckEndpointRequest(id=id_))
        now_ms = SystemClock().now_ms()

        def all_of_them(error: str) -> None:
            for id_ in IDS:
                seen = Observation(checked_at_ms=now_ms, next_check_at_ms=now_ms, error=error)
                hub.hub._fleet.observe(id_, seen)

        all_of_them("")
        assert (await hub.http("GET", "/readyz")).json == {"status": "ready"}
        for _ in range(3):
            all_of_them("no route to host")
        info = await hub.call("GetServerInfo")
        assert info.self_preservation.state == PRESERVATION_STATE_FROZEN
        assert info.healthy_count == 8
        ready = await hub.http("GET", "/readyz")
        assert ready.status == 200
        assert ready.json["self_preservation"].startswith("8 of 8 healthy endpoints fail at once")
        all_of_them("")
        info = await hub.call("GetServerInfo")
        assert info.self_preservation.state == PRESERVATION_STATE_TRUSTING
        assert (await hub.http("GET", "/readyz")).json == {"status": "ready"}


ID = "10.0.0.7:11434"


async def test_an_earlier_deadline_wakes_the_expiry_task():
    clock = SystemClock()
    registry = Registry(first_revision=1)
    expiry = asyncio.create_task(Expiry(registry, clock).run())
    try:
        await asyncio.sleep(0)
        registry.report_resources("a", ReportResourcesRequest(), clock.now_ms())
        await asyncio.sleep(0)
        registry.put_endpoint(Endpoint(id=ID))
        now_ms = clock.now_ms()
        model = Model(name="m", state=MODEL_STATE_LOADED, expires_at=to_timestamp(now_ms + 50))
        registry.observe(ID, saw(now_ms, models=(model,)))
        changed = asyncio.Event()
        registry.on_change(changed.set)
        async with asyncio.timeout(10):
            await changed.wait()
    finally:
        expiry.cancel()
    assert clock.now_ms() >= now_ms + 50
    assert registry.get(ID).message.models[0].state == MODEL_STATE_AVAILABLE
    assert registry.resources.get("a") is not None, "its time is not over"


async def test_a_report_expires_although_its_arrival_wakes_nothing():
    clock = SystemClock()
    registry = Registry(first_revision=1, resources_ttl_ms=50)
    expiry = asyncio.create_task(Expiry(registry, clock).run())
    try:
        await asyncio.sleep(0)
        registry.report_resources("a", ReportResourcesRequest(), clock.now_ms())
        expired = asyncio.Event()
        registry.on_change(expired.set)
        async with asyncio.timeout(10):
            await expired.wait()
    finally:
        expiry.cancel()
    assert registry.resources.get("a") is None
