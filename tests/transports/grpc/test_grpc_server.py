import asyncio
import contextlib

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hub.contract import rpcs
from hub.contract.errors import ERROR_DOMAIN
from hub.contract.rpcs import Tier
from hub.transports.grpc import slots
from llmhub.v1 import (
    admin_service_pb2_grpc,
    registry_service_pb2_grpc,
    sidecar_service_pb2_grpc,
)
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    CreateTokenRequest,
    DisconnectSidecarRequest,
    GetServerInfoRequest,
    ListTokensRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RevokeTokenRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DRAINING, Endpoint
from llmhub.v1.frame_pb2 import (
    HubFrame,
    IdentifyRequest,
    PingRequest,
    ReportOllamaRequest,
    ReportResourcesRequest,
    SidecarFrame,
)
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetResourcesRequest,
    ListEndpointsRequest,
    ListModelsRequest,
)
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR
from tests.support.hub import failure, failure_of, running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import Behaviour, FakeOllama, Fleet

pytestmark = pytest.mark.usefixtures("grpc_engine")

UNARY = [rpc for rpc in rpcs.RPCS if not rpc.client_streaming and not rpc.server_streaming]
STREAMS = [rpc for rpc in rpcs.RPCS if rpc not in UNARY and rpc.name != "Connect"]
BY_NAME = {"ids": lambda rpc: rpc.name}

SERVICES_OF = {
    ROLE_ADMIN: {"llmhub.v1.AdminService", "llmhub.v1.RegistryService"},
    ROLE_READER: {"llmhub.v1.RegistryService"},
    ROLE_SIDECAR: {"llmhub.v1.SidecarService"},
}


@pytest.fixture
async def stopped(hub):
    """An endpoint that is never there, registered."""
    request = RegisterEndpointRequest(host="127.0.0.1", port=9, name="stopped")
    return (await hub.call("RegisterEndpoint", request)).endpoint


async def outcome(hub, rpc, metadata):
    """The failure of a call with an empty request, or None."""
    arguments = (rpc.path, rpc.request.SerializeToString, rpc.response.FromString)
    try:
        if rpc.server_streaming:
            stream = hub.channel.unary_stream(*arguments)(
                rpc.request(), metadata=metadata, timeout=5
            )
            async for _ in stream:
                stream.cancel()
                return None
        else:
            method = hub.channel.unary_unary(*arguments)
            await method(rpc.request(), metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        return failure(error)
    return None


# Who may call.


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer wrong"),),
        (("authorization", "Basic YTpi"),),
        (("token", "TOKEN"),),
    ],
    ids=["none", "empty", "no token", "wrong", "basic", "elsewhere"],
)
async def test_every_rpc_needs_a_token(hub, metadata):
    given = tuple((key, value.replace("TOKEN", hub.admin_token)) for key, value in metadata)
    for rpc in UNARY + STREAMS:
        refused = await outcome(hub, rpc, given)
        assert refused is not None, rpc.name
        assert refused.code == grpc.StatusCode.UNAUTHENTICATED, rpc.name
        assert (refused.reason, refused.domain) == ("INVALID_TOKEN", ERROR_DOMAIN)


@pytest.mark.parametrize("role", [ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR])
async def test_every_role_may_call_its_services_and_no_other(hub, role):
    token = await hub.token(role, "node-1" if role == ROLE_SIDECAR else "")
    for rpc in UNARY + STREAMS:
        refused = await outcome(hub, rpc, hub.metadata(token))
        code = None if refused is None else refused.code
        if rpc.service in SERVICES_OF[role]:
            assert code != grpc.StatusCode.PERMISSION_DENIED, rpc.name
        else:
            assert code == grpc.StatusCode.PERMISSION_DENIED, rpc.name
            assert refused.reason == "ROLE_FORBIDDEN"


async def test_the_bearer_scheme_is_case_insensitive(hub):
    method = hub.channel.unary_unary(rpcs.rpc("GetServerInfo").path)
    assert await method(b"", metadata=(("authorization", f"bearer {hub.admin_token}"),))


