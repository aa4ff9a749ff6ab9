"""The sidecar in a separate process, with real hubs."""

import io
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hub.base.clock import SystemClock
from hub.client import AsyncHub, Tls
from hub.server.hub_server import HubServer
from hub.sidecar.runner import REDACTED, configure_log
from llmhub.v1.admin_service_pb2 import CreateTokenRequest, DisconnectSidecarRequest
from llmhub.v1.endpoint_pb2 import FAULT_NOT_SERVING, SOURCE_AUTO, STATUS_HEALTHY
from llmhub.v1.resources_pb2 import ROLE_SIDECAR, Snapshot
from tests.support.certificates import Certificate, self_signed
from tests.support.hub import ROOT, HubClient, by_id, hub_process, running_hub, settings_for
from tests.support.ports import lasting_address
from tests.support.sidecar_process import sidecar_process
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, FakeOpenAi, Fleet

# protobuf, which the hub's probers use, takes 4 MiB. These would take 10 to 25 MiB.
HEAVY = ("grpc", "pydantic", "aiohttp", "rich", "structlog", "yaml", "protovalidate")


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


async def seen_by(hub: HubClient, agent_id: str, endpoint_id: str) -> Snapshot:
    """The snapshot, once it has the host and its healthy endpoint."""
    found = Snapshot()

    async def there() -> bool:
        found.CopyFrom(await hub.snapshot())
        endpoint = by_id(found).get(endpoint_id)
        healthy = endpoint is not None and endpoint.status == STATUS_HEALTHY
        return healthy and agent_id in found.resources

    await wait_until(there, timeout_s=30)
    return found


async def test_the_hub_sees_the_host_and_its_server(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "data") as hub, Fleet() as fleet:
        ollama = await fleet.add(FakeOllama("llama3.1:8b"))
        token = await hub.token(ROLE_SIDECAR, "node-1")
        arguments = ("--no-discover", "--endpoint", ollama.id, "--interval", "1")
        async with sidecar_process(hub.ws_address, "node-1", token, *arguments) as sidecar:
            snapshot = await seen_by(hub, "node-1", ollama.id)
            endpoint, host = by_id(snapshot)[ollama.id], snapshot.resources["node-1"]
            assert (endpoint.agent_id, endpoint.source) == ("node-1", SOURCE_AUTO)
            assert [model.name for model in endpoint.models] == ["llama3.1:8b"]
            assert 0 < host.ram_used_bytes < host.ram_total_bytes
            assert 0 <= host.cpu_percent <= 100
            assert await sidecar.stop() == 0
            assert token not in sidecar.log
        await wait_until(lambda: hub.hub.info().sidecar_count == 0)


async def test_a_sidecar_survives_a_restart_of_the_hub(tmp_path: Path) -> None:
    address = lasting_address()
    async with hub_process(tmp_path / "data", "--ws", address) as hub, Fleet() as fleet:
        ollama = await fleet.add(FakeOllama("llama3.1:8b"))
        async with hub.client() as client:
            token = await client.token(ROLE_SIDECAR, "node-1")
        arguments = ("--no-discover", "--endpoint", ollama.id, "--interval", "1")
        async with sidecar_process(address, "node-1", token, *arguments) as sidecar:
            await sidecar.says("identified as node-1")
            await hub.kill()
            await sidecar.says("trying again")
            await hub.start()
            await sidecar.says("identified as node-1", times=2)
            hub.send(signal.SIGTERM)
            assert (await hub.exited())[0] == 0
            await sidecar.says("the hub is stopping")
            await hub.start()
            await sidecar.says("identified as node-1", times=3)
            async with hub.client() as client:
                await seen_by(client, "node-1", ollama.id)
            assert await sidecar.stop() == 0


async def test_a_replaced_sidecar_stops_and_logs_the_reason(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "data") as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        async with sidecar_process(hub.ws_address, "node-1", token, "--no-discover") as sidecar:
            await sidecar.says("identified as node-1")
            async with hub.sidecar("node-1", token=token):
                assert await sidecar.exited() == 7
            assert "two sidecars share one token" in sidecar.log


async def test_a_wrong_token_is_not_retried_quickly(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "data") as hub:
        token = await hub.token(ROLE_SIDECAR, "node-2")
        async with sidecar_process(hub.ws_address, "node-1", token, "--no-discover") as sidecar:
            await sidecar.says("token_agent_mismatch")
            # At least thirty seconds.
            await sidecar.says("trying again in ")
            seconds = float(sidecar.log.rpartition("trying again in ")[2].split()[0])
            assert 30 <= seconds <= 31.5
            assert await sidecar.stop() == 0


async def test_a_new_token_in_the_file_is_used(tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with running_hub(tmp_path / "data") as hub:
        first = await hub.created_token(ROLE_SIDECAR, "node-1")
        file.write_text(first.token)
        arguments = ("--no-discover", "--token-file", str(file))
        async with sidecar_process(hub.ws_address, "node-1", "unused", *arguments) as sidecar:
            await sidecar.says("identified as node-1")
            file.write_text(await hub.token(ROLE_SIDECAR, "node-1"))
            await hub.call("DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-1"))
            await sidecar.says("identified as node-1", times=2)
            assert first.token not in sidecar.log


