import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
import yaml

from hub.cli.commands import envoy
from hub.cli.commands.envoy import GATEWAY_CALLS, find_envoy
from hub.cli.failures import CommandFailed, ExitCode
from hub.client import Hub
from llmhub.v1.resources_pb2 import ROLE_ADMIN
from tests.cli.conftest import Ask
from tests.scenarios.test_tools import tool
from tests.support.hub_process import HubProcess
from tests.support.ports import lasting_address
from tests.support.waiting import wait_until


def bearer(text: str) -> str:
    (service,) = yaml.safe_load(text)["dynamic_resources"]["ads_config"]["grpc_services"]
    return service["initial_metadata"][0]["value"].removeprefix("Bearer ")


def test_config_makes_a_token_that_may_only_be_a_gateway(client: Hub, ask: Ask, hub: HubProcess):
    done = ask("envoy", "config", "--listen", "127.0.0.1:8081")
    assert done.code == 0, done.err
    config = yaml.safe_load(done.out)
    assert f"'port_value': {hub.grpc.rpartition(':')[2]}" in str(config)
    (info,) = [
        each for each in client.list_tokens() if each.description == "Envoy at 127.0.0.1:8081"
    ]
    assert info.id in done.err
    assert bearer(done.out).split("_")[1] == info.id
    assert (info.role, set(info.scope.rpcs)) == (ROLE_ADMIN, set(GATEWAY_CALLS))


def test_config_takes_a_token_and_asks_no_hub(ask: Ask, client: Hub):
    before = len(list(client.list_tokens()))
    done = ask("envoy", "config", "--gateway-token", "llmhub_x", "--hub", "127.0.0.1:1")
    assert (done.code, done.err, bearer(done.out)) == (0, "", "llmhub_x")
    assert len(list(client.list_tokens())) == before


def test_an_address_that_is_none_is_a_usage_error(ask: Ask):
    done = ask("envoy", "config", "--listen", "here")
    assert done.code == ExitCode.USAGE
    assert "--listen" in done.err


def test_the_program_is_found_in_path_or_where_it_is_named(tmp_path, monkeypatch):
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\n")
    monkeypatch.setattr(envoy, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandFailed, match="not installed"):
        find_envoy(None)
    with pytest.raises(CommandFailed, match="not a program"):
        find_envoy(program)
    program.chmod(0o755)
    assert find_envoy(None) == program
    assert find_envoy(program) == program


def test_the_program_of_the_extra_is_made_executable(tmp_path, monkeypatch):
    (tmp_path / "envoy" / "_bin").mkdir(parents=True)
    (tmp_path / "envoy" / "__init__.py").touch()
    program = tmp_path / "envoy" / "_bin" / "envoy"
    program.touch(mode=0o644)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_envoy(None) == program
    assert os.access(program, os.X_OK)


async def test_run_ends_with_its_envoy_and_leaves_no_file(hub: HubProcess, tmp_path: Path):
    listen = lasting_address()
    command = [sys.executable, "-m", "hub.cli", "envoy", "run", "--listen", listen]
    command += ["--binary", tool("envoy"), "--", "--use-dynamic-base-id", "--log-level", "error"]
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(os.environ) | hub.environment | {"TMPDIR": str(tmp_path)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    host, _, port = listen.rpartition(":")

    async def listens() -> bool:
        assert process.returncode is None, shlex.join(command)
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        return True

    await wait_until(listens)
    (file,) = await asyncio.to_thread(lambda: list(tmp_path.glob("*/*")))
    assert file.stat().st_mode & 0o077 == 0
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    assert os.listdir(tmp_path) == []