async def test_permission_is_checked_before_existence_and_validity(hub, stopped):
    reader = await hub.token(ROLE_READER)
    for id_ in (stopped.id, "not-there:1", "", "x" * 301):
        refused = await failure_of(
            hub.call("RemoveEndpoint", RemoveEndpointRequest(id=id_), token=reader)
        )
        assert refused.code == grpc.StatusCode.PERMISSION_DENIED
        assert refused.message == "RemoveEndpoint needs the role admin"
    assert len((await hub.snapshot()).endpoints) == 1


async def test_a_revoked_token_is_refused_at_once(hub):
    created = await hub.created_token(ROLE_READER)
    await hub.call("GetSnapshot", token=created.token)
    await hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
    refused = await failure_of(hub.call("GetSnapshot", token=created.token))
    assert refused.code == grpc.StatusCode.UNAUTHENTICATED


# What they say; through the generated stubs, as clients do.


async def test_an_endpoint_is_registered_updated_checked_and_removed(hub):
    admin = admin_service_pb2_grpc.AdminServiceStub(hub.channel)
    registry = registry_service_pb2_grpc.RegistryServiceStub(hub.channel)
    me = {"metadata": hub.metadata(None), "timeout": 5}
    async with Fleet() as fleet:
        fake = await fleet.add(FakeOllama("a:latest", "b:latest"))
        fake.persona.load("a:latest")
        request = RegisterEndpointRequest(host=fake.host, port=fake.port, labels={"zone": "x"})
        endpoint = (await admin.RegisterEndpoint(request, **me)).endpoint
        assert (endpoint.id, endpoint.name) == (fake.id, fake.id)
        checked = await admin.CheckEndpoint(CheckEndpointRequest(id=fake.id), **me)
        assert [each.name for each in checked.endpoint.models] == ["a:latest", "b:latest"]
        got = await registry.GetEndpoint(GetEndpointRequest(id=fake.id), **me)
        assert got.endpoint.etag == endpoint.etag
        listed = await registry.ListEndpoints(ListEndpointsRequest(model="a:latest"), **me)
        assert [each.id for each in listed.endpoints] == [fake.id]
        nothing = await registry.ListEndpoints(ListEndpointsRequest(labels={"zone": "y"}), **me)
        assert not nothing.endpoints
        models = await registry.ListModels(ListModelsRequest(), **me)
        assert [(m.name, m.endpoint_count, m.loaded_count) for m in models.models] == [
            ("a:latest", 1, 1),
            ("b:latest", 1, 0),
        ]
        change = UpdateEndpointRequest(
            endpoint=Endpoint(id=fake.id, admin_state=ADMIN_STATE_DRAINING), etag=endpoint.etag
        )
        updated = (await admin.UpdateEndpoint(change, **me)).endpoint
        assert updated.admin_state == ADMIN_STATE_DRAINING
        assert updated.etag != endpoint.etag
        assert len(updated.models) == 2
        info = await admin.GetServerInfo(GetServerInfoRequest(), **me)
        assert (info.endpoint_count, info.healthy_count, info.store) == (1, 1, "sqlite")
        assert info.grpc_address == hub.grpc_address
        removal = RemoveEndpointRequest(id=fake.id, etag=updated.etag)
        assert (await admin.RemoveEndpoint(removal, **me)).id == fake.id
        assert not (await hub.snapshot()).endpoints


async def test_a_sidecar_can_make_its_unary_calls(hub):
    sidecar = sidecar_service_pb2_grpc.SidecarServiceStub(hub.channel)
    token = await hub.token(ROLE_SIDECAR, "node-1")
    me = {"metadata": hub.metadata(token), "timeout": 5}
    request = IdentifyRequest(agent_id="node-1", token=token, ollama_url="127.0.0.1:9")
    assert (await sidecar.Identify(request, **me)).agent_id == "node-1"
    ack = await sidecar.ReportOllama(ReportOllamaRequest(ollama_url="127.0.0.1:7"), **me)
    assert (ack.status, ack.endpoint_id) == ("registered", "127.0.0.1:7")
    await sidecar.ReportResources(ReportResourcesRequest(cpu_percent=4), **me)
    assert (await sidecar.Ping(PingRequest(), **me)).timestamp.seconds > 1_700_000_000
    snapshot = await hub.snapshot()
    assert [each.id for each in snapshot.endpoints] == ["127.0.0.1:7", "127.0.0.1:9"]
    assert {each.agent_id for each in snapshot.endpoints} == {"node-1"}
    assert snapshot.resources["node-1"].cpu_percent == 4
    resources = await hub.call("GetResources", GetResourcesRequest(agent_id="node-1"))
    assert resources.resources.cpu_percent == 4