async def test_a_sidecar_presents_its_certificate_and_a_renewed_one(tmp_path: Path) -> None:
    own, client, stranger = (self_signed(tmp_path, name) for name in ("own", "client", "stranger"))
    shown = tmp_path / "shown.pem"
    tls = {"cert_file": own.cert, "key_file": own.key, "client_ca_file": client.cert}
    sections = {"tls": {name: str(file) for name, file in tls.items()}}
    shown.write_text(stranger.cert.read_text() + stranger.key.read_text())
    hub = HubServer(settings_for(tmp_path / "data", **sections), SystemClock())
    try:
        await hub.start()
        token = await created_over(hub, own, client)
        address = f"wss://{hub.info().ws_address}"
        arguments = ("--no-discover", "--tls-ca", str(own.cert), "--hub", address)
        async with sidecar_process("", "node-1", token, *arguments) as sidecar:
            await sidecar.says("it may require a certificate (--tls-cert)")
            assert await sidecar.stop() == 0
        arguments = (*arguments, "--tls-cert", str(shown))
        async with sidecar_process("", "node-1", token, *arguments) as sidecar:
            await sidecar.says(f"it may not accept {shown}")
            shown.write_text(client.cert.read_text() + client.key.read_text())
            await sidecar.says("identified as node-1")
            assert await sidecar.stop() == 0
    finally:
        await hub.stop()


async def test_an_untrusted_hub_or_an_unexpected_tls_hub_is_explained(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    tls = {"cert_file": str(own.cert), "key_file": str(own.key)}
    hub = HubServer(settings_for(tmp_path / "data", tls=tls), SystemClock())
    try:
        await hub.start()
        address = hub.info().ws_address
        for url, why in (
            (f"wss://{address}", "is not trusted: self-signed certificate"),
            (f"ws://{address}", "if it uses TLS, write wss://"),
        ):
            arguments = ("--no-discover", "--hub", url)
            async with sidecar_process("", "node-1", "a-token", *arguments) as sidecar:
                await sidecar.says(why)
                assert await sidecar.stop() == 0
    finally:
        await hub.stop()


async def test_an_address_without_a_scheme_is_accepted(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "data") as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1")
        arguments = ("--no-discover", "--hub", hub.ws_address)
        async with sidecar_process("", "node-1", token, *arguments) as sidecar:
            await sidecar.says("identified as node-1")
            assert await sidecar.stop() == 0


async def created_over(hub: HubServer, own: Certificate, client: Certificate) -> str:
    """A sidecar's token, created by an admin with a certificate."""
    admin = (hub._settings.data_dir / "admin.token").read_text().strip()
    tls = Tls.from_files(own.cert, client.cert, client.key)
    request = CreateTokenRequest(role=ROLE_SIDECAR, agent_id="node-1")
    async with AsyncHub(hub.info().grpc_address, admin, tls=tls) as asked:
        return str((await asked.call("CreateToken", request)).token)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_sidecar_stays_within_its_memory_budget(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "data") as hub, Fleet() as fleet:
        ollama = await fleet.add(FakeOllama("llama3.1:8b"))
        token = await hub.token(ROLE_SIDECAR, "node-1")
        arguments = ("--endpoint", ollama.id, "--interval", "1")
        async with sidecar_process(hub.ws_address, "node-1", token, *arguments) as sidecar:
            await seen_by(hub, "node-1", ollama.id)
            assert peak_kib(sidecar.process.pid) <= 40 * 1024


async def test_a_server_that_requires_a_key_is_reachable_with_an_error(
    tmp_path: Path,
) -> None:
    async with running_hub(tmp_path / "data") as hub, Fleet() as fleet:
        server = await fleet.add(FakeOpenAi(), api_key="sk-1")
        token = await hub.token(ROLE_SIDECAR, "node-1")
        arguments = ("--no-discover", "--endpoint", server.id, "--interval", "1")

        async def is_explained() -> bool:
            endpoint = by_id(await hub.snapshot()).get(server.id)
            return (
                endpoint is not None
                and endpoint.fault == FAULT_NOT_SERVING
                and endpoint.sidecar_view.reachable
                and "needs an API key" in endpoint.sidecar_view.error
            )

        async with sidecar_process(hub.ws_address, "node-1", token, *arguments):
            await wait_until(is_explained, timeout_s=30)


def test_a_sidecar_loads_no_heavy_modules() -> None:
    code = (
        "import hub.cli, hub.cli.commands.run_sidecar, hub.sidecar.runner, sys;"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.strip() == "[]"


def test_the_token_is_never_logged_not_even_in_a_traceback() -> None:
    out = io.StringIO()
    configure_log("debug", lambda: "llmhub_t1_secret", out)
    logger = logging.getLogger("any")
    logger.info("token=%s", "llmhub_t1_secret")
    try:
        raise ValueError("cannot send llmhub_t1_secret")
    except ValueError:
        logger.exception("failed")
    assert "llmhub_t1_secret" not in out.getvalue()
    assert f"token={REDACTED}" in out.getvalue()
    assert f"ValueError: cannot send {REDACTED}" in out.getvalue()


def test_the_websocket_library_does_not_log_frames() -> None:
    out = io.StringIO()
    configure_log("debug", lambda: None, out)
    logging.getLogger("websockets.client").debug("> TEXT '{...}'")
    logging.getLogger("any").debug("kept")
    assert out.getvalue().endswith("Z DEBUG   kept\n")
    assert "TEXT" not in out.getvalue()
