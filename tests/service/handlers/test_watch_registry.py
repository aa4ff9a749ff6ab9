"""WatchRegistry over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from hub.registry import segments
from hub.registry.observation import Observation
from hub.service.handlers import watch_registry
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest, RevokeTokenRequest
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY, Endpoint
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest, WatchRegistryResponse
from llmhub.v1.resources_pb2 import EVENT_TYPE_DELETE, ROLE_READER, ROLE_SIDECAR
from tests.support.hub import RunningHub, failure, running_hub
from tests.support.scrape import scrape, value
from tests.support.waiting import wait_until
from tests.support.watching import Copy

PATH = "/llmhub.v1.RegistryService/WatchRegistry"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    # No server answers at the addresses of these tests, so the hub must not probe them.
    async with running_hub(tmp_path, probes={"interval_s": 3600}) as running:
        yield running


class Watcher:
    """One stream, and the copy that it builds."""

    def __init__(self, hub: RunningHub, token: str | None = None, **request: object) -> None:
        if "progress_s" in request:
            interval = round(request.pop("progress_s") * 1e9)
            request["progress_interval"] = {"nanos": interval}
        method = hub.channel.unary_stream(
            PATH,
            request_serializer=WatchRegistryRequest.SerializeToString,
            response_deserializer=WatchRegistryResponse.FromString,
        )
        self.call = method(WatchRegistryRequest(**request), metadata=hub.metadata(token))
        self.copy = Copy()

    async def next(self) -> WatchRegistryResponse:
        async with asyncio.timeout(10):
            response = await self.call.read()
        assert response is not grpc.aio.EOF, await self.call.code()
        self.copy.apply(response)
        return response

    async def until(self, condition) -> None:
        while not condition(self.copy):
            await self.next()

    async def failure(self):
        async with asyncio.timeout(10):
            try:
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                return failure(error)
        raise AssertionError("the stream ended without an error")


def registry_of(hub: RunningHub):
    return hub.hub._require_fleet().registry


async def register(hub: RunningHub, port: int, **fields: object) -> Endpoint:
    request = RegisterEndpointRequest(host="127.0.0.1", port=port, **fields)
    return (await hub.call("RegisterEndpoint", request)).endpoint


def healthy(hub: RunningHub, id_: str) -> None:
    registry_of(hub).observe(id_, Observation(checked_at_ms=1, next_check_at_ms=2, models=()))


async def test_large_states_are_made_one_per_turn_of_the_loop(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L4: thousands of watches at once would hold the loop for seconds."""
    monkeypatch.setattr(watch_registry, "_FEW", 1)
    for port in (2_000, 2_001):
        await register(hub, port)
    turn, made, real = 0, [], segments.state

    def count() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(count)

    def noting(*arguments) -> tuple[int, Iterator[bytes]]:
        made.append(turn)
        return real(*arguments)

    monkeypatch.setattr(segments, "state", noting)
    count()
    tokens = [await hub.token(ROLE_READER) for _ in range(2)]
    watchers = [Watcher(hub, tokens[number % 2]) for number in range(20)]
    for watcher in watchers:
        await watcher.until(lambda copy: copy.revision)
        assert len(watcher.copy.endpoints) == 2
    assert len(made) == len(set(made)) == 20
    for watcher in watchers:
        watcher.call.cancel()


async def test_a_watch_sends_state_then_changes_then_progress(hub: RunningHub) -> None:
    await register(hub, 1)
    watcher = Watcher(hub, progress_s=0.1)
    first = await watcher.next()
    assert [event.endpoint.id for event in first.events] == ["127.0.0.1:1"]
    assert first.revision == registry_of(hub).revision
    await register(hub, 2)
    await watcher.until(lambda copy: "127.0.0.1:2" in copy.endpoints)
    marks = watcher.copy.marks
    await watcher.until(lambda copy: copy.marks >= marks + 2)
    assert watcher.copy.revision == registry_of(hub).revision


async def test_a_reader_may_watch_and_a_sidecar_may_not(hub: RunningHub) -> None:
    reader = Watcher(hub, await hub.token(ROLE_READER))
    assert (await reader.next()).revision > 0
    refused = await Watcher(hub, await hub.token(ROLE_SIDECAR, "n")).failure()
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "ROLE_FORBIDDEN",
    )


async def test_a_resumed_watch_misses_and_repeats_nothing(hub: RunningHub) -> None:
    await register(hub, 1)
    watcher = Watcher(hub)
    await watcher.next()
    watcher.call.cancel()
    registry_of(hub).remove_endpoint("127.0.0.1:1")
    await register(hub, 2)
    resumed = Watcher(hub, after_revision=watcher.copy.revision)
    resumed.copy = watcher.copy
    response = await resumed.next()
    assert EVENT_TYPE_DELETE in {event.type for event in response.events}
    await resumed.until(lambda copy: set(copy.endpoints) == {"127.0.0.1:2"})

    # Where nothing happened meanwhile, the hub says so at once. The first probe would be news.
    registry = registry_of(hub)
    await wait_until(lambda: registry.get("127.0.0.1:2").message.HasField("last_checked_at"))
    again = Watcher(hub, after_revision=registry.revision)
    assert not (await again.next()).events