async def test_tokens_are_created_listed_and_revoked(hub):
    request = CreateTokenRequest(role=ROLE_READER, description="dashboards")
    request.ttl.FromSeconds(60)
    created = await hub.call("CreateToken", request)
    info = created.token_info
    assert info.description == "dashboards"
    assert info.expires_at.ToMilliseconds() - info.created_at.ToMilliseconds() == 60_000
    listed = await hub.call("ListTokens", ListTokensRequest())
    assert info in listed.tokens
    assert created.token not in str(listed)
    await hub.call("RevokeToken", RevokeTokenRequest(id=info.id))
    assert info not in (await hub.call("ListTokens", ListTokensRequest())).tokens


async def test_listings_are_paged(hub):
    ids = [f"127.0.0.{n}:11434" for n in range(1, 6)]
    for id_ in ids:
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host=id_.partition(":")[0]))
    seen, page_token = [], ""
    while True:
        request = ListEndpointsRequest(page_size=2, page_token=page_token)
        page = await hub.call("ListEndpoints", request)
        assert len(page.endpoints) <= 2
        seen += [each.id for each in page.endpoints]
        page_token = page.next_page_token
        if not page_token:
            break
    assert seen == ids


# What is wrong with a call.


async def test_a_wrong_field_is_named(hub):
    request = RegisterEndpointRequest(host="http://h", port=70_000, name="n" * 257)
    refused = await failure_of(hub.call("RegisterEndpoint", request))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.reason == "VALIDATION_FAILED"
    reported = {(field, reason) for field, reason, _ in refused.violations}
    assert reported == {("host", "INVALID"), ("port", "OUT_OF_RANGE"), ("name", "TOO_LONG")}
    assert all(description for _, _, description in refused.violations)
    assert not (await hub.snapshot()).endpoints


REFUSED = {
    "NOT_FOUND/ENDPOINT_NOT_FOUND h:1": [
        ("GetEndpoint", GetEndpointRequest(id="h:1")),
        ("CheckEndpoint", CheckEndpointRequest(id="h:1")),
        ("RemoveEndpoint", RemoveEndpointRequest(id="h:1")),
        ("UpdateEndpoint", UpdateEndpointRequest(endpoint=Endpoint(id="h:1"))),
    ],
    "NOT_FOUND/RESOURCES_NOT_FOUND a": [("GetResources", GetResourcesRequest(agent_id="a"))],
    "NOT_FOUND/SIDECAR_NOT_FOUND a": [
        ("DisconnectSidecar", DisconnectSidecarRequest(agent_id="a")),
    ],
    "NOT_FOUND/TOKEN_NOT_FOUND abc": [("RevokeToken", RevokeTokenRequest(id="abc"))],
    "INVALID_ARGUMENT/INVALID_PAGE_TOKEN": [
        ("ListEndpoints", ListEndpointsRequest(page_token="x")),
        ("ListModels", ListModelsRequest(page_token="x")),
        ("ListTokens", ListTokensRequest(page_token="x")),
    ],
    "INVALID_ARGUMENT/TARGET_FORBIDDEN 169.254.169.254": [
        ("RegisterEndpoint", RegisterEndpointRequest(host="169.254.169.254")),
    ],
    "INVALID_ARGUMENT/VALIDATION_FAILED": [
        ("CreateToken", CreateTokenRequest(role=ROLE_SIDECAR)),
        ("CreateToken", CreateTokenRequest(role=ROLE_READER, agent_id="a")),
        ("ListEndpoints", ListEndpointsRequest(page_size=1001)),
        ("UpdateEndpoint", UpdateEndpointRequest(endpoint=Endpoint(name="x"))),
    ],
}


