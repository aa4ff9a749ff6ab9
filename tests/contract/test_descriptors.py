import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from hub.contract.descriptors import descriptor_set
from hub.contract.rpcs import SERVICES
from tests.support.hub import ROOT, running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet

_GO_S = 300.0


def test_it_is_complete_and_in_the_order_that_protoc_requires() -> None:
    # The pool knows nothing else, and refuses a file before one that it imports.
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(descriptor_set()).file:
        pool.Add(file)
        pool.FindFileByName(file.name)
    for service in SERVICES:
        found = pool.FindServiceByName(service.full_name)
        assert [each.name for each in found.methods] == [each.name for each in service.methods]
    assert pool.FindFileByName("buf/validate/validate.proto").package == "buf.validate"
    assert pool.FindEnumTypeByName("llmhub.v1.ErrorReason")


def test_every_file_of_the_contract_has_the_same_go_package() -> None:
    for path in (ROOT / "proto" / "llmhub" / "v1").glob("*.proto"):
        assert 'option go_package = "llmhub/v1;llmhubv1";\n' in path.read_text(), path.name


def test_protoc_generates_code_from_it_alone(tmp_path: Path) -> None:
    (tmp_path / "hub.binpb").write_bytes(descriptor_set())
    arguments = ["--descriptor_set_in=hub.binpb", "--python_out=.", "llmhub/v1/endpoint.proto"]
    _run([sys.executable, "-I", "-m", "grpc_tools.protoc", *arguments], tmp_path)
    assert (tmp_path / "llmhub" / "v1" / "endpoint_pb2.py").exists()


async def test_the_documented_go_client_compiles_and_selects(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH: the documented Go client was not tested")
    work = tmp_path / "client"
    work.mkdir()
    (work / "hub.binpb").write_bytes(descriptor_set())
    (work / "main.go").write_text(_documented("```go "))
    # The documentation means protoc as a package of the system.
    protoc = tmp_path / "bin" / "protoc"
    protoc.parent.mkdir()
    protoc.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -m grpc_tools.protoc "$@"\n')
    protoc.chmod(0o755)
    places = os.pathsep.join([str(protoc.parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": places, "GOBIN": str(protoc.parent), "GOFLAGS": ""}
    _run(["bash", "-euc", _documented("```bash no-run: a test runs it")], work, environment)
    _run(["go", "build", "-o", "select", "."], work, environment)
    async with running_hub(tmp_path / "data") as hub, Fleet() as fleet:
        server = await fleet.add(FakeOllama("qwen3:8b"))
        body = {"host": server.host, "port": server.port}
        assert (await hub.http("POST", "/api/admin/llm-registry", body=body)).status == 201
        await wait_until(lambda: hub.hub.info().healthy_count == 1)
        environment |= {"LLM_HUB_ADDRESS": hub.grpc_address, "LLM_HUB_TOKEN": hub.admin_token}
        process = await asyncio.create_subprocess_exec(
            str(work / "select"), "qwen3:8b", env=environment, stdout=subprocess.PIPE
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
    assert out.decode() == f"{server.id} qwen3:8b\n"


def _documented(fence: str) -> str:
    """The only code block of the documentation whose fence begins like that."""
    text = (ROOT / "docs" / "for-services.md").read_text()
    [block] = text.split(f"\n{fence}")[1:]
    return block.partition("\n")[2].partition("\n```")[0] + "\n"


def _run(command: list[str], where: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_GO_S,
        check=False,
    )
    if "dial tcp" in done.stdout:
        pytest.skip("the Go module proxy is out of reach: the documented Go client was not tested")
    assert done.returncode == 0, done.stdout
