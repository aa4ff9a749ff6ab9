"""endpoint_report: a sidecar registers a server of its host and tells what it sees of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hub.base.clock import ManualClock
from hub.base.timestamps import to_ms
from hub.contract.errors import EndpointOwned, RateLimited, TargetForbidden, ValidationFailed
from hub.contract.rpcs import Tier
from hub.registry.observation import Observation
from hub.service.presence import Close, Sidecar
from llmhub.v1.endpoint_pb2 import (
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    FAULT_UNREACHABLE,
    SOURCE_AUTO,
    SOURCE_MANUAL,
    STATUS_UNHEALTHY,
    Model,
)
from llmhub.v1.frame_pb2 import (
    IdentifyRequest,
    ReportEndpointRequest,
    ReportEndpointResponse,
    ReportOllamaRequest,
    ReportResourcesRequest,
)
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.core import Core, running_core
from tests.support.hub import failure_of, running_hub

ID = "10.0.0.9:8000"


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def report(**fields: object) -> ReportEndpointRequest:
    return ReportEndpointRequest(**({"url": "http://localhost:8000"} | fields))


def fail(core: Core) -> None:
    now_ms = core.clock.now_ms()
    for _ in range(2):
        core.registry.observe(
            ID,
            Observation(
                checked_at_ms=now_ms, next_check_at_ms=now_ms, error="no connection within 3 s"
            ),
        )


async def test_a_report_registers_the_endpoint_and_shows_the_view(core: Core) -> None:
    reported = report(
        backend=BACKEND_VLLM, reachable=True, version="0.11.0", models=[Model(name="qwen3")]
    )
    reply = await core.as_agent("node-1", "ReportEndpoint", reported)
    assert reply == ReportEndpointResponse(status="registered", endpoint_id=ID)
    endpoint = core.endpoint(ID)
    assert (endpoint.source, endpoint.agent_id, endpoint.name) == (SOURCE_AUTO, "node-1", ID)
    assert (endpoint.backend, endpoint.backend_detected) == (BACKEND_VLLM, True)
    assert [model.name for model in endpoint.models] == ["qwen3"]
    view = endpoint.sidecar_view
    assert (view.agent_id, view.reachable, view.version) == ("node-1", True, "0.11.0")
    assert to_ms(view.reported_at) == core.clock.now_ms()


async def test_a_server_that_only_its_sidecar_reaches_is_unreachable(core: Core) -> None:
    await core.as_agent("node-1", "ReportEndpoint", report(reachable=True))
    fail(core)
    endpoint = core.endpoint(ID)
    assert (endpoint.status, endpoint.fault) == (STATUS_UNHEALTHY, FAULT_UNREACHABLE)
    assert endpoint.last_error == "no connection within 3 s"


async def test_a_report_without_a_view_only_registers(core: Core) -> None:
    await core.as_agent("node-1", "ReportEndpoint", report(name="gpu box"))
    endpoint = core.endpoint(ID)
    assert endpoint.name == "gpu box"
    assert not endpoint.HasField("sidecar_view")
    assert endpoint.backend == BACKEND_UNSPECIFIED


async def test_a_repeated_report_writes_nothing_to_disk(core: Core) -> None:
    await core.as_agent("node-1", "ReportEndpoint", report(backend=BACKEND_VLLM, reachable=True))
    written = core.store.commits
    await core.as_agent("node-1", "ReportEndpoint", report(backend=BACKEND_VLLM, reachable=False))
    assert core.store.commits == written
    assert not core.endpoint(ID).sidecar_view.reachable


async def test_only_a_report_that_registers_is_charged(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_minute={Tier.HEAVY: 2, Tier.NORMAL: 60}) as core:
        for port in (1, 2):
            await core.as_agent("node-1", "ReportEndpoint", report(url=f"localhost:{port}"))
        with pytest.raises(RateLimited) as refused:
            await core.as_agent("node-1", "ReportEndpoint", report(url="localhost:3"))
        assert (refused.value.tier, refused.value.retry_after_ms) == ("heavy", 30_000)
        for _ in range(20):
            await core.as_agent("node-1", "ReportEndpoint", report(url="localhost:1"))
        assert len(core.ids()) == 2
        core.clock.advance(30_000)
        await core.as_agent("node-1", "ReportEndpoint", report(url="localhost:3"))
        assert len(core.ids()) == 3


async def test_admin_endpoint_keeps_its_owner_and_is_reported_by_its_sidecar(
    core: Core,
) -> None:
    await core.as_agent("node-1", "ReportEndpoint", report())
    endpoint = core.endpoint(ID)
    endpoint = type(endpoint).FromString(endpoint.SerializeToString())
    endpoint.source = SOURCE_MANUAL
    core.registry.put_endpoint(endpoint)
    await core.as_agent("node-1", "ReportEndpoint", report(reachable=True, name="mine"))
    assert core.endpoint(ID).name == ID
    assert core.endpoint(ID).sidecar_view.reachable
    with pytest.raises(EndpointOwned) as refused:
        await core.as_agent("node-2", "ReportEndpoint", report(reachable=False))
    assert refused.value.metadata == {"id": ID, "owner": "node-1"}
    assert core.endpoint(ID).sidecar_view.agent_id == "node-1"


async def test_another_agents_endpoint_is_kept_until_that_agent_leaves(core: Core) -> None:
    seen = report(reachable=True, models=[Model(name="qwen3")])
    await core.as_agent("node-1", "ReportEndpoint", seen)
    before = core.endpoint(ID)
    stranger = report(url="https://10.0.0.9:8000/mine", reachable=False)
    with pytest.raises(EndpointOwned):
        await core.as_agent("node-2", "ReportEndpoint", stranger, remote="10.0.0.8")
    token = await core.token(ROLE_SIDECAR, "node-2")
    core.secrets["node-2"] = token
    identify = IdentifyRequest(agent_id="node-2", token=token, ollama_url="10.0.0.9:8000")
    assert (await core.as_agent("node-2", "Identify", identify)).agent_id == "node-2"
    assert core.endpoint(ID) == before
    core.clock.advance(90_000)
    core.registry.expire(core.clock.now_ms())
    await core.as_agent("node-2", "ReportEndpoint", stranger)
    assert (core.endpoint(ID).agent_id, core.endpoint(ID).base_path) == ("node-2", "/mine")


async def test_an_agent_is_present_while_connected_or_reporting(core: Core) -> None:
    await core.as_agent("node-1", "ReportEndpoint", report())
    await core.as_agent("node-1", "ReportResources", ReportResourcesRequest(cpu_percent=1))
    with pytest.raises(EndpointOwned):
        await core.as_agent("node-2", "ReportEndpoint", report())
    core.clock.advance(90_000)
    core.registry.expire(core.clock.now_ms())
    core.presence.join(Sidecar("node-1", "10.0.0.9", "ws", core.clock.now_ms(), Unclosable()))
    with pytest.raises(EndpointOwned):
        await core.as_agent("node-2", "ReportEndpoint", report())


def ollama() -> ReportOllamaRequest:
    return ReportOllamaRequest(ollama_url="10.0.0.9:8000")


async def by_report_ollama(core: Core) -> None:
    await core.as_agent("node-1", "ReportOllama", ollama())


async def by_identify(core: Core) -> None:
    core.secrets["node-1"] = token = await core.token(ROLE_SIDECAR, "node-1")
    request = IdentifyRequest(agent_id="node-1", token=token, ollama_url="10.0.0.9:8000")
    await core.as_agent("node-1", "Identify", request)


async def by_a_report_without_a_view(core: Core) -> None:
    await core.as_agent("node-1", "ReportEndpoint", report())


@pytest.mark.parametrize("tell", [by_report_ollama, by_identify, by_a_report_without_a_view])
async def test_a_single_call_makes_an_agent_present_for_a_report_lifetime(
    core: Core, tell: Callable[[Core], Awaitable[None]]
) -> None:
    await tell(core)
    core.clock.advance(60_000)
    for name, request in (("ReportOllama", ollama()), ("ReportEndpoint", report())):
        with pytest.raises(EndpointOwned):
            await core.as_agent("node-2", name, request, remote="10.0.0.9")
    core.clock.advance(29_999)
    # An unchanged report writes nothing, and counts all the same.
    await core.as_agent("node-1", "ReportOllama", ollama())
    core.clock.advance(89_999)
    with pytest.raises(EndpointOwned):
        await core.as_agent("node-2", "ReportOllama", ollama())
    core.clock.advance(1)
    await core.as_agent("node-2", "ReportOllama", ollama())
    assert core.endpoint(ID).agent_id == "node-2"


async def test_every_owner_counts_as_present_after_a_start(tmp_path: Path) -> None:
    clock = ManualClock()
    request = ReportOllamaRequest(ollama_url="127.0.0.9:8000")
    async with running_hub(tmp_path, clock) as hub:
        own = await hub.token(ROLE_SIDECAR, "node-1")
        await hub.call("ReportOllama", request, token=own)
    clock.advance(600_000)
    async with running_hub(tmp_path, clock) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-2")
        refused = await failure_of(hub.call("ReportOllama", request, token=token))
        assert refused.reason == "ENDPOINT_OWNED"
        clock.advance(90_000)
        await hub.call("ReportOllama", request, token=token)
        assert [each.agent_id for each in (await hub.snapshot()).endpoints] == ["node-2"]


class Unclosable:
    def close(self, close: Close) -> None:
        raise AssertionError(f"closed: {close}")


@pytest.mark.parametrize("url", ["", "ftp://h:1", "http://h:99999", "http://169.254.169.254"])
async def test_an_invalid_or_forbidden_address_is_refused(core: Core, url: str) -> None:
    with pytest.raises((ValidationFailed, TargetForbidden)):
        await core.as_agent("node-1", "ReportEndpoint", report(url=url))
    assert core.ids() == []


async def test_the_frame_is_answered_over_websocket(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, hub.sidecar("node-1") as socket:
        frame = {"type": "endpoint_report", "url": "http://127.0.0.5:8000", "reachable": False}
        frame |= {"error": "connection refused", "backend": "vllm", "models": [{"name": "m"}]}
        assert await socket.ask(frame) == {
            "type": "endpoint_report_ack",
            "status": "registered",
            "endpoint_id": "127.0.0.5:8000",
        }
        (endpoint,) = (await hub.snapshot()).endpoints
        assert endpoint.sidecar_view.error == "connection refused"
        assert [model.name for model in endpoint.models] == ["m"]
