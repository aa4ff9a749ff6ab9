"""Calls as the dashboard's page makes them: with the session cookie and the X-LLM-Hub header."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.cookies import Morsel, SimpleCookie
from typing import Any

import aiohttp
import orjson

from tests.support.hub import HubClient

SESSION = "/api/dashboard/session"
STREAM = "/api/dashboard/stream"
PROOF = {"X-LLM-Hub": "dashboard"}
_DEADLINE_S = 30.0


class SseReader:
    """Reads the events of a stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, str, Any]:
        """The next event: its id, its type and its data."""
        fields = {"id": "", "event": ""}
        async with asyncio.timeout(_DEADLINE_S):
            while line := (await self.response.content.readuntil(b"\n"))[:-1].decode():
                name, _, value = line.partition(": ")
                fields[name] = value
        return fields["id"], fields["event"], orjson.loads(fields["data"])

    async def until(self, kind: str, key: str) -> tuple[str, Any]:
        """The id and data of the next event of that kind whose data has `key`."""
        while True:
            id_, event, data = await self.next()
            if event == kind and key in data:
                return id_, data

    async def ended(self) -> bool:
        async with asyncio.timeout(_DEADLINE_S):
            return await self.response.content.read() == b""


class Browser:
    """The session cookie of one browser, without a browser."""

    def __init__(self, hub: HubClient) -> None:
        self.hub = hub
        self.cookie: Morsel[str] | None = None

    async def sign_in(self, token: str | None = None) -> aiohttp.ClientResponse:
        body = {"token": self.hub.admin_token if token is None else token}
        return await self.call("POST", SESSION, body, Origin=f"http://{self.hub.http_address}")

    async def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> aiohttp.ClientResponse:
        """Makes a same-origin call; a header given as "" is omitted."""
        sent = self.headers() | {key.replace("_", "-"): value for key, value in headers.items()}
        async with self.hub.session.request(
            method,
            f"http://{self.hub.http_address}{path}",
            json=body,
            headers={key: value for key, value in sent.items() if value},
        ) as response:
            await response.read()
            self._keep(response.headers)
            return response

    @asynccontextmanager
    async def stream(self, **headers: str) -> AsyncIterator[SseReader]:
        sent = self.headers() | {key.replace("_", "-"): value for key, value in headers.items()}
        async with self.hub.session.get(
            f"http://{self.hub.http_address}{STREAM}",
            headers=sent,
            read_bufsize=2**24,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            assert response.status == 200, (response.status, await response.read())
            yield SseReader(response)

    def headers(self) -> Mapping[str, str]:
        if self.cookie is None:
            return dict(PROOF)
        return PROOF | {"Cookie": f"{self.cookie.key}={self.cookie.value}"}

    def _keep(self, headers: Any) -> None:
        for text in headers.getall("Set-Cookie", []):
            for morsel in SimpleCookie(text).values():
                self.cookie = morsel if morsel.value else None
