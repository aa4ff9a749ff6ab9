"""Random operations, disconnects, slow readers, ring overflow and restarts, over real sockets.

At every quiet point, the copy of each watcher and of each client equals a new list.
"""

import asyncio
import inspect
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hub.base.clock import SystemClock
from hub.client import AsyncHub, Retry
from hub.registry.filters import EndpointFilter
from hub.registry.observation import Load
from hub.registry.state import Registry
from hub.server.hub_server import HubServer
from llmhub.v1.admin_service_pb2 import (
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    RemoveModelAliasRequest,
    SetModelAliasRequest,
)
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, STATUS_HEALTHY, STATUS_UNSPECIFIED, Endpoint
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.model_alias_pb2 import AliasTarget
from llmhub.v1.registry_service_pb2 import (
    ListModelAliasesRequest,
    WatchRegistryRequest,
    WatchRegistryResponse,
)
from llmhub.v1.resources_pb2 import Snapshot
from tests.support.fleet import saw
from tests.support.fleet_of import loaded, on_disk
from tests.support.hub import RunningHub, settings_for
from tests.support.ports import lasting_address
from tests.support.waiting import wait_until
from tests.support.watching import Copy, without_bookkeeping

RING = 12
PORTS = st.integers(1, 6)
AGENTS = st.sampled_from(["n1", "n2", "n3"])
ZONES = st.sampled_from([{}, {"zone": "x"}, {"zone": "y"}])
MODELS = st.sampled_from([(), (loaded("m"),), (on_disk("m"), loaded("o")), (loaded("o"),)])
PATH = "/llmhub.v1.RegistryService/WatchRegistry"


# A stopping or stopped hub; a call cancelled by either side.
_BREAKS = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


class Stream:
    """A watcher that resumes by revision, and starts again from the full state if necessary."""

    def __init__(self, address: str, token: str, **request: Any) -> None:
        self.copy = Copy()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.listed = 0
        self.stopping = False
        self.filter = EndpointFilter.of(
            request.get("model", ""),
            BACKEND_UNSPECIFIED,
            request.get("status", STATUS_UNSPECIFIED),
            request.get("labels", {}),
        )
        self.request = WatchRegistryRequest(**request)
        self.request.progress_interval.FromMilliseconds(100)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.initial_reconnect_backoff_ms", 20),
                ("grpc.min_reconnect_backoff_ms", 20),
                ("grpc.max_reconnect_backoff_ms", 50),
            ],
        )
        self.call: Any = None
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        watch = self._channel.unary_stream(
            PATH, WatchRegistryRequest.SerializeToString, WatchRegistryResponse.FromString
        )
        while not self.stopping:
            if not self.copy.revision:
                # An incomplete state is useless.
                self.copy = Copy()
                self.request.ClearField("after_revision")
                self.listed += 1
            else:
                self.request.after_revision = self.copy.revision
            self.call = watch(self.request, metadata=self._metadata)
            try:
                async for response in self.call:
                    await self.flowing.wait()
                    self.copy.apply(response)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                    self.copy = Copy()
                elif error.code() not in _BREAKS:
                    raise
            except asyncio.CancelledError:
                # Cancelling the call raises this too, without cancelling the task.
                task = asyncio.current_task()
                if self.stopping or (task is not None and task.cancelling()):
                    raise
            await asyncio.sleep(0.01)

    def cut(self) -> None:
        if self.call is not None:
            self.call.cancel()

    async def close(self) -> None:
        self.stopping = True
        self.task.cancel()
        await asyncio.wait([self.task])
        await self._channel.close()


