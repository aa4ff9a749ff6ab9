"""SidecarService through the real service, on a real store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.base.timestamps import to_ms
from hub.contract.errors import (
    EndpointOwned,
    InvalidToken,
    LimitReached,
    RoleForbidden,
    StoreUnavailable,
    TargetForbidden,
    TokenAgentMismatch,
    ValidationFailed,
)
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest, UpdateEndpointRequest
from llmhub.v1.endpoint_pb2 import (
    BACKEND_OLLAMA,
    SOURCE_AUTO,
    SOURCE_MANUAL,
    STATUS_HEALTHY,
    Endpoint,
    Model,
)
from llmhub.v1.frame_pb2 import (
    IdentifyRequest,
    PingRequest,
    ReportOllamaRequest,
    ReportResourcesRequest,
)
from llmhub.v1.registry_service_pb2 import GetEndpointRequest, GetResourcesRequest
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_SIDECAR
from tests.support.core import Core, running_core
from tests.support.fleet import saw

REMOTE = "10.0.0.9"


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


async def report(core: Core, url: str, agent_id: str = "node-1", remote: str = REMOTE) -> str:
    reply = await core.as_agent(
        agent_id, "ReportOllama", ReportOllamaRequest(ollama_url=url), remote
    )
    assert reply.status == "registered"
    return reply.endpoint_id


async def identify(core: Core, agent_id: str = "node-1", **fields: object) -> IdentifyRequest:
    """What the sidecar of node-1 says, with the very token that it bears."""
    if "node-1" not in core.secrets:
        core.secrets["node-1"] = await core.token(ROLE_SIDECAR, "node-1")
    return IdentifyRequest(agent_id=agent_id, token=core.secrets["node-1"], **fields)


async def test_identify_alone_registers_nothing(core: Core) -> None:
    reply = await core.as_agent("node-1", "Identify", await identify(core))
    assert reply.agent_id == "node-1"
    assert core.ids() == []


async def test_identifying_with_a_url_registers_the_ollama_of_the_host(core: Core) -> None:
    await core.as_agent(
        "node-1", "Identify", await identify(core, ollama_url="http://localhost:11434")
    )
    endpoint = core.endpoint("10.0.0.9:11434")
    assert (endpoint.name, endpoint.agent_id) == ("node-1-local", "node-1")
    assert (endpoint.source, endpoint.backend) == (SOURCE_AUTO, BACKEND_OLLAMA)
    assert core.probes.stats.watched == 1


async def test_a_sidecar_reports_only_for_its_own_agent(core: Core) -> None:
    with pytest.raises(TokenAgentMismatch):
        await core.as_agent("node-1", "Identify", await identify(core, "node-2"))
    with pytest.raises(TokenAgentMismatch):
        await core.as_agent("node-1", "ReportResources", ReportResourcesRequest(agent_id="node-2"))
    assert len(core.registry.resources) == 0


async def test_the_token_in_identify_must_be_the_callers(core: Core) -> None:
    others = {
        "wrong": await core.token(ROLE_SIDECAR, "node-2"),
        "another of the agent's": await core.token(ROLE_SIDECAR, "node-1"),
        "an admin's": await core.token(ROLE_ADMIN),
        "none at all": "llmhub_nonsense",
    }
    for token in others.values():
        request = await identify(core)
        request.token = token
        request.ollama_url = "localhost"
        with pytest.raises(InvalidToken):
            await core.as_agent("node-1", "Identify", request)
    assert core.ids() == []


async def test_only_sidecars_report(core: Core) -> None:
    with pytest.raises(RoleForbidden):
        await core.as_admin("ReportResources", ReportResourcesRequest(agent_id="node-1"))
    with pytest.raises(RoleForbidden):
        await core.as_agent("node-1", "GetEndpoint", GetEndpointRequest(id="x:1"))


# Addresses.


@pytest.mark.parametrize(
    "url",
    [
        "localhost",
        "LOCALHOST:11434",
        "ollama.localhost",
        "127.0.0.1",
        "127.8.9.1:11434",
        "[::1]:11434",
        "http://[::ffff:127.0.0.1]:11434",
        "0.0.0.0:11434",
        "[::]:11434",
    ],
)
@pytest.mark.parametrize(
    ("remote", "id_"),
    [
        ("10.0.0.9", "10.0.0.9:11434"),
        ("::ffff:10.0.0.9", "10.0.0.9:11434"),
        ("2001:db8::9", "[2001:db8::9]:11434"),
        ("2001:DB8:0::9%eth0", "[2001:db8::9]:11434"),
    ],
)
async def test_a_remote_sidecars_localhost_is_its_own_address(
    core: Core, url: str, remote: str, id_: str
) -> None:
    assert await report(core, url, remote=remote) == id_
    assert core.endpoint(id_).host == id_.removesuffix(":11434").strip("[]")


async def test_localhost_of_two_remote_sidecars_are_two_endpoints(core: Core) -> None:
    for n in (1, 2, 3):
        await report(core, "localhost:11434", f"node-{n}", f"10.0.0.{n}")
    assert core.ids() == ["10.0.0.1:11434", "10.0.0.2:11434", "10.0.0.3:11434"]
    assert core.endpoint("10.0.0.2:11434").agent_id == "node-2"


@pytest.mark.parametrize(
    "remote", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.3.2.1", "/a/socket"]
)
@pytest.mark.parametrize(
    ("url", "id_"),
    [
        ("localhost:11434", "localhost:11434"),
        ("127.0.0.1:11434", "127.0.0.1:11434"),
        ("[::1]:11434", "[::1]:11434"),
        ("0.0.0.0:11434", "localhost:11434"),
        ("[::]:11434", "localhost:11434"),
    ],
)
async def test_localhost_on_the_hubs_machine_stays_localhost(
    core: Core, remote: str, url: str, id_: str
) -> None:
    assert await report(core, url, remote=remote) == id_


async def test_sidecars_on_the_hubs_machine_differ_by_port(core: Core) -> None:
    await report(core, "localhost:11434", "node-1", "127.0.0.1")
    await report(core, "localhost:11435", "node-2", "::1")
    assert core.endpoint("localhost:11434").agent_id == "node-1"
    assert core.endpoint("localhost:11435").agent_id == "node-2"


async def test_the_address_of_another_host_is_unchanged(core: Core) -> None:
    assert await report(core, "https://Ollama.Lan/api-root/") == "ollama.lan:443"
    endpoint = core.endpoint("ollama.lan:443")
    assert (endpoint.scheme, endpoint.base_path) == ("https", "/api-root")


@pytest.mark.parametrize(
    "url", ["ftp://gpu-1", "http://", "gpu-1:99999", "http://user@gpu-1", "::1:80:x", "a b"]
)
async def test_an_invalid_address_is_a_violation_of_its_field(core: Core, url: str) -> None:
    for name, request in (
        ("ReportOllama", ReportOllamaRequest(ollama_url=url)),
        ("Identify", await identify(core, ollama_url=url)),
    ):
        with pytest.raises(ValidationFailed) as refused:
            await core.as_agent("node-1", name, request)
        (violation,) = refused.value.violations
        assert (violation.field, violation.error) == ("ollama_url", "invalid")
        assert violation.value == url
    assert core.ids() == []


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("169.254.169.254:80", REMOTE),
        ("http://[fd00:ec2::254]", REMOTE),
        ("localhost", "fe80::1%eth0"),
        ("localhost", "169.254.7.7"),
    ],
)
async def test_a_forbidden_address_is_not_registered(core: Core, url: str, remote: str) -> None:
    with pytest.raises(TargetForbidden):
        await report(core, url, remote=remote)
    assert core.ids() == []


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("localhost", REMOTE),
        ("10.0.0.9:8000", REMOTE),
        ("10.0.0.9", f"::ffff:{REMOTE}"),
        ("http://[fd12::9]:8000", "fd12::9"),
        ("localhost:8000", "127.0.0.1"),
        ("http://[::1]:8000", "127.0.0.1"),
    ],
)
async def test_its_own_address_is_taken_where_others_are_not(
    tmp_path: Path, url: str, remote: str
) -> None:
    async with running_core(tmp_path, only_own_addresses=True) as core:
        assert await report(core, url, remote=remote) in core.ids()


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("10.0.0.8", REMOTE),
        ("gpu-1.lan", REMOTE),
        ("http://[fd12::8]", "fd12::9"),
        ("10.0.0.8", "127.0.0.1"),
        ("10.0.0.8", "unknown"),
    ],
)
async def test_an_address_of_another_host_is_refused_where_only_its_own_is_taken(
    tmp_path: Path, url: str, remote: str
) -> None:
    """L11: a sidecar's token could register any address, and win selections with it."""
    async with running_core(tmp_path, only_own_addresses=True) as core:
        with pytest.raises(TargetForbidden) as refused:
            await report(core, url, remote=remote)
        assert "sidecars.addresses" in refused.value.message
        assert remote in refused.value.message
        assert core.ids() == []


