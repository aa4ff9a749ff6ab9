"""A hub that cannot start prints the reason in one line and exits with a code other than 0."""

import asyncio
import logging
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from hub.base.data_dir import ADMIN_TOKEN_FILE, STORE_FILE
from hub.base.settings import Settings
from hub.server import process
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from tests.support.command import llm_hub
from tests.support.hub import HubProcess, running_hub, settings_for

pytestmark = pytest.mark.usefixtures("grpc_engine")


@dataclass(frozen=True)
class Refusal:
    code: int
    line: str


@pytest.fixture
def refusal(capfd) -> Iterator[Callable[[Settings], Refusal]]:
    """Runs a hub as `serve` does. The hub must exit by itself and print nothing else."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(settings: Settings) -> Refusal:
        # Discard the log of an earlier hub of the test.
        capfd.readouterr()
        code = process.run(settings)
        written = capfd.readouterr()
        assert written.out == ""
        (line,) = written.err.splitlines()
        return Refusal(code, line)

    yield run
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


async def test_a_second_hub_on_the_same_data_directory_is_refused(tmp_path):
    async with running_hub(tmp_path) as first:
        second = HubProcess(tmp_path)
        try:
            await second.launch()
            code, errors = await second.exited()
        finally:
            await second.close()
        assert code == 1
        (line,) = errors.splitlines()
        assert line.startswith(f"llm-hub: {tmp_path / STORE_FILE}")
        # The first hub keeps running, and the file still has its token.
        await first.call("RegisterEndpoint", RegisterEndpointRequest(host="localhost"))
        assert (tmp_path / ADMIN_TOKEN_FILE).read_text().strip() == first.admin_token


@pytest.mark.parametrize("transport", ["ws", "grpc", "http"])
def test_a_port_in_use_is_reported(tmp_path, refusal, transport):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = refusal(settings_for(tmp_path, **{transport: {"address": address}}))
    assert refused == Refusal(
        1,
        f"llm-hub: {transport}: cannot listen on {address}: Address already in use; stop what "
        f"listens there, or choose another port: --{transport} 127.0.0.1:0 picks a free one",
    )


@pytest.mark.parametrize("transport", ["ws", "grpc", "http"])
def test_an_address_of_another_machine_is_refused(tmp_path, refusal, transport):
    sections = {transport: {"address": "192.0.2.1:0"}, "tls": {"insecure": True}}
    refused = refusal(settings_for(tmp_path, **sections))
    assert refused == Refusal(
        1, f"llm-hub: {transport}: cannot listen on 192.0.2.1:0: Cannot assign requested address"
    )


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "[::1:80"])
def test_an_invalid_address_is_reported(tmp_path, address):
    refused = llm_hub("serve", "--data-dir", str(tmp_path), "--ws", address)
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert "--ws" in line
    assert len(line) < 200


@pytest.mark.parametrize("damage", ["garbage", "cut", "zeros", "foreign"])
def test_a_file_that_is_not_a_store_is_reported(tmp_path, refusal, damage):
    file = tmp_path / STORE_FILE
    match damage:
        case "garbage":
            file.write_bytes(b"\x17" * 8192)
        case "cut":
            file.write_bytes(b"SQLite format 3\x00" + b"\x10\x00\x02\x02")
        case "zeros":
            file.write_bytes(b"\x00" * 4096)
        case "foreign":
            connection = sqlite3.connect(file)
            connection.execute("CREATE TABLE notes (text TEXT)")
            connection.close()
    file.chmod(0o600)
    before = file.read_bytes()
    refused = refusal(settings_for(tmp_path))
    assert refused.code == 1
    assert refused.line.startswith(f"llm-hub: {file}")
    assert file.read_bytes() == before


def test_a_damaged_record_is_reported(tmp_path, refusal):
    settings = settings_for(tmp_path)

    async def fill() -> None:
        async with running_hub(tmp_path) as hub:
            await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="localhost"))

    asyncio.run(fill())
    connection = sqlite3.connect(tmp_path / STORE_FILE)
    (table,) = (
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if name != "meta"
    )
    changed = connection.execute(
        f"UPDATE {table} SET value = x'ffff' WHERE key = 'endpoints/localhost:11434'"
    )
    assert changed.rowcount == 1
    connection.commit()
    connection.close()
    refused = refusal(settings)
    assert refused.code == 1
    assert refused.line.startswith("llm-hub: ")
    assert "endpoints/localhost:11434" in refused.line


@pytest.mark.parametrize("below", [False, True])
def test_a_data_directory_that_cannot_be_created_is_reported(tmp_path, refusal, below):
    (tmp_path / "file").write_text("")
    directory = tmp_path / "file" / "data" if below else tmp_path / "file"
    refused = refusal(settings_for(directory))
    assert refused.code == 1
    assert refused.line.startswith(f"llm-hub: data directory {directory}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_cannot_be_written_is_reported(tmp_path, refusal):
    tmp_path.chmod(0o500)
    refused = refusal(settings_for(tmp_path))
    assert refused.code == 1
    assert refused.line.startswith(f"llm-hub: data directory {tmp_path}: not writable")


def test_a_store_that_other_users_may_read_is_refused(tmp_path, refusal):
    file = Path(tmp_path / STORE_FILE)
    file.write_bytes(b"")
    file.chmod(0o644)
    refused = refusal(settings_for(tmp_path))
    assert refused.code == 1
    assert "chmod 600" in refused.line