@pytest.mark.parametrize("which", ["another epoch", "the future", "behind the ring"])
async def test_a_revision_outside_the_history_is_compacted(hub: RunningHub, which: str) -> None:
    registry = registry_of(hub)
    revision = registry.revision
    if which == "behind the ring":
        registry.ring._capacity = 2
        for port in range(1, 5):
            await register(hub, port)
    elif which == "the future":
        revision += 1000
    else:
        revision -= 1
    refused = await Watcher(hub, after_revision=revision).failure()
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.OUT_OF_RANGE,
        "REVISION_COMPACTED",
    )
    assert refused.metadata["after_revision"] == str(revision)
    assert refused.metadata["first_revision"] == str(registry.first_revision)


async def test_filtered_watches_follow_endpoints_that_start_or_stop_matching(
    hub: RunningHub,
) -> None:
    watcher = Watcher(hub, status=STATUS_HEALTHY, labels={"zone": "x"})
    await watcher.next()
    await register(hub, 1, labels={"zone": "x"})
    await register(hub, 2, labels={"zone": "y"})
    healthy(hub, "127.0.0.1:1")
    healthy(hub, "127.0.0.1:2")
    await watcher.until(lambda copy: set(copy.endpoints) == {"127.0.0.1:1"})
    await register(hub, 1, labels={"zone": "z"})
    await watcher.until(lambda copy: not copy.endpoints)
    assert {event.endpoint.id for event in watcher.copy.events} == {"127.0.0.1:1"}


async def test_resource_reports_are_coalesced(hub: RunningHub) -> None:
    registry = registry_of(hub)
    watcher = Watcher(hub, include_resources=True, progress_s=0.1)
    await watcher.next()
    now_ms = hub.hub._clock.now_ms()
    for cpu in range(500):
        registry.report_resources("n", ReportResourcesRequest(cpu_percent=cpu % 101), now_ms)
        if cpu % 50 == 0:
            await asyncio.sleep(0)
    await watcher.until(lambda copy: copy.revision == registry.revision)
    assert watcher.copy.resources["n"].cpu_percent == 499 % 101
    assert len(watcher.copy.events) <= 5


async def test_a_bad_request_is_refused_by_field(hub: RunningHub) -> None:
    refused = await Watcher(hub, model="m" * 513).failure()
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert [field for field, _, _ in refused.violations] == ["model"]


async def test_a_revoked_token_ends_its_watch(hub: RunningHub) -> None:
    created = await hub.created_token(ROLE_READER)
    watcher = Watcher(hub, created.token, progress_s=0.1)
    await watcher.next()
    await hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
    refused = await watcher.failure()
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")


async def test_a_stuck_watcher_delays_no_other_and_is_bounded(hub: RunningHub) -> None:
    registry = registry_of(hub)
    stuck = Watcher(hub)
    await stuck.next()
    lively = Watcher(hub)
    await lively.next()
    # What flow control and the buffers of both ends hold is far less than this.
    for round_ in range(40):
        for i in range(25):
            registry.put_endpoint(Endpoint(id=f"a:{i}", name=f"{round_}", base_path="x" * 15_000))
        await lively.until(lambda copy: copy.revision == registry.revision)
    # The stuck one waits in its own stream: it is at the feed neither now nor later.
    await wait_until(lambda: len(hub.hub._fleet.changes) == 1)
    behind = await scrape(hub)
    assert 25 <= value(behind, "llmhub_watch_lag_events") <= value(behind, "llmhub_ring_events")
    since = value(behind, "llmhub_watch_lag_seconds")
    assert since > 0
    assert value(await scrape(hub), "llmhub_watch_lag_seconds") > since
    await stuck.until(lambda copy: copy.revision == registry.revision)
    assert stuck.copy.endpoints == lively.copy.endpoints
    await wait_until(lambda: len(hub.hub._fleet.changes) == 2)
    caught_up = await scrape(hub)
    assert value(caught_up, "llmhub_watch_lag_events") == 0
    assert value(caught_up, "llmhub_watch_lag_seconds") == 0


async def test_a_stopping_hub_ends_watches_at_once(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        watcher = Watcher(hub)
        await watcher.next()
        loop = asyncio.get_running_loop()
        began = loop.time()
        stopping = asyncio.create_task(hub.hub.stop())
        refused = await watcher.failure()
        await stopping
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert loop.time() - began < 2.5
