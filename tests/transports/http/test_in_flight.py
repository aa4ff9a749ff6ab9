import asyncio
from contextlib import AsyncExitStack, closing

import pytest

from hub.contract.errors import Overloaded
from hub.service.handlers.read_registry import JsonHandlers
from hub.service.metrics.refusals import Refusals
from hub.transports.http.in_flight import BodiesInFlight
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import REGISTRY_PATH, running_hub
from tests.support.waiting import wait_until

MIB = 1_048_576


def bodies(per_token: int = 100, in_all: int = 150) -> BodiesInFlight:
    return BodiesInFlight(per_token=per_token, in_all=in_all, refusals=Refusals())


def test_readers_who_share_a_body_hold_it_once() -> None:
    counted, body = bodies(), bytes(80)
    holds = [counted.hold(token, body) for token in ("a", "a", "b")]
    assert counted.bytes == 80
    for hold in holds[:2]:
        hold.release()
        hold.release()
    assert counted.bytes == 80
    holds[2].release()
    assert counted.bytes == 0
    counted.hold("a", bytes(100))


def test_a_token_has_a_bound_of_its_own() -> None:
    counted = bodies()
    first = counted.hold("a", bytes(60))
    with pytest.raises(Overloaded) as refused:
        counted.hold("a", bytes(41))
    assert refused.value.retry_after_ms
    counted.hold("b", bytes(41))
    first.release()
    counted.hold("a", bytes(60))
    assert counted.refusals.counts == {("http", "bytes_in_flight_per_token"): 1}


def test_all_tokens_together_have_one() -> None:
    counted = bodies()
    shared = bytes(90)
    counted.hold("a", shared)
    counted.hold("b", bytes(60))
    with pytest.raises(Overloaded):
        counted.hold("c", bytes(1))
    # What is in memory already costs no more.
    counted.hold("c", shared)
    assert counted.refusals.counts == {("http", "bytes_in_flight"): 1}


def test_one_body_that_is_longer_than_the_bounds_is_sent() -> None:
    counted = bodies()
    with counted.hold("a", bytes(1000)):
        assert counted.bytes == 1000
    assert counted.bytes == 0


async def test_slow_readers_of_one_token_pin_no_more_than_its_share(tmp_path, monkeypatch):
    """L1: each reader would pin a body of its own, for the fleet changes between them."""
    made = []

    def changing(_self: JsonHandlers) -> bytes:
        made.append(None)
        return b'{"endpoints":[]%b}' % (b" " * (16 * MIB + len(made)))

    monkeypatch.setattr(JsonHandlers, "_list_endpoints", changing)
    bounds = {"max_bytes_in_flight_per_token": 40 * MIB, "max_bytes_in_flight": 64 * MIB}
    async with running_hub(tmp_path, http=bounds) as hub, AsyncExitStack() as stack:
        in_flight = hub.hub._listeners._http._calls.bodies
        slow = await hub.token(ROLE_READER)
        request = (
            f"GET {REGISTRY_PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {slow}\r\n\r\n"
        ).encode()
        heads = []
        for _ in range(8):
            reader, writer = await asyncio.open_connection(
                *hub.http_address.split(":"), limit=65_536
            )
            stack.enter_context(closing(writer))
            writer.write(request)
            heads.append(await reader.readuntil(b"\r\n\r\n"))
        refused = [head for head in heads if b" 503 " in head]
        assert len(refused) == 6
        assert all(b"\r\nRetry-After: 1\r\n" in head for head in refused)
        assert in_flight.bytes <= 40 * MIB

        honest = await hub.token(ROLE_READER)
        for _ in range(5):
            answer = await hub.http("GET", REGISTRY_PATH, token=honest)
            assert (answer.status, answer.json) == (200, {"endpoints": []})
        assert in_flight.bytes <= 40 * MIB
        await stack.aclose()
        await wait_until(lambda: in_flight.bytes == 0)
        assert (await hub.http("GET", REGISTRY_PATH, token=slow)).status == 200
        counts = hub.hub._observability.traffic.refusals.counts
        assert counts["http", "bytes_in_flight_per_token"] == 6


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_body_counts_until_it_is_sent(hub, monkeypatch, method):
    body = b'{"endpoints":[]}' + b" " * MIB
    monkeypatch.setattr(JsonHandlers, "_list_endpoints", lambda _self: body)
    async with hub.session.request(
        method,
        f"http://{hub.http_address}{REGISTRY_PATH}",
        headers={"Authorization": f"Bearer {hub.admin_token}"},
    ) as response:
        assert response.status == 200
        assert len(await response.read()) == (len(body) if method == "GET" else 0)
    in_flight = hub.hub._listeners._http._calls.bodies
    await wait_until(lambda: in_flight.bytes == 0)
