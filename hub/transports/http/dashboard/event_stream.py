"""The dashboards' event stream: server-sent events, one `LiveUpdates` follower per stream."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import orjson
from aiohttp import web

from hub.base.bounds import EVENT_STREAMS, EVENT_STREAMS_PER_TOKEN, RETRY_AFTER_MS
from hub.contract.dialect.names import enum_word
from hub.contract.errors import HubError, LimitReached, Overloaded
from hub.service.access.caller import Principal
from hub.service.operations import FOLLOW_DASHBOARD, SHOW_CALLER
from hub.transports.http.authentication import HttpCalls
from hub.transports.http.dashboard.updates import LiveUpdates
from hub.transports.http.responses import write_shared
from llmhub.v1.resources_pb2 import Role

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
        why_overloaded: Callable[[], str | None],
    ) -> None:
        """`about` returns what the first event says about the hub."""
        self._why_overloaded = why_overloaded
        self._updates = updates
        self._calls = calls
        self._clock = calls.clock
        self._refusals = calls.bodies.refusals
        self._about = about
        self._by_token: Counter[str] = Counter()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Sends `hello`, `state`, then each `update`, and `beat` while nothing changes.

        Sends `overload`, with the reason or null, whenever that changes.

        Ends with `end` if the caller's token or session ends, or the hub stops.
        """
        principal: Principal = await self._calls.call(request, FOLLOW_DASHBOARD)
        if self._updates.followers >= EVENT_STREAMS:
            raise self._full("event_streams", f"{EVENT_STREAMS} dashboards are open already")
        if self._by_token[principal.token_id] >= EVENT_STREAMS_PER_TOKEN:
            raise self._full(
                "event_streams_per_token",
                f"{EVENT_STREAMS_PER_TOKEN} dashboards of this token are open already",
            )
        response = web.StreamResponse(headers=_HEADERS)
        try:
            with self._counted(principal.token_id), self._updates.following():
                await self._follow(request, response, principal)
        except ConnectionResetError:
            # The browser has left, or did not read and was cut off; then it reconnects.
            pass
        return response

    def _full(self, bound: str, why: str) -> LimitReached:
        self._refusals.note("http", bound)
        return LimitReached(why, retry_after_ms=RETRY_AFTER_MS)

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
        self, request: web.Request, response: web.StreamResponse, principal: Principal
    ) -> None:
        updates, hold = self._updates, self._calls.bodies.hold
        follower = updates.follower(request.headers.get("Last-Event-ID", ""))
        block = updates.take(follower)
        with hold(principal.token_id, block):
            await response.prepare(request)
            await response.write(self._hello(principal))
            await write_shared(response, block)
        said = None
        while True:
            if (why := self._why_overloaded()) != said:
                await response.write(_event("overload", {"why": why}))
                said = why
            await updates.wait(follower, _BEAT_S)
            if (ending := await self._ending(request)) is not None:
                await response.write(_event("end", {"reason": ending}))
                return
            block = updates.take(follower) or _event("beat", {"now": self._clock.now_ms()})
            try:
                with hold(principal.token_id, block):
                    await write_shared(response, block)
            except Overloaded:
                # The browser comes back by itself.
                return

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
