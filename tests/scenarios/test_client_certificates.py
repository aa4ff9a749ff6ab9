"""Client certificates as identity, over real TLS sockets of every transport."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.message import Message
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from hub.base.clock import SystemClock
from hub.base.data_dir import ADMIN_TOKEN_FILE
from hub.base.settings import Settings
from hub.contract import rpcs
from hub.server.hub_server import HubServer
from hub.transports import peer_certificates
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    GetServerInfoRequest,
    ListAuditEventsRequest,
)
from llmhub.v1.frame_pb2 import HubFrame, IdentifyRequest, SidecarFrame
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.authority import Authority, Shown
from tests.support.hub import REGISTRY_PATH, failure, settings_for

pytestmark = pytest.mark.usefixtures("grpc_engine")

IDENTITIES = (
    {"san": "uri:spiffe://fleet/sidecar/*", "role": "sidecar", "agent_id": "*"},
    {"san": "dns:admin.lan", "role": "admin"},
    {"san": "dns:*.services.lan", "role": "reader"},
)
_S = 30.0


class TlsHub:
    """A hub that requires client certificates, and calls with one of them."""

    def __init__(self, hub: HubServer, settings: Settings) -> None:
        self.hub = hub
        self.settings = settings
        self.info = hub.info()
        self.admin_token = (settings.data_dir / ADMIN_TOKEN_FILE).read_text().strip()

    async def call(
        self, shown: Shown, name: str, request: Message | None = None, token: str = ""
    ) -> Any:
        """Calls over a new connection; raises AioRpcError."""
        rpc = rpcs.rpc(name)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        async with self.channel(shown) as channel:
            method = channel.unary_unary(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
            return await method(request or rpc.request(), metadata=metadata, timeout=_S)

    def channel(self, shown: Shown) -> grpc.aio.Channel:
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(self.info.grpc_address, shown.grpc(), options)

    async def reason(self, shown: Shown, name: str, request: Message | None = None) -> str:
        try:
            await self.call(shown, name, request)
        except grpc.aio.AioRpcError as error:
            return failure(error).reason
        return ""

    async def http(
        self,
        shown: Shown,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                f"https://{self.info.http_address}{path}",
                ssl=shown.context(),
                headers=headers,
                json=body,
            ) as answer,
        ):
            return answer.status, await answer.json()

    @asynccontextmanager
    async def socket(self, shown: Shown) -> AsyncIterator[ClientConnection]:
        url = f"wss://{self.info.ws_address}/ws"
        async with connect(url, ssl=shown.context(), proxy=None) as socket:
            yield socket

    async def identify(self, socket: ClientConnection, agent_id: str, token: str) -> str:
        await socket.send(json.dumps({"type": "identify", "agent_id": agent_id, "token": token}))
        async with asyncio.timeout(_S):
            said = json.loads(await socket.recv())
        return said.get("error", said["type"])


async def to_the_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


@asynccontextmanager
async def tls_hub(tmp_path: Path, authority: Authority) -> AsyncIterator[TlsHub]:
    settings = settings_for(tmp_path / "data", tls=authority.settings(*IDENTITIES))
    hub = HubServer(settings, SystemClock())
    try:
        await hub.start()
        yield TlsHub(hub, settings)
    finally:
        await hub.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_certificate_stands_for_its_role_on_every_transport(tmp_path, authority):
    admin, reader = authority.client("admin.lan"), authority.client("chat.services.lan")
    sidecar = authority.client("spiffe://fleet/sidecar/gpu-1")
    nobody = authority.client("admin.lan.evil", "deep.chat.services.lan")
    async with tls_hub(tmp_path, authority) as hub:
        outcomes = {
            name: (
                await hub.reason(shown, "GetSnapshot"),
                await hub.reason(shown, "GetServerInfo"),
                await hub.reason(shown, "Ping"),
                (await hub.http(shown, "GET", REGISTRY_PATH))[0],
                (await hub.http(shown, "POST", REGISTRY_PATH, body={}))[0],
            )
            for name, shown in (
                ("admin", admin),
                ("reader", reader),
                ("sidecar", sidecar),
                ("none", nobody),
            )
        }
        role, token = "ROLE_FORBIDDEN", "INVALID_TOKEN"
        assert outcomes == {
            "admin": ("", "", role, 200, 422),
            "reader": ("", role, role, 200, 403),
            "sidecar": (role, role, "", 403, 403),
            "none": (token, token, token, 401, 401),
        }
        # A token counts before the certificate.
        assert (await hub.call(nobody, "GetServerInfo", token=hub.admin_token)).version
        with pytest.raises(grpc.aio.AioRpcError):
            await hub.call(admin, "GetServerInfo", token="wrong")
        # The audit trail names the certificate.
        body = {"host": "127.0.0.1"}
        assert (await hub.http(admin, "POST", REGISTRY_PATH, body=body))[0] == 201
        events = (await hub.call(admin, "ListAuditEvents", ListAuditEventsRequest())).events
        assert events[0].token_id == "cert:dns:admin.lan"


async def test_a_sidecar_identifies_by_its_certificate_alone(tmp_path, authority):
    shown = authority.client("spiffe://fleet/sidecar/gpu-1")
    reader = authority.client("chat.services.lan")
    async with tls_hub(tmp_path, authority) as hub:
        for agent_id, token, outcome in (
            ("gpu-1", "certificate", "identified"),
            ("gpu-2", "certificate", "token_agent_mismatch"),
            ("gpu-1", "something", "invalid_token"),
        ):
            async with hub.socket(shown) as socket:
                assert await hub.identify(socket, agent_id, token) == outcome
            request = IdentifyRequest(agent_id=agent_id, token=token)
            reason = (await hub.reason(shown, "Identify", request)).lower()
            assert reason == ("" if outcome == "identified" else outcome)
            async with hub.channel(shown) as channel:
                call = channel.stream_stream(
                    rpcs.rpc("Connect").path,
                    request_serializer=SidecarFrame.SerializeToString,
                    response_deserializer=HubFrame.FromString,
                )(timeout=_S)
                await call.write(SidecarFrame(identify=request))
                frame = await call.read()
                assert frame.error.error == ("" if outcome == "identified" else outcome)
                call.cancel()
        async with hub.socket(reader) as socket:
            assert await hub.identify(socket, "gpu-1", "certificate") == "invalid_token"


async def test_a_revoked_certificate_is_refused_and_its_streams_end(tmp_path, authority):
    shown = authority.client("spiffe://fleet/sidecar/gpu-1")
    reader, other = authority.client("chat.services.lan"), authority.client("ci.services.lan")
    async with tls_hub(tmp_path, authority) as hub, hub.channel(reader) as channel:
        rpc = rpcs.rpc("WatchRegistry")
        watch = channel.unary_stream(
            rpc.path,
            request_serializer=WatchRegistryRequest.SerializeToString,
            response_deserializer=rpc.response.FromString,
        )(WatchRegistryRequest(), timeout=_S)
        await watch.read()
        async with hub.socket(shown) as socket:
            assert await hub.identify(socket, "gpu-1", "certificate") == "identified"
            authority.revoke(shown, reader)
            # Nothing changes before the hub reads the list.
            assert await hub.reason(reader, "GetSnapshot") == ""
            await hub.hub.reconfigure(hub.settings)
            async with asyncio.timeout(_S):
                await socket.wait_closed()
            assert socket.close_code == 1008
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await to_the_end(watch)
        assert failure(ended.value).reason == "INVALID_TOKEN"

        assert await hub.reason(reader, "GetSnapshot") == "INVALID_TOKEN"
        assert (await hub.http(reader, "GET", REGISTRY_PATH))[0] == 401
        # Not even with a good token.
        bearer = {"Authorization": f"Bearer {hub.admin_token}"}
        assert (await hub.http(reader, "GET", REGISTRY_PATH, bearer))[0] == 401
        with pytest.raises(grpc.aio.AioRpcError):
            await hub.call(reader, "GetServerInfo", GetServerInfoRequest(), hub.admin_token)
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"wss://{hub.info.ws_address}/ws", ssl=shown.context(), proxy=None)
        assert refused.value.response.status_code == 401
        assert await hub.reason(other, "GetSnapshot") == ""


async def test_each_open_connection_of_a_revoked_certificate_ends(tmp_path, authority, monkeypatch):
    """However many others there are, and also if a token is the proof."""
    monkeypatch.setattr(peer_certificates, "_MAX_CACHED", 1)
    agents = [authority.client(f"spiffe://fleet/sidecar/gpu-{i}") for i in range(4)]
    reader, good = authority.client("chat.services.lan"), authority.client("ci.services.lan")
    async with tls_hub(tmp_path, authority) as hub, AsyncExitStack() as opened:
        request = CreateTokenRequest(role=ROLE_SIDECAR, agent_id="gpu-9")
        made = await hub.call(good, "CreateToken", request, hub.admin_token)
        sockets = []
        proofs = [(each, f"gpu-{i}", "certificate") for i, each in enumerate(agents)]
        for shown, agent_id, token in (*proofs, (reader, "gpu-9", made.token)):
            socket = await opened.enter_async_context(hub.socket(shown))
            assert await hub.identify(socket, agent_id, token) == "identified"
            sockets.append(socket)
        unidentified = await opened.enter_async_context(hub.socket(reader))
        channel = await opened.enter_async_context(hub.channel(reader))
        rpc = rpcs.rpc("WatchRegistry")
        metadata = (("authorization", f"Bearer {hub.admin_token}"),)
        watch = channel.unary_stream(
            rpc.path,
            request_serializer=WatchRegistryRequest.SerializeToString,
            response_deserializer=rpc.response.FromString,
        )(WatchRegistryRequest(), timeout=_S, metadata=metadata)
        await watch.read()
        # Others come and go meanwhile.
        assert await hub.reason(good, "GetSnapshot") == ""
        authority.revoke(*agents, reader)
        await hub.hub.reconfigure(hub.settings)
        async with asyncio.timeout(_S):
            for socket in sockets:
                await socket.wait_closed()
                assert socket.close_code == 1008
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await to_the_end(watch)
        assert failure(ended.value).reason == "INVALID_TOKEN"
        assert await hub.identify(unidentified, "gpu-9", made.token) == "invalid_token"
        assert await hub.reason(good, "GetSnapshot") == ""


@pytest.mark.parametrize("bears", ["certificate", "token"])
async def test_a_certificate_that_is_revoked_while_a_body_arrives_changes_nothing(
    tmp_path, authority, bears
):
    admin = authority.client("admin.lan")
    async with tls_hub(tmp_path, authority) as hub:
        begun, arrives = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            # The hub has asked for it, so it has checked who calls.
            begun.set()
            yield b'{"host": '
            await arrives.wait()
            yield b'"127.0.0.1"}'

        headers = {"Content-Type": "application/json"}
        if bears == "token":
            headers["Authorization"] = f"Bearer {hub.admin_token}"
        url = f"https://{hub.info.http_address}{REGISTRY_PATH}"
        async with aiohttp.ClientSession() as session:
            posted = asyncio.ensure_future(
                session.post(url, ssl=admin.context(), headers=headers, data=body(), expect100=True)
            )
            await asyncio.wait_for(begun.wait(), _S)
            authority.revoke(admin)
            await hub.hub.reconfigure(hub.settings)
            arrives.set()
            answer = await posted
            assert (answer.status, (await answer.json())["error"]) == (401, "unauthorized")
        other = authority.client("ci.services.lan")
        assert not (await hub.call(other, "GetSnapshot")).snapshot.endpoints


async def test_a_page_of_another_origin_cannot_use_the_browsers_certificate(tmp_path, authority):
    admin = authority.client("admin.lan")
    async with tls_hub(tmp_path, authority) as hub:
        own = f"https://{hub.info.http_address}"
        body = {"host": "127.0.0.1"}
        for headers, status in (
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": own, "Sec-Fetch-Site": "same-site"}, 403),
            ({"Origin": own, "Sec-Fetch-Site": "same-origin"}, 201),
            ({}, 201),
        ):
            answered, _ = await hub.http(admin, "POST", REGISTRY_PATH, headers, body)
            assert answered == status, headers


async def test_a_damaged_list_changes_nothing(tmp_path, authority):
    reader = authority.client("chat.services.lan")
    async with tls_hub(tmp_path, authority) as hub:
        authority.revoke(reader)
        await hub.hub.reconfigure(hub.settings)
        assert await hub.reason(reader, "GetSnapshot") == "INVALID_TOKEN"
        authority.crl.write_text("no list")
        with pytest.raises(Exception, match="no revocation list in PEM"):
            await hub.hub.reconfigure(hub.settings)
        assert await hub.reason(reader, "GetSnapshot") == "INVALID_TOKEN"