class WatchersMachine(RuleBasedStateMachine):
    """One hub at a time on one data directory, with its watchers."""

    engine = "grpcio"

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.grpc = lasting_address()
        self.streams: list[Stream] = []

    def do(self, what: Callable[[], Any]) -> Any:
        """Runs something in the event loop, which does not run in between."""

        async def run() -> Any:
            done = what()
            return await done if inspect.isawaitable(done) else done

        return self.runner.run(run())

    @initialize()
    def begin(self) -> None:
        async def begin() -> None:
            await self.start()
            token, address = self.client.admin_token, self.client.grpc_address
            everything = {
                "include_resources": True,
                "include_checks": True,
                "include_aliases": True,
            }
            for request in (
                {},
                everything,
                {"include_resources": True},
                {"status": STATUS_HEALTHY, "labels": {"zone": "x"}},
                {"model": "m", "include_checks": True},
            ):
                self.streams.append(Stream(address, token, **request))
            self.hub_client = AsyncHub(
                address, token, retry=Retry(attempts=1000, first_s=0.01, longest_s=0.05)
            )
            self.cache = self.hub_client.fleet_cache()
            await self.cache.wait_synced()

        self.do(begin)

    async def start(self) -> None:
        # The hub probes each endpoint once, immediately; nothing answers, and no probe follows.
        given = settings_for(
            Path(self.directory.name),
            grpc={"address": self.grpc, "engine": self.engine},
            probes={"interval_s": 3600},
        )
        self.hub = HubServer(given, SystemClock())
        await self.hub.start()
        self.registry.ring._capacity = RING
        self.client = RunningHub(self.hub, given)

    @property
    def registry(self) -> Registry:
        return self.hub._require_fleet().registry

    # Changes of the fleet.

    @rule(port=PORTS, zone=ZONES, agent=AGENTS)
    def register(self, port: int, zone: dict[str, str], agent: str) -> None:
        request = RegisterEndpointRequest(
            host="127.0.0.1", port=port, labels=zone, agent_id=agent, name=f"{port}{agent}"
        )
        self.do(lambda: self.client.call("RegisterEndpoint", request))

    @rule(port=PORTS)
    def remove(self, port: int) -> None:
        id_ = f"127.0.0.1:{port}"
        if self.registry.get(id_) is not None:
            request = RemoveEndpointRequest(id=id_)
            self.do(lambda: self.client.call("RemoveEndpoint", request))

    @rule(
        port=PORTS,
        models=MODELS,
        error=st.sampled_from(["", "", "down"]),
        latency=st.sampled_from([1.0, 2.0]),
        waiting=st.integers(0, 3),
        times=st.integers(1, 2),
    )
    def observe(self, port, models, error, latency, waiting, times) -> None:
        for _ in range(times):
            seen = saw(error=error, models=models, latency_ms=latency, load=Load(waiting=waiting))
            self.do(partial(self.registry.observe, f"127.0.0.1:{port}", seen))

    @rule(agent=AGENTS, cpu=st.integers(0, 100))
    def report(self, agent: str, cpu: int) -> None:
        now_ms = self.client.hub._clock.now_ms()
        report = ReportResourcesRequest(cpu_percent=cpu)
        self.do(lambda: self.registry.report_resources(agent, report, now_ms))

    @rule()
    def reports_expire(self) -> None:
        self.do(lambda: self.registry.expire(2**60))

    @rule(name=st.sampled_from(["a", "b"]), model=st.sampled_from(["m", "o"]))
    def set_alias(self, name: str, model: str) -> None:
        alias = {"name": name, "targets": [AliasTarget(model=model)]}
        self.do(lambda: self.client.call("SetModelAlias", SetModelAliasRequest(alias=alias)))

    @rule(name=st.sampled_from(["a", "b"]))
    def remove_alias(self, name: str) -> None:
        if self.registry.aliases.get(name) is not None:
            request = RemoveModelAliasRequest(name=name)
            self.do(lambda: self.client.call("RemoveModelAlias", request))

    @rule(changes=st.integers(RING + 1, 3 * RING))
    def overflow_the_ring(self, changes: int) -> None:
        def flood() -> None:
            for i in range(changes):
                self.registry.put_endpoint(Endpoint(id="flood:1", name=str(i), etag="1"))
            self.registry.remove_endpoint("flood:1")

        self.do(flood)

    # Disturbances of the watchers.

    @rule(which=st.integers(0, 4))
    def cut(self, which: int) -> None:
        self.streams[which].cut()

    @rule(which=st.integers(0, 4), flowing=st.booleans())
    def slow_down(self, which: int, flowing: bool) -> None:
        event = self.streams[which].flowing
        event.set() if flowing else event.clear()

    @rule()
    def let_things_flow(self) -> None:
        self.do(lambda: asyncio.sleep(0.02))

    @rule()
    def restart(self) -> None:
        async def restart() -> None:
            await self.client.__aexit__(None, None, None)
            await self.hub.stop()
            await self.start()

        self.do(restart)

    # Checks.

    @rule()
    def quiet(self) -> None:
        async def quiet() -> None:
            for stream in self.streams:
                stream.flowing.set()
            try:
                await wait_until(self.all_agree)
            except TimeoutError:
                raise AssertionError(await self.disagreement()) from None

        self.do(quiet)

    async def all_agree(self) -> bool:
        return not await self.disagreement()

    async def disagreement(self) -> str:
        snapshot = await self.client.snapshot()
        listed = await self.client.call("ListModelAliases", ListModelAliasesRequest())
        aliases = {alias.name: alias for alias in listed.aliases}
        for i, stream in enumerate(self.streams):
            assert not stream.task.done(), stream.task.exception()
            if wrong := differences(stream, snapshot, aliases):
                return f"stream {i}: {wrong}"
        cache = self.cache
        assert cache.failure is None
        if cache.endpoints() != list(snapshot.endpoints):
            return "cache: endpoints"
        if cache.all_resources() != dict(snapshot.resources):
            return "cache: resources"
        return "" if cache.aliases() == aliases else "cache: aliases"

    @invariant()
    def no_watcher_has_failed(self) -> None:
        for stream in self.streams:
            assert not stream.task.done(), stream.task.exception()

    def teardown(self) -> None:
        async def end() -> None:
            try:
                for stream in self.streams:
                    stream.flowing.set()
                if self.streams:
                    await wait_until(self.all_agree)
            finally:
                if self.streams:
                    await self.cache.close()
                    await self.hub_client.close()
                for stream in self.streams:
                    await stream.close()
                await self.client.__aexit__(None, None, None)
                await self.hub.stop()

        try:
            if hasattr(self, "client"):
                self.do(end)
        finally:
            self.runner.close()
            self.directory.cleanup()


def differences(stream: Stream, snapshot: Snapshot, aliases: dict[str, Any]) -> str:
    """The part in which a watcher's copy differs from the expected one; "" if none does."""
    request, copy = stream.request, stream.copy
    wanted = [each for each in snapshot.endpoints if stream.filter.matches(each)]
    if request.include_checks:
        if copy.endpoints != {each.id: each for each in wanted}:
            return "endpoints"
    elif without_bookkeeping(copy.endpoints.values()) != without_bookkeeping(wanted):
        return "endpoints, without the bookkeeping"
    if copy.resources != (dict(snapshot.resources) if request.include_resources else {}):
        return "resources"
    return "" if copy.aliases == (aliases if request.include_aliases else {}) else "aliases"


class NativeWatchersMachine(WatchersMachine):
    """The same with the hub's own gRPC server."""

    engine = "native"


TestWatchers = pytest.mark.timeout(300)(WatchersMachine.TestCase)
TestNativeWatchers = pytest.mark.timeout(300)(NativeWatchersMachine.TestCase)
TestWatchers.settings = TestNativeWatchers.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    deadline=None,
    # No shrinking: it takes minutes, because each example has its own hubs and connections.
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
