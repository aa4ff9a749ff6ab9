"""Real programs load the configuration that the hub renders for them, and pass requests on.

A test without its program is skipped. `.ci/run` installs nginx, HAProxy and Traefik, and
`make test-real` LiteLLM's proxy.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from hub.registry.rendering.haproxy_config import haproxy_config
from hub.registry.rendering.litellm_config import litellm_config
from hub.registry.rendering.nginx_config import nginx_config
from hub.registry.rendering.routable_fleet import RoutableFleet
from hub.registry.rendering.traefik_config import traefik_config
from llmhub.v1.admin_service_pb2 import CheckEndpointRequest, RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import BACKEND_VLLM
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import running_hub
from tests.support.ports import lasting_port
from tests.support.routable import KEYS, LLAMA, QWEN, endpoint, fleet_of, mixed_fleet, model
from tests.support.waiting import wait_until
from tools.fleetsim import FakeVllm, Fleet

_START_S = 90.0
_PLACES = os.pathsep.join(filter(None, [os.environ.get("REAL_SERVERS"), os.environ["PATH"]]))


def program(name: str) -> str:
    found = shutil.which(name, path=_PLACES)
    if found is None:
        pytest.skip(f"{name} is not on PATH")
    return found


async def ends(*command: str, **environment: str) -> tuple[int, str]:
    """The exit code and the output of a command that checks a file."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(_START_S):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@asynccontextmanager
async def running(port: int, *command: str, **environment: str) -> AsyncIterator[None]:
    """A program, from when it listens at the port until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def listens() -> bool:
        assert process.returncode is None, f"{command[0]} has ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await wait_until(listens, timeout_s=_START_S)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A server that answers a chat with the path and the key of the request; gives its port."""

    async def answer(request: web.Request) -> web.Response:
        content = f"{request.path} {request.headers.get('Authorization', '-')}"
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = await request.json()
        return web.json_response(
            {
                "id": "chat-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def chat(url: str, name: str, key: str = "") -> str:
    """What the server answers to a chat, by way of the program at `url`."""
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        session.post(f"{url}/chat/completions", json=body, headers=headers) as response,
    ):
        assert response.status == 200, await response.text()
        content = (await response.json())["choices"][0]["message"]["content"]
        assert isinstance(content, str)
        return content


def behind(port: int) -> RoutableFleet:
    """Two models on the echoing server: one at its root, one below a path and with a key."""
    plain = endpoint(f"127.0.0.1:{port}", model(LLAMA), backend=BACKEND_VLLM)
    keyed = endpoint(
        f"localhost:{port}",
        model(QWEN),
        backend=BACKEND_VLLM,
        base_path="/gpu",
        labels={"api-key-env": "VLLM_KEY"},
    )
    return fleet_of(plain, keyed, environment=KEYS)


async def assert_paths_lead_to_models(url: str) -> None:
    assert await chat(f"{url}/models/{LLAMA}/v1", LLAMA) == "/v1/chat/completions -"
    key = f"Bearer {KEYS['VLLM_KEY']}"
    assert await chat(f"{url}/models/{QWEN}/v1", QWEN) == f"/gpu/v1/chat/completions {key}"


def nginx_files(tmp_path: Path, rendered: str) -> Path:
    (tmp_path / "llm.conf").write_text(rendered)
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"daemon off; worker_processes 1; pid {tmp_path}/pid; error_log stderr;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body;\n"
        f"proxy_temp_path {tmp_path}/proxy; include {tmp_path}/llm.conf; }}\n"
    )
    return main


@pytest.mark.parametrize("environment", [None, KEYS])
async def test_nginx_accepts_every_fleet(
    tmp_path: Path, environment: dict[str, str] | None
) -> None:
    nginx = program("nginx")
    for fleet in (mixed_fleet(environment), fleet_of()):
        main = nginx_files(tmp_path, nginx_config(fleet, "127.0.0.1:8090"))
        code, said = await ends(nginx, "-t", "-p", str(tmp_path), "-c", str(main))
        assert code == 0, said


