"""Tools that use only reflection, and the command lines that the hub prints."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.hub import ROOT
from tools.fleetsim import FakeOllama

pytestmark = pytest.mark.usefixtures("grpc_engine")

_TOOL_S = 30.0

# PATH, and the directories of pip and `go install`.
_PLACES = os.pathsep.join(
    [
        str(Path(sys.executable).parent),
        os.environ.get("PATH", ""),
        str(Path(os.environ.get("GOPATH", str(Path.home() / "go"))) / "bin"),
    ]
)


def tool(name: str) -> str:
    """The tool's path; skips the test if the tool is not installed."""
    found = shutil.which(name, path=_PLACES)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


async def run(*command: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ) | (env or {}),
    )
    try:
        async with asyncio.timeout(_TOOL_S):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def grpcurl(hub, method: str, data: dict | None = None, token: str | None = None):
    given = hub.admin_token if token is None else token
    body = ["-d", json.dumps(data)] if data is not None else []
    header = ["-H", f"authorization: Bearer {given}"]
    return await run(
        tool("grpcurl"), "-plaintext", "-max-time", "20", *header, *body, hub.grpc_address, method
    )


async def buf_curl(hub, method: str, data: dict | None = None):
    return await run(
        tool("buf"),
        *("curl", "--protocol", "grpc", "--http2-prior-knowledge"),
        *("--header", f"authorization: Bearer {hub.admin_token}"),
        *("--data", json.dumps(data or {})),
        f"http://{hub.grpc_address}/{method}",
    )


@pytest.mark.parametrize("ask", [grpcurl, buf_curl])
async def test_an_admin_needs_no_proto_files(hub, fleet, ask):
    fake = await fleet.add(FakeOllama("llama3:8b"))
    body = {"host": fake.host, "port": fake.port, "backend": "BACKEND_OLLAMA"}
    code, out, errors = await ask(hub, "llmhub.v1.AdminService/RegisterEndpoint", body)
    assert code == 0, errors
    assert json.loads(out)["endpoint"]["id"] == fake.id
    code, out, errors = await ask(hub, "llmhub.v1.AdminService/CheckEndpoint", {"id": fake.id})
    assert code == 0, errors
    assert json.loads(out)["endpoint"]["status"] == "STATUS_HEALTHY"
    code, out, errors = await ask(hub, "llmhub.v1.RegistryService/GetSnapshot")
    assert code == 0, errors
    snapshot = json.loads(out)["snapshot"]
    # The tools write different ones of a field's two JSON names.
    assert snapshot.get("fleetModels", snapshot.get("fleet_models")) == {"llama3:8b": 1}


@pytest.mark.parametrize("ask", [grpcurl, buf_curl])
async def test_an_error_has_its_reason(hub, ask):
    code, _, errors = await ask(hub, "llmhub.v1.RegistryService/GetEndpoint", {"id": "h:1"})
    assert code != 0
    assert "there is no endpoint h:1" in errors
    # buf shows a detail as JSON, or as base64 if it has no descriptor for it.
    assert "google.rpc.ErrorInfo" in errors


async def test_grpcurl_lists_and_describes(hub):
    code, out, _ = await run(tool("grpcurl"), "-plaintext", hub.grpc_address, "list")
    assert code == 0
    assert {"llmhub.v1.AdminService", "grpc.health.v1.Health"} <= set(out.split())
    code, out, _ = await run(
        tool("grpcurl"), "-plaintext", hub.grpc_address, "describe", "llmhub.v1.Endpoint"
    )
    assert code == 0
    assert "repeated .llmhub.v1.Model models" in out


async def test_grpcurl_checks_health(hub):
    code, out, _ = await grpcurl(hub, "grpc.health.v1.Health/Check", token="")
    assert code == 0
    assert json.loads(out) == {"status": "SERVING"}


def _install_command(bin_dir: Path) -> None:
    bin_dir.mkdir()
    command = bin_dir / "llm-hub"
    paths = f"{ROOT}{os.pathsep}{ROOT / 'gen'}"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec "{sys.executable}" -m hub.cli "$@"\n')
    command.chmod(0o755)


async def paste(line: str, bin_dir: Path) -> tuple[int, str, str]:
    """Runs a line in a shell that has `llm-hub` on its PATH, as with an installed hub."""
    _install_command(bin_dir)
    return await run("/bin/sh", "-c", line, env={"PATH": f"{bin_dir}{os.pathsep}{_PLACES}"})


async def test_the_command_of_the_banner_works_when_pasted(process, tmp_path):
    (line,) = (each for each in process.banner if "add a server:" in each)
    code, out, errors = await paste(line.partition("add a server:")[2].strip(), tmp_path / "bin")
    assert code == 0, errors
    assert "127.0.0.1:11434" in out
    async with process.client() as hub:
        (endpoint,) = (await hub.call("ListEndpoints")).endpoints
        assert endpoint.id == "127.0.0.1:11434"
