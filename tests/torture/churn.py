"""Clients that come and go in every way that a hub knows, at a modest pace."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

import aiohttp
import grpc.aio
from websockets.exceptions import InvalidStatus, WebSocketException

from hub.contract import rpcs
from llmhub.v1.admin_service_pb2 import (
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RemoveModelAliasRequest,
    RevokeTokenRequest,
    SetModelAliasRequest,
)
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.registry_service_pb2 import (
    ReleaseSelectionRequest,
    SelectEndpointRequest,
    WatchRegistryRequest,
)
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.browser_calls import SESSION, Browser
from tests.support.hub import REGISTRY_PATH, HubClient

MODEL = "m"
_HOSTS = 400
_REFUSALS = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""What may happen to a call because another client was faster."""


class Churn:
    """All clients of one hub; `done` counts what they did, `failed` what they should not see."""

    def __init__(self, hub: HubClient, seed: int = 5) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.shed = 0
        """Connections that an overloaded hub refused."""
        self.kinds: dict[str, tuple[Callable[[], Awaitable[None]], int, float]] = {
            "registrations": (self._register, 2, 0.1),
            "aliases": (self._alias, 1, 0.2),
            "sidecars": (self._sidecar, 12, 0.1),
            "watches": (self._watch, 3, 0.5),
            "selections": (self._select, 2, 0.1),
            "reads": (self._read, 1, 0.5),
            "browsers": (self._browse, 1, 1.0),
            "tokens": (self._change_token, 1, 0.5),
        }
        """Per kind: what one client does, how many do it, and the mean pause in between."""
        self._hub = hub
        self._random = Random(seed)
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def running(self, scale: int) -> AsyncIterator[None]:
        """Has clients of all kinds work in the block; all connections are closed at its end."""
        tasks = [
            asyncio.ensure_future(self._repeat(name, work, pause_s))
            for name, (work, count, pause_s) in self.kinds.items()
            for _ in range(count * scale)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _repeat(self, name: str, work: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0, 2 * pause_s))
            try:
                await work()
                self.done[name] += 1
            except grpc.aio.AioRpcError as error:
                if error.code() not in _REFUSALS:
                    self.failed[f"{name}: {error.code().name} {error.details()}"] += 1
            except (OSError, TimeoutError, aiohttp.ClientError, WebSocketException) as error:
                if isinstance(error, InvalidStatus) and error.response.status_code == 503:
                    # On a busy machine a niced hub is late, and refuses new sidecars first.
                    self.shed += 1
                    continue
                self.failed[f"{name}: {error!r}"] += 1

    def _host(self) -> str:
        return f"127.8.0.{self._random.randrange(_HOSTS // 2) + 1}"

    async def _register(self) -> None:
        host = self._host()
        if self._random.random() < 0.4:
            await self._hub.call("RemoveEndpoint", RemoveEndpointRequest(id=f"{host}:9"))
            return
        labels = {"site": f"hall-{next(self._numbers) % 100}"}
        request = RegisterEndpointRequest(host=host, port=9, labels=labels)
        await self._hub.call("RegisterEndpoint", request)

    async def _alias(self) -> None:
        name = f"alias-{self._random.randrange(200)}"
        if self._random.random() < 0.4:
            await self._hub.call("RemoveModelAlias", RemoveModelAliasRequest(name=name))
            return
        alias = ModelAlias(name=name, targets=[AliasTarget(model=f"m{next(self._numbers)}")])
        await self._hub.call("SetModelAlias", SetModelAliasRequest(alias=alias))

    async def _sidecar(self) -> None:
        """A sidecar of an agent that was never there before; its token is revoked at the end."""
        agent = f"node-{next(self._numbers)}"
        created = await self._hub.created_token(ROLE_SIDECAR, agent)
        url = f"http://127.9.0.{self._random.randrange(_HOSTS // 2) + 1}:9"
        async with self._hub.sidecar(agent, token=created.token) as socket:
            for turn in range(self._random.randrange(4, 20)):
                await socket.send(
                    {
                        "type": "resource_report",
                        "cpu_percent": float(turn),
                        "ram_used_bytes": 730218752 + turn,
                        "ram_total_bytes": 33276502016,
                        "vram_used_bytes": 0,
                        "vram_total_bytes": None,
                        "timestamp": 1795339132121 + turn,
                    }
                )
                if turn % 5 == 1:
                    models = [{"name": f"{agent}-{number}"} for number in range(turn)]
                    report = {"type": "endpoint_report", "url": url, "models": models}
                    await socket.ask(report | {"reachable": True})
                await asyncio.sleep(0.2)
            await self._hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
            await socket.closed()

    async def _watch(self) -> None:
        rpc = rpcs.rpc("WatchRegistry")
        stream = self._hub.channel.unary_stream(
            rpc.path,
            request_serializer=rpc.request.SerializeToString,
            response_deserializer=rpc.response.FromString,
        )
        revision = 0
        for _ in range(2):
            request = WatchRegistryRequest(after_revision=revision, include_resources=True)
            call = stream(request, metadata=self._hub.metadata(None), timeout=30)
            for _ in range(self._random.randrange(10, 60)):
                response = await call.read()
                revision = response.revision or revision
            call.cancel()

    async def _select(self) -> None:
        request = SelectEndpointRequest(model=MODEL)
        request.lease_ttl.FromSeconds(self._random.randrange(1, 30))
        answer = await self._hub.call("SelectEndpoint", request)
        if self._random.random() < 0.7:
            lease = ReleaseSelectionRequest(lease_id=answer.selections[0].lease_id)
            await self._hub.call("ReleaseSelection", lease)

    async def _read(self) -> None:
        for path in (REGISTRY_PATH, f"{REGISTRY_PATH}/snapshot", "/api/models", "/readyz"):
            answer = await self._hub.http("GET", path)
            if answer.status != 200:
                self.failed[f"{path}: {answer.status} {answer.json}"] += 1
        await self._hub.snapshot()

    async def _browse(self) -> None:
        browser = Browser(self._hub)
        await browser.sign_in()
        async with browser.stream() as events:
            for _ in range(self._random.randrange(3, 30)):
                await events.next()
        origin = f"http://{self._hub.http_address}"
        await browser.call("DELETE", SESSION, Origin=origin)

    async def _change_token(self) -> None:
        created = await self._hub.created_token(ROLE_READER, ttl_s=60)
        await self._hub.call("ListEndpoints", token=created.token)
        if self._random.random() < 0.8:
            await self._hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
