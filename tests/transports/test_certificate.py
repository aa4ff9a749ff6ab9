"""TLS over real sockets, with certificates made for the test."""

import asyncio
import shutil
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage

from hub.base.clock import SystemClock
from hub.base.data_dir import ADMIN_TOKEN_FILE
from hub.base.load_settings import ConfigError, StartError, load_settings
from hub.base.security_settings import TlsSettings
from hub.base.tls_files import TlsFiles
from hub.cli.calling.connection import find_tls
from hub.cli.failures import CommandFailed, ExitCode
from hub.server.hub_server import HubServer
from hub.transports import certificate as tls_module
from hub.transports.certificate import ServerTls
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest
from llmhub.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.support.certificates import Certificate, encrypted_key, self_signed
from tests.support.hub import settings_for


@pytest.fixture
def own(tmp_path: Path) -> Certificate:
    return self_signed(tmp_path)


@asynccontextmanager
async def serving(tmp_path: Path, certificate: Certificate, client_ca: Path | None = None):
    settings = settings_for(
        tmp_path / "data",
        tls={
            "cert_file": str(certificate.cert),
            "key_file": str(certificate.key),
            "client_ca_file": str(client_ca or ""),
        },
    )
    hub = HubServer(settings, SystemClock())
    try:
        await hub.start()
        yield hub, (settings.data_dir / ADMIN_TOKEN_FILE).read_text().strip()
    finally:
        await hub.stop()


def trusting(authority: Path, client: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    return context


async def over_http(hub: HubServer, context: ssl.SSLContext) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://{hub.info().http_address}/healthz", ssl=context) as answer,
    ):
        return answer.status


async def over_ws(hub: HubServer, context: ssl.SSLContext) -> str:
    async with connect(f"wss://{hub.info().ws_address}/ws", ssl=context, proxy=None) as socket:
        await socket.send('{"type":"ping"}')
        async with asyncio.timeout(10):
            return str(await socket.recv())


async def over_grpc(hub: HubServer, credentials: grpc.ChannelCredentials, token: str) -> int:
    address = hub.info().grpc_address
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        answer = await RegistryServiceStub(channel).GetSnapshot(
            GetSnapshotRequest(), metadata=(("authorization", f"Bearer {token}"),), timeout=30
        )
        return answer.snapshot.revision


