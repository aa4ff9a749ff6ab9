"""Clients that write records of every kind, and read them back after a restart."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from http.cookies import SimpleCookie
from random import Random

import aiohttp
import grpc.aio

from llmhub.v1.admin_service_pb2 import (
    ListTokensRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RemoveModelAliasRequest,
    RevokeTokenRequest,
    SetModelAliasRequest,
)
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.registry_service_pb2 import ListModelAliasesRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.browser_calls import SESSION, Browser
from tests.support.hub import HubClient
from tests.torture.outcome import Ledger, Loss

_RECORDS = 40
_SESSIONS = 8


class Refused(Exception):
    """The hub answered that it did not do it."""


FAILURES = (grpc.aio.AioRpcError, aiohttp.ClientError, OSError, TimeoutError, Refused)
"""What a write raises if the hub is gone or does not do it."""


class Writer(ABC):
    """Writes records of one kind until the hub fails, and compares what the hub has."""

    name: str

    def __init__(self, number: int) -> None:
        self.number = number
        self.ledger = Ledger()
        self.random = Random(number)

    async def run(self, hub: HubClient) -> None:
        """Writes one record after the other until the hub no longer answers."""
        with contextlib.suppress(*FAILURES):
            while True:
                await self.write(hub)

    async def settle(self, hub: HubClient) -> Loss:
        """What the hub has lost."""
        return self.ledger.settle(await self.found(hub))

    def _wants_to_remove(self) -> bool:
        return self.random.random() < 0.3

    @abstractmethod
    async def write(self, hub: HubClient) -> None:
        """Writes or removes one record."""

    @abstractmethod
    async def found(self, hub: HubClient) -> dict[str, str]:
        """The records of this writer that the hub has."""


class EndpointWriter(Writer):
    """Registers, renames and removes endpoints."""

    name = "endpoints"

    async def write(self, hub: HubClient) -> None:
        live = self.ledger.live()
        if live and self._wants_to_remove():
            key = self.random.choice(live)
            call = hub.call("RemoveEndpoint", RemoveEndpointRequest(id=key))
            return await self.ledger.write(key, None, call)
        host = f"127.9.{self.number}.{self.random.randrange(_RECORDS) + 1}"
        name = f"n{self.ledger.writes}"
        request = RegisterEndpointRequest(host=host, port=9, name=name)
        return await self.ledger.write(f"{host}:9", name, hub.call("RegisterEndpoint", request))

    async def found(self, hub: HubClient) -> dict[str, str]:
        return {each.id: each.name for each in (await hub.snapshot()).endpoints}


class AliasWriter(Writer):
    """Sets and removes aliases of models."""

    name = "aliases"

    async def write(self, hub: HubClient) -> None:
        live = self.ledger.live()
        if live and self._wants_to_remove():
            key = self.random.choice(live)
            call = hub.call("RemoveModelAlias", RemoveModelAliasRequest(name=key))
            return await self.ledger.write(key, None, call)
        key = f"alias-{self.number}-{self.random.randrange(_RECORDS)}"
        model = f"m{self.ledger.writes}"
        alias = ModelAlias(name=key, targets=[AliasTarget(model=model)])
        call = hub.call("SetModelAlias", SetModelAliasRequest(alias=alias))
        return await self.ledger.write(key, model, call)

    async def found(self, hub: HubClient) -> dict[str, str]:
        answer = await hub.call("ListModelAliases", ListModelAliasesRequest(page_size=1_000))
        return {each.name: each.targets[0].model for each in answer.aliases}


class TokenWriter(Writer):
    """Creates and revokes tokens; a token counts once its secret has arrived."""

    name = "tokens"

    async def write(self, hub: HubClient) -> None:
        live = self.ledger.live()
        if len(live) > _RECORDS or (live and self._wants_to_remove()):
            key = self.random.choice(live)
            call = hub.call("RevokeToken", RevokeTokenRequest(id=key))
            return await self.ledger.write(key, None, call)
        created = await hub.created_token(ROLE_READER)
        self.ledger.acknowledged[created.token_info.id] = "reader"
        self.ledger.writes += 1
        return None

    async def found(self, hub: HubClient) -> dict[str, str]:
        answer = await hub.call("ListTokens", ListTokensRequest(page_size=1_000))
        return {each.id: "reader" for each in answer.tokens}


class SessionWriter(Writer):
    """Signs browsers in and out."""

    name = "sessions"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._ids: dict[str, str] = {}

    def _browser(self, hub: HubClient, key: str) -> Browser:
        browser = Browser(hub)
        # The cookie has the hub's port in its name, which differs after a restart.
        name = f"llm_hub_session_{hub.http_address.rpartition(':')[2]}"
        browser.cookie = SimpleCookie({name: self._ids[key]})[name]
        return browser

    async def write(self, hub: HubClient) -> None:
        live = self.ledger.live()
        if len(live) >= _SESSIONS or (live and self._wants_to_remove()):
            key = self.random.choice(live)
            origin = f"http://{hub.http_address}"
            call = self._browser(hub, key).call("DELETE", SESSION, Origin=origin)
            return await self.ledger.write(key, None, _done(call))
        browser = Browser(hub)
        await _done(browser.sign_in())
        assert browser.cookie is not None
        key = f"session-{self.number}-{len(self._ids)}"
        self._ids[key] = browser.cookie.value
        self.ledger.acknowledged[key] = "open"
        self.ledger.writes += 1
        return None

    async def found(self, hub: HubClient) -> dict[str, str]:
        found = {}
        for key, value in self.ledger.acknowledged.items():
            response = await self._browser(hub, key).call("GET", SESSION)
            if (await response.json())["role"]:
                found[key] = "open"
            elif value is None:
                # A session that has ended stays ended; its id is never used again.
                del self._ids[key]
        self.ledger.acknowledged = {
            key: value for key, value in self.ledger.acknowledged.items() if key in self._ids
        }
        return found


async def _done(call: Awaitable[aiohttp.ClientResponse]) -> None:
    response = await call
    if not response.ok:
        raise Refused(f"HTTP {response.status}")


KINDS: tuple[type[Writer], ...] = (EndpointWriter, AliasWriter, TokenWriter, SessionWriter)


def writers(each: int) -> list[Writer]:
    """`each` writers of every kind."""
    return [kind(number) for kind in KINDS for number in range(each)]


async def settled(hub: HubClient, working: list[Writer]) -> Loss:
    """What all writers miss."""
    loss = Loss()
    for writer in working:
        loss += await writer.settle(hub)
    return loss


@contextlib.asynccontextmanager
async def writing(hub: HubClient, working: list[Writer]) -> AsyncIterator[None]:
    """Has all writers write in the block; ends those that have not failed by then."""
    tasks = [asyncio.ensure_future(writer.run(hub)) for writer in working]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