@pytest.mark.parametrize("expected", REFUSED)
async def test_refusals_have_their_code_and_reason(hub, expected):
    for name, request in REFUSED[expected]:
        refused = await failure_of(hub.call(name, request))
        reported = " ".join([f"{refused.code.name}/{refused.reason}", *refused.metadata.values()])
        assert reported == expected, name
        assert refused.domain == ERROR_DOMAIN
        assert refused.message


async def test_an_old_etag_is_refused(hub, stopped):
    change = UpdateEndpointRequest(endpoint=Endpoint(id=stopped.id, name="a"), etag=stopped.etag)
    changed = (await hub.call("UpdateEndpoint", change)).endpoint
    for name, request in (
        ("UpdateEndpoint", change),
        ("RemoveEndpoint", RemoveEndpointRequest(id=stopped.id, etag=stopped.etag)),
    ):
        refused = await failure_of(hub.call(name, request))
        assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        assert refused.metadata == {"id": stopped.id, "etag": changed.etag}


async def test_a_sidecar_token_of_another_agent_is_refused(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    for name, request in (
        ("Identify", IdentifyRequest(agent_id="node-2", token=token)),
        ("ReportResources", ReportResourcesRequest(agent_id="node-2")),
    ):
        refused = await failure_of(hub.call(name, request, token=token))
        assert refused.code == grpc.StatusCode.PERMISSION_DENIED
        assert refused.reason == "TOKEN_AGENT_MISMATCH"
    assert not (await hub.snapshot()).resources


async def test_a_full_registry_refuses_registrations(tmp_path):
    async with running_hub(tmp_path, limits={"max_endpoints": 1}) as hub:
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1"))
        refused = await failure_of(
            hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.2"))
        )
        assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.reason == "LIMIT_REACHED"
        await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", name="again"))


async def test_rate_limits_say_when_to_retry(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    limit = 10
    request = IdentifyRequest(agent_id="node-1", token=token)
    for _ in range(limit):
        await hub.call("Identify", request, token=token)
    refused = await failure_of(hub.call("Identify", request, token=token))
    assert (refused.code.name, refused.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert refused.metadata == {"tier": Tier.HEAVY.wire_name}
    assert 0 < refused.retry_after_ms <= 6000
    await hub.call("Ping", PingRequest(), token=token)


async def test_unknown_methods_are_unimplemented(hub):
    method = hub.channel.unary_unary("/llmhub.v1.AdminService/MakeCoffee")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(b"", metadata=hub.metadata(None), timeout=30)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_malformed_message_bytes_are_refused(hub, caplog):
    method = hub.channel.unary_unary(rpcs.rpc("GetEndpoint").path)
    anonymous = await failure_of(method(b"\xff\xff", timeout=30))
    assert anonymous.code == grpc.StatusCode.UNAUTHENTICATED
    refused = await failure_of(method(b"\xff\xff", metadata=hub.metadata(None), timeout=30))
    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    what = "is not an encoded llmhub.v1.GetEndpointRequest"
    assert refused.violations == [("message", "INVALID", what)]
    assert not caplog.records


async def test_a_message_that_is_too_long_is_refused(tmp_path):
    async with running_hub(tmp_path, grpc={"max_message_bytes": 1024}) as hub:
        method = hub.channel.unary_unary(rpcs.rpc("GetEndpoint").path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"\x0a" * 2000, metadata=hub.metadata(None), timeout=30)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await hub.snapshot()


async def test_a_reply_may_be_longer_than_the_request_limit(tmp_path):
    async with running_hub(tmp_path, grpc={"max_message_bytes": 2048}) as hub:
        for n in range(8):
            labels = {f"l{i}": "v" * 256 for i in range(4)}
            request = RegisterEndpointRequest(host=f"127.0.0.{n + 1}", labels=labels)
            await hub.call("RegisterEndpoint", request)
        assert (await hub.snapshot()).ByteSize() > 4 * 2048


async def test_a_callers_deadline_applies(hub):
    async with Fleet() as fleet:
        fake = await fleet.add(FakeOllama(), Behaviour.HANGING)
        request = RegisterEndpointRequest(host=fake.host, port=fake.port)
        await hub.call("RegisterEndpoint", request)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hub.call("CheckEndpoint", CheckEndpointRequest(id=fake.id), timeout_s=0.1)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await hub.call("GetEndpoint", GetEndpointRequest(id=fake.id))).endpoint


async def test_a_cancelled_call_does_not_disturb_the_others(hub):
    call = asyncio.ensure_future(
        hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1"))
    )
    await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.2"))
    assert "127.0.0.2:11434" in {each.id for each in (await hub.snapshot()).endpoints}


async def test_an_internal_error_has_a_request_id_that_is_in_the_log(hub, monkeypatch, capsys):
    def explode() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(hub.hub._fleet.registry, "fleet_models", explode)
    refused = await failure_of(hub.call("GetSnapshot"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in refused.message
    request_id = refused.metadata["request_id"]
    assert request_id in refused.message
    logged = capsys.readouterr()
    assert request_id in logged.out + logged.err


# Health.


async def test_health_needs_no_token_and_knows_the_services(hub):
    health = health_pb2_grpc.HealthStub(hub.channel)
    for name in ("", *(service.full_name for service in rpcs.SERVICES)):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=30)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_health_watchers_see_the_stop(tmp_path):
    async with running_hub(tmp_path) as hub:
        health = health_pb2_grpc.HealthStub(hub.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(hub.hub.stop())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await stopping


async def test_streams_without_a_token_leave_room_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "_MAX_OPEN", 2)
    async with running_hub(tmp_path) as hub:
        health = health_pb2_grpc.HealthStub(hub.channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(), timeout=10) for _ in range(2)]
        for watch in watches:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        reflect = hub.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        )
        for refused in (health.Watch(health_pb2.HealthCheckRequest(), timeout=10), reflect()):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await refused.read()
            assert failure(caught.value).reason == "LIMIT_REACHED"
        assert (await hub.call("GetServerInfo", GetServerInfoRequest())).version
        watches[0].cancel()

        async def again():
            try:
                return await health.Watch(health_pb2.HealthCheckRequest(), timeout=10).read()
            except grpc.aio.AioRpcError:
                return None

        async with asyncio.timeout(10):
            while await again() is None:
                pass


async def test_one_peer_cannot_take_all_streams_without_a_token(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "_MAX_OPEN_PER_PEER", 2)
    # All peers of this machine have one address, so a proxy tells where they are.
    async with running_hub(tmp_path, ws={"trusted_proxies": ["127.0.0.1/32"]}) as hub:
        reflect = hub.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        )
        health = health_pb2_grpc.HealthStub(hub.channel)

        def watch(address):
            came_from = (("x-forwarded-for", address),)
            return health.Watch(health_pb2.HealthCheckRequest(), metadata=came_from, timeout=60)

        held = [watch("192.0.2.1") for _ in range(2)]
        for call in held:
            assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
        came_from = (("x-forwarded-for", "192.0.2.1"),)
        for refused in (watch("192.0.2.1"), reflect(metadata=came_from, timeout=60)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await refused.read()
            reported = failure(caught.value)
            assert (reported.code.name, reported.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED")
            assert "2 streams of unknown callers at 192.0.2.1" in reported.message
        other = watch("192.0.2.2")
        assert (await other.read()).status == health_pb2.HealthCheckResponse.SERVING
        for call in (*held, other):
            call.cancel()
        await wait_until(lambda: not len(hub.hub._listeners._grpc._open))


async def test_unidentified_streams_per_peer_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "_MAX_UNIDENTIFIED_PER_PEER", 1)
    async with running_hub(tmp_path) as hub:
        connect = hub.channel.stream_stream(
            rpcs.rpc("Connect").path, response_deserializer=HubFrame.FromString
        )
        token = await hub.token(ROLE_SIDECAR, "node-1")
        frame = SidecarFrame(identify=IdentifyRequest(agent_id="node-1", token=token))
        identified = connect(timeout=10)
        await identified.write(frame.SerializeToString())
        assert (await identified.read()).identified.agent_id == "node-1"
        silent = connect(timeout=10)
        await silent.write(SidecarFrame(ping=PingRequest()).SerializeToString())
        assert (await silent.read()).WhichOneof("frame") == "error"
        refused = connect(timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused.read()
        assert failure(caught.value).reason == "LIMIT_REACHED"
        identified.cancel()
        silent.cancel()