# Registrations.


async def test_a_reconnect_changes_and_writes_nothing(core: Core) -> None:
    id_ = await report(core, "localhost")
    core.registry.observe(id_, saw(models=(Model(name="m"),)))
    before = Endpoint()
    before.CopyFrom(core.endpoint(id_))
    revision, batches = core.registry.revision, core.store.batches
    core.clock.advance(60_000)
    await report(core, "localhost")
    await core.as_agent("node-1", "Identify", await identify(core, ollama_url="localhost"))
    assert core.endpoint(id_) == before
    assert before.status == STATUS_HEALTHY
    assert (core.registry.revision, core.store.batches) == (revision, batches)


async def test_fifty_reconnects_at_once_write_once(core: Core) -> None:
    await core.as_agent("node-1", "Ping")
    batches = core.store.batches
    await asyncio.gather(*(report(core, "localhost") for _ in range(50)))
    assert core.store.batches == batches + 1
    assert core.ids() == ["10.0.0.9:11434"]


async def test_a_sidecar_does_not_overrule_an_admin(core: Core) -> None:
    request = RegisterEndpointRequest(host=REMOTE, name="mine", agent_id="node-7")
    await core.as_admin("RegisterEndpoint", request)
    before = Endpoint()
    before.CopyFrom(core.endpoint("10.0.0.9:11434"))
    with pytest.raises(EndpointOwned) as refused:
        await report(core, "localhost")
    assert refused.value.metadata["owner"] == "node-7"
    assert core.endpoint("10.0.0.9:11434") == before
    assert before.source == SOURCE_MANUAL