async def test_nginx_leads_a_path_to_its_model(tmp_path: Path) -> None:
    nginx, port = program("nginx"), lasting_port()
    async with echoing() as server:
        main = nginx_files(tmp_path, nginx_config(behind(server), f"127.0.0.1:{port}"))
        async with running(port, nginx, "-p", str(tmp_path), "-c", str(main)):
            await assert_paths_lead_to_models(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("environment", [None, KEYS])
async def test_haproxy_accepts_every_fleet(
    tmp_path: Path, environment: dict[str, str] | None
) -> None:
    haproxy, file = program("haproxy"), tmp_path / "haproxy.cfg"
    for fleet in (mixed_fleet(environment), fleet_of()):
        file.write_text(haproxy_config(fleet, "127.0.0.1:8090"))
        code, said = await ends(haproxy, "-c", "-f", str(file), **KEYS)
        assert code == 0, said
        assert "WARNING" not in said


async def test_haproxy_leads_a_path_and_a_body_to_its_model(tmp_path: Path) -> None:
    haproxy, port, file = program("haproxy"), lasting_port(), tmp_path / "haproxy.cfg"
    async with echoing() as server:
        file.write_text(haproxy_config(behind(server), f"127.0.0.1:{port}"))
        async with running(port, haproxy, "-db", "-f", str(file)):
            await assert_paths_lead_to_models(f"http://127.0.0.1:{port}")
            url = f"http://127.0.0.1:{port}/v1"
            assert await chat(url, LLAMA) == "/v1/chat/completions -"
            assert (await chat(url, QWEN)).startswith("/gpu/v1/chat/completions Bearer ")
            with pytest.raises(AssertionError, match="model_not_found"):
                await chat(url, "absent")


async def test_traefik_leads_a_path_to_its_model(tmp_path: Path) -> None:
    traefik, port, file = program("traefik"), lasting_port(), tmp_path / "dynamic.yaml"
    async with echoing() as server:
        file.write_text(traefik_config(behind(server)))
        url = f"http://127.0.0.1:{port}"
        command = (
            traefik,
            f"--entrypoints.web.address=127.0.0.1:{port}",
            f"--providers.file.filename={file}",
            "--log.level=ERROR",
        )
        async with running(port, *command):
            await wait_until_served(f"{url}/models/{LLAMA}/v1")
            await assert_paths_lead_to_models(url)


async def test_traefiks_http_provider_reads_the_hubs_route(tmp_path: Path) -> None:
    traefik, port = program("traefik"), lasting_port()
    async with running_hub(tmp_path) as hub, Fleet() as fleet:
        server = await fleet.add(FakeVllm())
        await hub.call(
            "RegisterEndpoint", RegisterEndpointRequest(host=server.host, port=server.port)
        )
        await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
        command = (
            traefik,
            f"--entrypoints.web.address=127.0.0.1:{port}",
            f"--providers.http.endpoint=http://{hub.http_address}/api/discovery/traefik",
            f"--providers.http.headers.Authorization=Bearer {await hub.token(ROLE_READER)}",
            "--providers.http.pollInterval=1s",
            "--log.level=ERROR",
        )
        async with running(port, *command):
            await wait_until_served(f"http://127.0.0.1:{port}/models/{FakeVllm().models[0]}/v1")


async def wait_until_served(url: str) -> None:
    async with aiohttp.ClientSession() as session:

        async def is_served() -> bool:
            async with session.get(f"{url}/models") as response:
                return response.status != 404

        await wait_until(is_served, timeout_s=_START_S)


async def test_litellm_sends_each_model_to_its_server(tmp_path: Path) -> None:
    litellm, port, file = program("litellm"), lasting_port(), tmp_path / "config.yaml"
    async with echoing() as server:
        file.write_text(litellm_config(behind(server)))
        command = (litellm, "--config", str(file), "--host", "127.0.0.1", "--port", str(port))
        async with running(port, *command, LITELLM_MASTER_KEY="sk-master", NO_DOCS="True"):
            url = f"http://127.0.0.1:{port}/v1"
            assert (await chat(url, LLAMA, "sk-master")).startswith("/v1/chat/completions")
            key = f"Bearer {KEYS['VLLM_KEY']}"
            assert await chat(url, QWEN, "sk-master") == f"/gpu/v1/chat/completions {key}"
