"""A real Envoy in front of a hub under test, and inference servers behind it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from hub.cli.commands.envoy import GATEWAY_CALLS
from hub.cli.output.envoy_bootstrap import Bootstrap
from llmhub.v1.admin_service_pb2 import CreateTokenRequest, RegisterEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_ADMIN, TokenScope
from tests.scenarios.test_tools import tool
from tests.support.hub import HubClient
from tests.support.ports import lasting_address
from tests.support.waiting import wait_until


@dataclass
class Arrived:
    """One request as an inference server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class InferenceServer:
    """A server with OpenAI's API that does to requests what `behave` does."""

    name: str
    models: list[str]
    port: int = 0
    arrived: list[Arrived] = field(default_factory=list)
    behave: Callable[[web.Request], Any] | None = None
    _runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and request.path == "/v1/models":
            data = [{"id": name, "object": "model"} for name in self.models]
            return web.json_response({"object": "list", "data": data})
        if request.method == "GET":
            return web.json_response({}, status=404)
        body = await request.read()
        self.arrived.append(Arrived(request.method, request.path_qs, dict(request.headers), body))
        if self.behave is not None:
            answer = await self.behave(request)
            if answer is not None:
                return answer
        return web.json_response({"served_by": self.name, "length": len(body)})


class Gateway:
    """A running Envoy."""

    scheme = "http"

    def __init__(self, address: str, admin: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self.admin = admin
        self.session = session

    def url(self, path: str) -> str:
        return f"{self.scheme}://{self.address}{path}"

    async def post(
        self, path: str = "/v1/chat/completions", *, token: str = "", **given: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """The status, the body as JSON, and the headers."""
        headers = dict(given.pop("headers", {}))
        if token:
            headers["authorization"] = f"Bearer {token}"
        method = given.pop("method", "POST")
        async with self.session.request(
            method, self.url(path), headers=headers, **given
        ) as response:
            raw = await response.read()
            try:
                return response.status, json.loads(raw), dict(response.headers)
            except ValueError:
                return response.status, raw, dict(response.headers)

    async def knows(self, *servers: InferenceServer) -> None:
        """Waits until Envoy has these servers, in good health, in its set."""

        async def known() -> bool:
            async with self.session.get(f"http://{self.admin}/clusters?format=json") as answer:
                clusters = (await answer.json(content_type=None))["cluster_statuses"]
            return {server.address for server in servers} <= {
                f"{at['address']}:{at['port_value']}"
                for cluster in clusters
                for host in cluster.get("host_statuses", ())
                if host["health_status"].get("eds_health_status") == "HEALTHY"
                for at in (host["address"]["socket_address"],)
            }

        await wait_until(known)


async def gateway_token(hub: HubClient) -> str:
    """A token that may do what a gateway does, and nothing else."""
    request = CreateTokenRequest(role=ROLE_ADMIN, scope=TokenScope(rpcs=GATEWAY_CALLS))
    return (await hub.call("CreateToken", request)).token


async def register(
    hub: HubClient, gateway: Gateway | None, *servers: InferenceServer, **fields: Any
) -> None:
    """Registers servers, and waits until hub and gateway have found them healthy."""
    for server in servers:
        request = RegisterEndpointRequest(host="127.0.0.1", port=server.port, **fields)
        await hub.call("RegisterEndpoint", request)
    wanted = {server.address for server in servers}

    async def healthy() -> bool:
        found = (await hub.snapshot()).endpoints
        return wanted <= {each.id for each in found if each.models}

    await wait_until(healthy)
    if gateway is not None:
        await gateway.knows(*servers)


@asynccontextmanager
async def inference_servers(*servers: InferenceServer) -> AsyncIterator[None]:
    try:
        for server in servers:
            await server.start()
        yield
    finally:
        for server in servers:
            await server.stop()


@asynccontextmanager
async def envoy(
    directory: Path,
    bootstrap: Bootstrap,
    change: Callable[[str], str] = str,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Gateway]:
    """Runs Envoy with a bootstrap, whose text `change` may change, and waits until it answers."""
    program = tool("envoy")
    config = directory / "envoy.yaml"
    config.write_text(change(bootstrap.text()))
    log = (directory / "envoy.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        program,
        *("--config-path", str(config), "--use-dynamic-base-id", "--concurrency", "1"),
        *("--log-level", "warning"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            gateway = Gateway(bootstrap.listen, bootstrap.admin, session)
            gateway.scheme = "https" if tls is not None else "http"

            async def listens() -> bool:
                assert process.returncode is None, (directory / "envoy.log").read_text()
                try:
                    async with session.get(gateway.url("/v1/models"), ssl=tls or True):
                        return True
                except aiohttp.ClientError:
                    return False

            await wait_until(listens)
            yield gateway
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(30):
            await process.wait()
        log.close()


@asynccontextmanager
async def gateway_before(
    hub: HubClient, directory: Path, change: Callable[[str], str] = str, **fields: Any
) -> AsyncIterator[Gateway]:
    """Envoy as `llm-hub envoy config` sets it up for a hub."""
    bootstrap = Bootstrap(
        hub=hub.grpc_address,
        token=await gateway_token(hub),
        listen=lasting_address(),
        admin=lasting_address(),
        **fields,
    )
    async with envoy(directory, bootstrap, change) as gateway:
        yield gateway