async def test_a_reconnect_keeps_what_an_admin_changed(core: Core) -> None:
    id_ = await report(core, "localhost")
    await core.as_admin(
        "UpdateEndpoint",
        UpdateEndpointRequest(endpoint=Endpoint(id=id_, name="big one", labels={"zone": "a"})),
    )
    await report(core, "localhost")
    endpoint = core.endpoint(id_)
    assert (endpoint.name, dict(endpoint.labels)) == ("big one", {"zone": "a"})


async def test_a_full_registry_and_a_failing_store_are_reported(tmp_path: Path) -> None:
    async with running_core(tmp_path, max_endpoints=1) as core:
        await report(core, "gpu-1")
        with pytest.raises(LimitReached):
            await report(core, "gpu-2")
        await core.store.close()
        with pytest.raises(StoreUnavailable):
            await report(core, "https://gpu-1:11434")
        assert core.endpoint("gpu-1:11434").scheme == "http"


# Resources and pings.


async def test_resources_belong_to_the_agents_endpoint(core: Core) -> None:
    id_ = await report(core, "localhost", "node-1")
    await core.as_agent(
        "node-1", "ReportResources", ReportResourcesRequest(vram_total_bytes=24 << 30)
    )
    endpoint = (await core.as_reader("GetEndpoint", GetEndpointRequest(id=id_))).endpoint
    found = await core.as_reader("GetResources", GetResourcesRequest(agent_id=endpoint.agent_id))
    assert found.resources.vram_total_bytes == 24 << 30
    snapshot = (await core.as_reader("GetSnapshot")).snapshot
    assert snapshot.resources[endpoint.agent_id].vram_total_bytes == 24 << 30


async def test_an_unknown_vram_is_accepted_and_stays_unknown(core: Core) -> None:
    await core.as_agent("node-1", "ReportResources", ReportResourcesRequest(cpu_percent=12))
    record = core.registry.resources.get("node-1")
    assert record is not None
    assert record.message.cpu_percent == 12
    assert not record.message.HasField("vram_total_bytes")


async def test_a_sidecars_clock_skew_loses_no_report(core: Core) -> None:
    request = ReportResourcesRequest(agent_id="node-1")
    request.timestamp.FromMilliseconds(1_000)
    await core.as_agent("node-1", "ReportResources", request)
    core.clock.advance(89_999)
    found = await core.as_reader("GetResources", GetResourcesRequest(agent_id="node-1"))
    assert to_ms(found.resources.sidecar_timestamp) == 1_000
    assert to_ms(found.resources.reported_at) == core.clock.now_ms() - 89_999


@pytest.mark.parametrize("percent", [float("nan"), float("inf"), -1, 100.5])
async def test_figures_out_of_bounds_are_not_stored(core: Core, percent: float) -> None:
    with pytest.raises(ValidationFailed):
        await core.as_agent(
            "node-1", "ReportResources", ReportResourcesRequest(cpu_percent=percent)
        )
    assert len(core.registry.resources) == 0


async def test_a_ping_returns_the_hubs_time(core: Core) -> None:
    reply = await core.as_agent("node-1", "Ping", PingRequest())
    assert to_ms(reply.timestamp) == core.clock.now_ms()


async def test_an_expired_sidecar_is_refused(core: Core) -> None:
    token = await core.token(ROLE_SIDECAR, "node-1", ttl_ms=1_000)
    await core.call("Ping", token=token)
    core.clock.advance(1_000)
    with pytest.raises(InvalidToken):
        await core.call("Ping", token=token)
