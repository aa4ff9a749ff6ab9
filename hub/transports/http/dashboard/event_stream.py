"""The event stream of the dashboards: server-sent events, a follower of `LiveUpdates` each."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import orjson
from aiohttp import web

from hub.contract.dialect.names import enum_word
from hub.contract.errors import HubError, LimitReached
from hub.service.access.caller import Principal
from hub.service.operations import FOLLOW_DASHBOARD, SHOW_CALLER
from hub.transports.http.authentication import HttpCalls
from hub.transports.http.dashboard.updates import LiveUpdates
from hub.transports.http.responses import write_shared
from llmhub.v1.resources_pb2 import Role

MAX_STREAMS: Final = 256
"""The maximum number of open dashboards."""

MAX_STREAMS_PER_TOKEN: Final = 32
"""The maximum number per token, over all its sessions."""

# Proxies close silent connections, commonly after 30 s or more.
_BEAT_S: Final = 15.0

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # Otherwise nginx holds events back until its buffer is full.
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
        """`about` returns what the first event says about the hub."""
        self._updates = updates
        self._calls = calls
        self._clock = calls.clock
        self._about = about
        self._by_token: Counter[str] = Counter()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Sends `hello`, `state`, then each `update`; `beat` while nothing happens.

        Ends with `end` if the caller's token or session ends, or the hub stops.
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
            # The browser has left, or stopped reading and was cut off; it reconnects by itself.
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
        follower = updates.follower(request.headers.get("Last-Event-ID", ""))
        block = updates.take(follower)
        await response.write(hello)
        while True:
            await write_shared(response, block)
            await updates.wait(follower, _BEAT_S)
            if (ending := await self._ending(request)) is not None:
                await response.write(_event("end", {"reason": ending}))
                return
            block = updates.take(follower) or _event("beat", {"now": self._clock.now_ms()})

    async def _ending(self, request: web.Request) -> str | None:
        if self._updates.stopped:
            return "stopping"
        try:
            await self._calls.call(request, SHOW_CALLER)
        except HubError:
            return "signed_out"
        return None

    def _hello(self, principal: Principal) -> bytes:
        role = enum_word(Role.DESCRIPTOR, principal.shown_role)
        return _event("hello", {"role": role, "now": self._clock.now_ms(), **self._about()})


def _event(kind: str, value: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(value))