async def test_all_transports_accept_only_tls(tmp_path, own):
    async with serving(tmp_path, own) as (hub, token):
        context = trusting(own.cert)
        assert await over_http(hub, context) == 200
        assert "not_identified" in await over_ws(hub, context)
        trusted = grpc.ssl_channel_credentials(own.cert.read_bytes())
        assert await over_grpc(hub, trusted, token) > 0
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://{hub.info().http_address}/healthz")
        with pytest.raises((InvalidMessage, OSError)):
            await connect(f"ws://{hub.info().ws_address}/ws", proxy=None)
        async with grpc.aio.insecure_channel(hub.info().grpc_address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await RegistryServiceStub(channel).GetSnapshot(GetSnapshotRequest(), timeout=30)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_client_authority_makes_all_transports_require_certificates(tmp_path, own):
    client, stranger = self_signed(tmp_path, "client"), self_signed(tmp_path, "stranger")
    async with serving(tmp_path, own, client.cert) as (hub, token):
        assert await over_http(hub, trusting(own.cert, client)) == 200
        assert "not_identified" in await over_ws(hub, trusting(own.cert, client))
        root = own.cert.read_bytes()
        known = grpc.ssl_channel_credentials(
            root, client.key.read_bytes(), client.cert.read_bytes()
        )
        assert await over_grpc(hub, known, token) > 0
        for without in (trusting(own.cert), trusting(own.cert, stranger)):
            with pytest.raises((aiohttp.ClientError, OSError)):
                await over_http(hub, without)
            with pytest.raises((InvalidMessage, OSError)):
                await over_ws(hub, without)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await over_grpc(hub, grpc.ssl_channel_credentials(root), token)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_loaded_while_the_hub_runs(tmp_path, own):
    async with serving(tmp_path, own) as (hub, token):
        renewed = self_signed(tmp_path, "renewed")
        shutil.copy(renewed.cert, own.cert)
        with pytest.raises(StartError, match="is not the key of"):
            await hub.reconfigure(hub._settings)
        shutil.copy(renewed.key, own.key)
        await hub.reconfigure(hub._settings)
        context = trusting(renewed.cert)
        assert await over_http(hub, context) == 200
        assert "not_identified" in await over_ws(hub, context)
        trusted = grpc.ssl_channel_credentials(renewed.cert.read_bytes())
        assert await over_grpc(hub, trusted, token) > 0


async def test_a_reload_does_not_change_the_trusted_clients(tmp_path, own):
    client, other = self_signed(tmp_path, "client"), self_signed(tmp_path, "other")
    authority = tmp_path / "authority.pem"
    shutil.copy(client.cert, authority)
    async with serving(tmp_path, own, authority) as (hub, token):
        shutil.copy(other.cert, authority)
        await hub.reconfigure(hub._settings)
        root = own.cert.read_bytes()
        assert await over_http(hub, trusting(own.cert, client)) == 200
        assert "not_identified" in await over_ws(hub, trusting(own.cert, client))
        with pytest.raises((aiohttp.ClientError, OSError)):
            await over_http(hub, trusting(own.cert, other))
        for one, trusted in ((client, True), (other, False)):
            shown = one.key.read_bytes(), one.cert.read_bytes()
            credentials = grpc.ssl_channel_credentials(root, *shown)
            if trusted:
                assert await over_grpc(hub, credentials, token) > 0
            else:
                with pytest.raises(grpc.aio.AioRpcError):
                    await over_grpc(hub, credentials, token)


def test_unusable_files_are_named_in_one_line(tmp_path, own):
    other = self_signed(tmp_path, "other")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate\n")
    missing = tmp_path / "missing.pem"
    locked = encrypted_key(own)
    for cert, key, client_ca, why in (
        (missing, own.key, "", f"tls.cert_file: {missing}: No such file or directory"),
        (own.cert, missing, "", f"tls.key_file: {missing}: No such file or directory"),
        (own.cert, own.key, missing, f"tls.client_ca_file: {missing}: No such file or directory"),
        (own.cert, other.key, "", f"tls.key_file: {other.key} is not the key of {own.cert}"),
        (garbage, own.key, "", f"tls.cert_file: {garbage}: contains no PEM certificate"),
        (
            own.cert,
            locked,
            "",
            f"tls.key_file: {locked}: is encrypted; use a key without a password",
        ),
        (own.cert, own.key, garbage, f"tls.client_ca_file: {garbage}: contains no PEM certificate"),
    ):
        settings = TlsSettings(
            cert_file=str(cert), key_file=str(key), client_ca_file=str(client_ca)
        )
        with pytest.raises(StartError) as refused:
            ServerTls(settings)
        assert str(refused.value) == why


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("LLM_HUB_TLS__CERT_FILE", "cert_file and key_file must be set together"),
        ("LLM_HUB_TLS__KEY_FILE", "cert_file and key_file must be set together"),
        ("LLM_HUB_TLS__CLIENT_CA_FILE", "client_ca_file requires cert_file and key_file"),
    ],
)
def test_incomplete_tls_settings_are_refused(name, why):
    with pytest.raises(ConfigError) as refused:
        load_settings(None, {name: "x.pem"})
    assert str(refused.value) == f"{name}: {why}"


def test_a_commands_tls_comes_from_files_and_variables(tmp_path, own, monkeypatch):
    monkeypatch.delenv("LLM_HUB_TLS_CA", raising=False)
    assert find_tls(TlsFiles.of(None, None, None), tls=False) is None
    assert find_tls(TlsFiles.of(None, None, None), tls=True) is not None
    assert find_tls(TlsFiles.of(str(own.cert), None, None), tls=False) is not None
    monkeypatch.setenv("LLM_HUB_TLS_CA", str(tmp_path / "missing.pem"))
    (tmp_path / "garbage.pem").write_text("no certificate\n")
    for file, why in (
        (None, f"--tls-ca: {tmp_path}/missing.pem: No such file or directory"),
        (
            str(tmp_path / "garbage.pem"),
            f"--tls-ca: {tmp_path}/garbage.pem: contains no PEM certificate",
        ),
    ):
        with pytest.raises(CommandFailed) as refused:
            find_tls(TlsFiles.of(file, None, None), tls=False)
        assert (refused.value.message, refused.value.code) == (why, ExitCode.USAGE)


@pytest.mark.parametrize("setting", ["cert_file", "key_file"])
def test_a_file_that_disappears_during_a_reload_is_named(
    own: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    authority = shutil.copy(own.cert, tmp_path / "authority.pem")
    files = {"cert_file": own.cert, "key_file": own.key, "client_ca_file": authority}
    tls = ServerTls(TlsSettings(**{name: str(file) for name, file in files.items()}))
    read = tls_module._read

    def read_and_remove(settings: TlsSettings) -> object:
        contents = read(settings)
        Path(files[setting]).unlink()
        return contents

    monkeypatch.setattr(tls_module, "_read", read_and_remove)
    with pytest.raises(StartError, match="No such file") as caught:
        tls.reload()
    assert str(files[setting]) in str(caught.value)
