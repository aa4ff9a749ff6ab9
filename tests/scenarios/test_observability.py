"""The metrics and the log of a running hub."""

import asyncio
import logging

import pytest
from structlog.testing import capture_logs

from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.hub import REGISTRY_PATH, failure_of, running_hub
from tests.support.scrape import scrape, value
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")


@pytest.fixture
async def hub(tmp_path):
    async with running_hub(tmp_path) as running:
        yield running


async def test_requests_are_counted_by_transport_and_outcome(hub):
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="localhost"))
    await failure_of(hub.call("GetEndpoint", token="wrong"))
    await hub.http("GET", f"{REGISTRY_PATH}/none:1")
    await hub.http("GET", "/no/such/page")
    grpc = "llmhub_grpc_request_duration_seconds_count"
    http = "llmhub_http_request_duration_seconds_count"

    async def is_counted() -> bool:
        refused = value(await scrape(hub), grpc, rpc="GetEndpoint", code="UNAUTHENTICATED")
        return refused == 1

    # grpcio sends an error before the call's record ends.
    await wait_until(is_counted)
    seen = await scrape(hub)
    assert value(seen, grpc, rpc="RegisterEndpoint", code="OK") == 1
    assert value(seen, http, method="GET", route=f"{REGISTRY_PATH}/{{id}}", status="404") == 1
    assert value(seen, http, method="GET", route="unmatched", status="404") == 1
    errors = "llmhub_errors_total"
    assert value(seen, errors, transport="grpc", reason="INVALID_TOKEN") == 1
    assert value(seen, errors, transport="http", reason="ENDPOINT_NOT_FOUND") == 1
    assert value(seen, "llmhub_store_commit_duration_seconds_count") >= 2
    assert value(seen, "llmhub_store_commit_changes_sum") >= 2


async def test_sidecar_frames_are_counted_by_type(hub):
    async with hub.sidecar("node-1", ollama_url="http://127.0.0.1:9") as socket:
        await socket.ask({"type": "ping"})
        await socket.ask({"type": "nope"})
        await socket.send({"type": "resource_report", "cpu_percent": 1})
        await socket.ask({"type": "ping"})
        seen = await scrape(hub)
    frames = "llmhub_sidecar_frames_total"
    assert value(seen, frames, transport="ws", type="ping") == 2
    assert value(seen, frames, transport="ws", type="resource_report") == 1
    waits = "llmhub_sidecar_frame_wait_seconds_count"
    assert value(seen, waits, transport="ws", type="identify") == 1
    assert value(seen, "llmhub_sidecar_violations_total", transport="ws") == 1
    assert value(seen, "llmhub_errors_total", transport="ws", reason="VALIDATION_FAILED") == 1
    assert value(seen, "llmhub_sidecars", transport="ws") == 1
    assert value(seen, "llmhub_websocket_connections") == 1
    assert value(seen, "llmhub_hosts_reporting") == 1
    kind = {"status": "unknown", "backend": "ollama", "admin_state": "enabled"}
    unhealthy = kind | {"status": "unhealthy"}
    assert value(seen, "llmhub_endpoints", **kind) + value(seen, "llmhub_endpoints", **unhealthy)


async def test_calls_that_a_rate_limit_refuses_are_counted(tmp_path):
    limits = {"sidecar": {"light": 1, "normal": 60, "heavy": 10}}
    async with running_hub(tmp_path, rate_limits=limits) as hub, hub.sidecar("node-1") as socket:
        await socket.send({"type": "ping"})
        await socket.send({"type": "ping"})
        while (await socket.receive())["type"] != "rate_limited":
            pass
        seen = await scrape(hub)
    assert value(seen, "llmhub_rate_limited_total", role="sidecar", tier="light") == 1


async def test_connections_beyond_the_limit_are_counted(tmp_path):
    async with running_hub(tmp_path, ws={"max_connections": 1}) as hub, hub.sidecar("node-1"):
        with pytest.raises(Exception, match="503"):
            async with hub.socket():
                pass
        seen = await scrape(hub)
    assert value(seen, "llmhub_websocket_turned_away_total") == 1
    assert value(seen, "llmhub_websocket_connections_max") == 1


async def test_metrics_require_a_reader_token(hub):
    assert await scrape(hub, await hub.token(ROLE_READER))
    assert (await hub.http("GET", "/metrics", token="")).status == 401
    sidecar = await hub.token(ROLE_SIDECAR, "node-1")
    assert (await hub.http("GET", "/metrics", token=sidecar)).status == 403


async def test_metrics_can_be_public(tmp_path):
    async with running_hub(tmp_path, http={"public_metrics": True}) as hub:
        seen = await scrape(hub, "")
    [build] = seen["llmhub_build_info"].samples
    assert build.labels["store"] == "sqlite"


async def test_concurrent_scrapes_agree(hub):
    for host in ("a", "b", "c"):
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host=host))
    scrapes = await asyncio.gather(*(scrape(hub) for _ in range(5)))
    totals = {sum(sample.value for sample in each["llmhub_endpoints"].samples) for each in scrapes}
    assert totals == {3}


async def test_the_log_has_connects_and_disconnects_with_their_reason(hub):
    with capture_logs() as events:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with hub.sidecar("node-1", token=token) as first:
            async with hub.sidecar("node-1", token=token) as second:
                assert await first.closed() == (4001, "replaced")
                await second.ask({"type": "ping"})
            await wait_until(lambda: len(hub.hub._fleet.presence) == 0)
    said = [each for each in events if each["event"].startswith("sidecar")]
    assert [each["event"] for each in said] == [
        "sidecar identified",
        "sidecar identified",
        "sidecar replaced",
        "sidecar left",
    ]
    assert {each["agent_id"] for each in said} == {"node-1"}
    assert (said[2]["reason"], said[3]["reason"]) == ("replaced", "by itself")
    assert (said[3]["frames"], said[3]["transport"]) == (2, "ws")
    assert token not in str(events)


async def test_the_log_has_one_event_for_each_change_and_none_for_reads(hub, caplog):
    caplog.set_level(logging.DEBUG, "hub.audit")
    with capture_logs() as events:
        await hub.call(
            "RegisterEndpoint", RegisterEndpointRequest(host="localhost", api_key="sk-hidden")
        )
        await hub.http("DELETE", f"{REGISTRY_PATH}/localhost:11434")
        await hub.snapshot()
        async with hub.sidecar("node-1") as socket:
            for _ in range(3):
                await socket.ask({"type": "ping"})
        await scrape(hub)
    changes = [(each["event"], each["door"], each.get("id")) for each in events if "by" in each]
    assert changes[:2] == [
        ("endpoint registered", "grpc", "localhost:11434"),
        ("endpoint removed", "http", "localhost:11434"),
    ]
    assert [event for event, *_ in changes[2:]] == ["token created"]
    assert len({each["by"] for each in events if "by" in each}) == 1
    assert "sk-hidden" not in str(events)
    assert {each["event"] for each in events} <= {
        *("endpoint registered", "endpoint removed", "token created"),
        *("sidecar identified", "sidecar left"),
    }
