"""The dashboards' stream: server-sent events, each dashboard a number in `LiveUpdates`."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import orjson
from aiohttp import web

from hub.contract.errors import HubError, LimitReached
from hub.service.access.caller import Principal
from hub.service.operations import FOLLOW_DASHBOARD, SHOW_CALLER
from hub.transports.http.authentication import HttpCalls
from hub.transports.http.dashboard.updates import LiveUpdates
from hub.transports.http.shared_body import write_shared
from llmhub.v1.resources_pb2 import Role

MAX_STREAMS: Final = 256
"""The most dashboards at a time."""

MAX_STREAMS_PER_TOKEN: Final = 32
"""The most of these that one token's bearer may have, over all its sessions."""

# Proxies cut what is silent, commonly after 30 s or more.
_BEAT_S: Final = 15.0

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # nginx would otherwise hold events back until its buffer is full.
    "X-Accel-Buffering": "no",
}


class DashboardStream:
    """Serves the stream."""

    def __init__(
        self,
        updates: LiveUpdates,
        calls: HttpCalls,
        about: Callable[[], dict[str, object]],
    ) -> None:
        """`about` is what the first event tells of the hub."""
        self._updates = updates
        self._calls = calls
        self._clock = calls.clock
        self._about = about
        self._by_token: Counter[str] = Counter()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Sends `hello`, `state`, then each `update`; `beat` where nothing happens.

        Ends with `end` when the caller's token or session does, or the hub stops.
        """
        principal: Principal = await self._calls.call(request, FOLLOW_DASHBOARD)
        if self._updates.followers >= MAX_STREAMS:
            raise LimitReached(f"{MAX_STREAMS} dashboards are open already")
        if self._by_token[principal.token_id] >= MAX_STREAMS_PER_TOKEN:
            raise LimitReached(f"{MAX_STREAMS_PER_TOKEN} dashboards of this token are open already")
        response = web.StreamResponse(headers=_HEADERS)
        try:
            with self._counted(principal.token_id), self._updates.following():
                await response.prepare(request)
                await self._follow(request, response, self._hello(principal))
        except ConnectionResetError:
            # The browser has gone, or read no more and was cut; it comes back by itself.
            pass
        return response

    @contextmanager
    def _counted(self, token_id: str) -> Iterator[None]:
        self._by_token[token_id] += 1
        try:
            yield
        finally:
            self._by_token[token_id] -= 1
            if not self._by_token[token_id]:
                del self._by_token[token_id]

    async def _follow(
        self, request: web.Request, response: web.StreamResponse, hello: bytes
    ) -> None:
        updates = self._updates
        resumed = updates.resume(request.headers.get("Last-Event-ID", ""))
        number, block = updates.state() if resumed is None else updates.after(resumed)
        await response.write(hello)
        while True:
            await write_shared(response, block)
            await updates.wait(number, _BEAT_S)
            if (ending := await self._ending(request)) is not None:
                await response.write(_event("end", {"reason": ending}))
                return
            number, block = updates.after(number)
            block = block or _event("beat", {"now": self._clock.now_ms()})

    async def _ending(self, request: web.Request) -> str | None:
        if self._updates.stopped:
            return "stopping"
        try:
            await self._calls.call(request, SHOW_CALLER)
        except HubError:
            return "signed_out"
        return None

    def _hello(self, principal: Principal) -> bytes:
        role = Role.Name(principal.role).removeprefix("ROLE_").lower()
        return _event("hello", {"role": role, "now": self._clock.now_ms(), **self._about()})


def _event(kind: str, value: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(value))
