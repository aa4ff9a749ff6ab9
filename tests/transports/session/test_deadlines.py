"""Connections end with their tokens, also when no frame arrives."""

import asyncio

import grpc

from hub.base.clock import SystemClock
from hub.service.presence import TOKEN_EXPIRED
from hub.transports.session.deadlines import SessionDeadlines
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import running_hub
from tests.transports.grpc.test_sidecar_stream import sidecar


class Talk:
    """As much of a session as its deadlines see."""

    expires_at_ms: int | None = None
    closes = 0

    def close_unless_identified(self) -> None:
        raise AssertionError("it has time")

    def close_if_expired(self, now_ms: int) -> None:
        assert self.expires_at_ms is not None
        assert now_ms >= self.expires_at_ms
        self.closes += 1


async def test_a_token_that_never_expires_costs_no_timer():
    talk = Talk()
    deadlines = SessionDeadlines(talk, SystemClock(), 60)
    deadlines.update()
    assert deadlines._expiry is None
    deadlines.cancel()


async def test_the_deadline_follows_a_renewed_token():
    talk, clock = Talk(), SystemClock()
    deadlines = SessionDeadlines(talk, clock, 60)
    talk.expires_at_ms = clock.now_ms()
    deadlines.update()
    first = deadlines._expiry
    talk.expires_at_ms = clock.now_ms() + 1_000_000
    deadlines.update()
    assert first._timer.cancelled()
    talk.expires_at_ms = None
    deadlines.update()
    assert deadlines._expiry is None
    await asyncio.sleep(0)
    assert talk.closes == 0
    deadlines.cancel()


async def test_a_sidecar_that_has_identified_costs_no_timer():
    talk = Talk()
    deadlines = SessionDeadlines(talk, SystemClock(), 0)
    deadlines.identified()
    deadlines.identified()
    # The deadline of zero seconds has passed; `Talk` raises if it counts.
    await asyncio.sleep(0)
    assert deadlines._identify is None
    deadlines.cancel()


async def test_an_idle_websocket_is_closed_when_its_token_expires(tmp_path):
    async with running_hub(tmp_path) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1", ttl_s=1)
        async with hub.sidecar("node-1", token=token) as idle, hub.sidecar("node-2") as lasting:
            assert await idle.closed() == (TOKEN_EXPIRED.code, TOKEN_EXPIRED.reason)
            assert (await lasting.ask({"type": "ping"}))["type"] == "pong"


async def test_an_idle_stream_is_closed_when_its_token_expires(tmp_path):
    async with running_hub(tmp_path) as hub:
        token = await hub.token(ROLE_SIDECAR, "node-1", ttl_s=1)
        async with sidecar(hub, "node-1", token) as idle:
            ended = await idle.failed()
    assert (ended.code, ended.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")
    assert ended.message == TOKEN_EXPIRED.reason
