"""API keys of inference servers: encrypted in the store, and in nothing that the hub gives out."""

import asyncio
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
from aiohttp import web

from hub.base.data_dir import ADMIN_TOKEN_FILE, KEY_FILE, STORE_FILE
from hub.stores.keyring import Key, read_keys, write_keys
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Put
from llmhub.v1.admin_service_pb2 import CheckEndpointRequest, RegisterEndpointRequest
from tests.support.command import llm_hub
from tests.support.etcd import shared_server
from tests.support.hub import REGISTRY_PATH, HubProcess, RunningHub, hub_process, running_hub
from tests.support.hub_process import hub_environment, serve_command
from tests.support.stores import answering
from tests.support.waiting import wait_until

SECRET = "sk-c0ffee-very-secret-key"


class Guarded:
    """An inference server that requires the key, and records what it was sent."""

    def __init__(self) -> None:
        self.sent: set[str] = set()
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.sent.add(request.headers.get("Authorization", ""))
        return web.json_response({"data": []})


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    server, app = Guarded(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


def request_for(server: Guarded, api_key: str = SECRET) -> RegisterEndpointRequest:
    return RegisterEndpointRequest(host="127.0.0.1", port=server.port, api_key=api_key)


def files_with(directory: Path, text: str) -> list[str]:
    return [
        file.name
        for file in directory.rglob("*")
        if file.is_file() and text.encode() in file.read_bytes()
    ]


async def test_nothing_that_a_hub_writes_or_says_holds_a_key(tmp_path, guarded):
    data = tmp_path / "data"
    config = tmp_path / "hub.toml"
    config.write_text('[log]\nlevel = "debug"\n')
    said: list[bytes] = []
    async with hub_process(data, "--config", str(config)) as process:
        async with process.client() as hub:
            await hub.call("RegisterEndpoint", request_for(guarded))
            await wait_until(lambda: f"Bearer {SECRET}" in guarded.sent)
            for name in ("GetSnapshot", "ListEndpoints", "ListAuditEvents", "GetServerInfo"):
                said += [(await hub.call(name)).SerializeToString()]
            # Errors repeat what is wrong, but no key.
            for body in (
                {"host": "127.0.0.1", "api_key": f"{SECRET} "},
                {"host": "!", "api_key": SECRET},
                {"host": "127.0.0.1", "api_key": [SECRET]},
            ):
                answer = await hub.http("POST", REGISTRY_PATH, body=body)
                assert answer.status == 422
                said.append(json.dumps(answer.json).encode())
            headers = {"Authorization": f"Bearer {hub.admin_token}"}
            for path in ("/api/admin/backup", "/metrics", REGISTRY_PATH):
                url = f"http://{hub.http_address}{path}"
                async with hub.session.get(url, headers=headers) as response:
                    assert response.status == 200
                    said.append(await response.read())
            admin_token = hub.admin_token
        banner = "\n".join(process.banner)
        process.send(signal.SIGTERM)
        code, errors = await process.exited()
    assert code == 0
    said += [banner.encode(), errors.encode()]
    assert [part for part in said if SECRET.encode() in part] == []
    assert files_with(tmp_path, SECRET) == []
    # The backup, of which no one has the key ring, has the record.
    assert any(b"SQLite format 3" in part and b"secrets/127" in part for part in said)
    ring = (data / KEY_FILE).read_text().split()[-3]
    assert [part for part in said if ring.encode() in part] == []
    # Stdout was a pipe, so it names the file and not the token.
    assert admin_token not in banner
    assert "admin.token" in banner


async def test_a_restarted_hub_still_has_the_key(tmp_path, guarded):
    async with running_hub(tmp_path) as hub:
        await hub.call("RegisterEndpoint", request_for(guarded))
        await wait_until(lambda: f"Bearer {SECRET}" in guarded.sent)
    guarded.sent.clear()
    async with running_hub(tmp_path):
        await wait_until(lambda: f"Bearer {SECRET}" in guarded.sent)


async def test_plain_keys_of_an_earlier_version_are_encrypted_at_the_start(tmp_path, guarded):
    old, gone = f"{SECRET}-old", f"{SECRET}-gone"
    async with running_hub(tmp_path) as hub:
        endpoint = (await hub.call("RegisterEndpoint", request_for(guarded, ""))).endpoint
    # As the last version wrote them; the second one has since been replaced.
    store = SqliteStore(tmp_path / STORE_FILE)
    await store.open(lambda _: None)
    await store.commit([Put(f"secrets/{endpoint.id}", gone.encode())])
    await store.commit([Put(f"secrets/{endpoint.id}", old.encode())])
    await store.close()
    assert files_with(tmp_path, old)
    guarded.sent.clear()
    async with running_hub(tmp_path):
        await wait_until(lambda: f"Bearer {old}" in guarded.sent)
        assert files_with(tmp_path, old) == []
        assert files_with(tmp_path, gone) == []
    assert files_with(tmp_path, SECRET) == []


async def test_rotation_by_the_command(tmp_path, guarded):
    async with running_hub(tmp_path) as hub:
        await hub.call("RegisterEndpoint", request_for(guarded))
    before = read_keys(tmp_path / KEY_FILE)
    done = await asyncio.to_thread(llm_hub, "secrets", "rotate", "--data-dir", str(tmp_path))
    after = read_keys(tmp_path / KEY_FILE)
    assert (done.code, done.out) == (0, f"{after[0].id}  current\n")
    assert after[1:] == before
    listed = await asyncio.to_thread(llm_hub, "secrets", "list", "--data-dir", str(tmp_path))
    assert listed.out == f"{after[0].id}  current\n{before[0].id}\n"
    async with running_hub(tmp_path) as hub:
        await rotate_while_it_runs(hub, tmp_path)
    # Only the last key is needed now.
    write_keys(tmp_path / KEY_FILE, read_keys(tmp_path / KEY_FILE)[:1])
    guarded.sent.clear()
    async with running_hub(tmp_path):
        await wait_until(lambda: f"Bearer {SECRET}" in guarded.sent)


async def is_known(hub: RunningHub, id_: str) -> bool:
    return id_ in {endpoint.id for endpoint in (await hub.snapshot()).endpoints}


async def rotate_while_it_runs(hub: RunningHub, directory: Path) -> None:
    write_keys(directory / KEY_FILE, (Key.new(), *read_keys(directory / KEY_FILE)))
    await hub.hub.reconfigure(hub.settings)


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")
async def test_a_hub_that_gets_the_new_key_late_probes_with_it(tmp_path, guarded):
    server = await asyncio.to_thread(shared_server)
    await answering(server.target)
    store = {"etcd": server.target, "etcd_prefix": f"{tmp_path}/"}
    old, new = Key.new(), Key.new()
    early, late = tmp_path / "early", tmp_path / "late"
    for directory in (early, late):
        directory.mkdir(mode=0o700)
        write_keys(directory / KEY_FILE, (old,))
    async with AsyncExitStack() as hubs:
        first = await hubs.enter_async_context(running_hub(early, store=store))
        (late / ADMIN_TOKEN_FILE).write_text(first.admin_token)
        second = await hubs.enter_async_context(running_hub(late, store=store))
        write_keys(early / KEY_FILE, (new, old))
        await first.hub.reconfigure(first.settings)
        endpoint = (await first.call("RegisterEndpoint", request_for(guarded))).endpoint
        await wait_until(lambda: is_known(second, endpoint.id))

        async def sent_by_second() -> set[str]:
            guarded.sent.clear()
            await second.call("CheckEndpoint", CheckEndpointRequest(id=endpoint.id))
            return guarded.sent

        await first.hub.stop()
        assert await sent_by_second() == {""}
        # Without the key a reload changes nothing, and does not fail.
        await second.hub.reconfigure(second.settings)
        assert await sent_by_second() == {""}
        write_keys(late / KEY_FILE, (new, old))
        await second.hub.reconfigure(second.settings)
        assert await sent_by_second() == {f"Bearer {SECRET}"}


async def test_a_copy_of_the_store_without_its_key_ring(tmp_path, guarded):
    first = tmp_path / "first"
    async with running_hub(first) as hub:
        await hub.call("RegisterEndpoint", request_for(guarded))
    second = tmp_path / "second"
    second.mkdir(mode=0o700)
    copy = second / STORE_FILE
    copy.write_bytes((first / STORE_FILE).read_bytes())
    copy.chmod(0o600)
    with closing(sqlite3.connect(copy)) as opened:
        rows = opened.execute("SELECT value FROM entries WHERE key LIKE 'secrets/%'").fetchall()
    assert len(rows) == 1
    process = HubProcess(second)
    await process.launch()
    code, errors = await process.exited()
    assert code == 1
    (line,) = errors.splitlines()
    assert "copy the key ring of the hub that wrote them" in line
    # With the ring by the environment it starts.
    (second / ADMIN_TOKEN_FILE).write_text((first / ADMIN_TOKEN_FILE).read_text())
    ring = read_keys(first / KEY_FILE)[0].line
    guarded.sent.clear()
    async with running_hub(second, secrets={"key": ring}):
        await wait_until(lambda: f"Bearer {SECRET}" in guarded.sent)
    assert files_with(second, ring) == []


def test_the_first_token_is_shown_on_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        serve_command(tmp_path / "data"),
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=hub_environment(),
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while b"\nready " not in shown:
                shown += os.read(ours, 65_536)
        finally:
            process.terminate()
    os.close(ours)
    token = (tmp_path / "data" / "admin.token").read_bytes().strip()
    assert token in shown
