"""The client for programs with an asyncio event loop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from random import Random
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from hub.client.call_errors import CallFailed, ClientError, NotSynced, call_failed
from hub.client.fleet_cache import FleetCopy
from hub.client.hub_address import METHODS, Target, Tls
from hub.client.requests import select_request, watch_request
from hub.client.resumption import Resumption
from hub.client.retry import Backoff, Retry, ends_a_watch
from llmhub.v1.endpoint_pb2 import (
    BACKEND_UNSPECIFIED,
    STATUS_UNSPECIFIED,
    Backend,
    Endpoint,
    Status,
)
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetResourcesRequest,
    GetSnapshotRequest,
    ListEndpointsRequest,
    ListModelsRequest,
    ReleaseSelectionRequest,
    SelectEndpointResponse,
    Selection,
    WatchRegistryRequest,
    WatchRegistryResponse,
)
from llmhub.v1.resources_pb2 import HostResources, ModelSummary, RegistryEvent, Snapshot

_PAGE: int = 1000
_LEASE_TTL_S: float = 60.0


class AsyncHub:
    """A hub, seen by a caller in an event loop; an async context manager.

    As `hub.client.Hub`, but that its methods are awaited. Must be made in the
    loop that uses it.
    """

    def __init__(
        self,
        address: str | None = None,
        token: str | None = None,
        *,
        tls: Tls | None = None,
        timeout_s: float = 10.0,
        retry: Retry | None = None,
    ) -> None:
        self._target = Target.of(address, token, tls)
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        self._random = Random()  # noqa: S311 - spreads retries
        self._closed = False
        if self._target.tls is None:
            self._channel = grpc.aio.insecure_channel(self._target.address, self._target.options)
        else:
            self._channel = grpc.aio.secure_channel(
                self._target.address, self._target.tls.credentials(), self._target.options
            )
        self._calls: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls and watches. Idempotent."""
        self._closed = True
        await self._channel.close()

    async def call(self, name: str, request: Message, timeout_s: float | None = None) -> Any:
        """Calls a unary RPC of RegistryService or AdminService by its name.

        Tried again while the hub is UNAVAILABLE, until the deadline. The response
        is of the type that the contract gives the RPC, which no annotation knows.
        """
        call = self._calls.get(name)
        if call is None:
            method = METHODS[name]
            call = self._calls[name] = self._channel.unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (timeout_s or self._timeout_s)
        backoff = Backoff(self._retry, self._random)
        while True:
            left_s = deadline - loop.time()
            try:
                return await call(request, timeout=left_s, metadata=self._target.metadata)
            except grpc.RpcError as error:
                failed = call_failed(error)
            pause_s = backoff.before_retry_s(name, failed, deadline - loop.time())
            if pause_s is None or self._closed:
                raise failed
            await asyncio.sleep(pause_s)

    # Questions.

    async def get_endpoint(self, endpoint_id: str) -> Endpoint:
        """One endpoint."""
        response = await self.call("GetEndpoint", GetEndpointRequest(id=endpoint_id))
        found: Endpoint = response.endpoint
        return found

    async def list_endpoints(
        self,
        *,
        model: str = "",
        backend: Backend = BACKEND_UNSPECIFIED,
        status: Status = STATUS_UNSPECIFIED,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Endpoint]:
        """The endpoints that match every filter, sorted by id, fetched as they are read."""
        request = ListEndpointsRequest(
            page_size=_PAGE, model=model, backend=backend, status=status, labels=labels
        )
        while True:
            page = await self.call("ListEndpoints", request)
            for endpoint in page.endpoints:
                yield endpoint
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def list_models(self) -> AsyncIterator[ModelSummary]:
        """Every model of the fleet, sorted by name, fetched as they are read."""
        request = ListModelsRequest(page_size=_PAGE)
        while True:
            page = await self.call("ListModels", request)
            for model in page.models:
                yield model
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def get_resources(self, agent_id: str) -> HostResources:
        """What an agent's host has left."""
        response = await self.call("GetResources", GetResourcesRequest(agent_id=agent_id))
        found: HostResources = response.resources
        return found

    async def snapshot(self) -> Snapshot:
        """The whole fleet at one revision."""
        found: Snapshot = (await self.call("GetSnapshot", GetSnapshotRequest())).snapshot
        return found

    # Selections. The criteria are those of `requests.select_request`.

    async def select(self, model: str, **criteria: Any) -> Selection:
        """The endpoint that serves a model best."""
        best: Selection = (await self.select_all(model, **criteria)).selections[0]
        return best

    async def select_all(self, model: str, **criteria: Any) -> SelectEndpointResponse:
        """As many endpoints as `count` says, best first; `explain` tells about the others."""
        request = select_request(model, **criteria)
        chosen: SelectEndpointResponse = await self.call("SelectEndpoint", request)
        return chosen

    async def release(self, lease_id: str) -> None:
        """Ends a lease before its time."""
        await self.call("ReleaseSelection", ReleaseSelectionRequest(lease_id=lease_id))

    @asynccontextmanager
    async def lease(
        self, model: str, *, ttl_s: float = _LEASE_TTL_S, **criteria: Any
    ) -> AsyncIterator[Selection]:
        """Selects, counts as load there for the length of the block, and then no more.

        Where the block outlasts `ttl_s`, the lease ends before it.
        """
        selection = await self.select(model, lease_ttl_s=ttl_s, **criteria)
        try:
            yield selection
        finally:
            try:
                await self.release(selection.lease_id)
            except CallFailed as failed:
                # It ends by itself; that it has is no failure of the block.
                if failed.reason not in {"LEASE_NOT_FOUND", ""}:
                    raise

    # Watches.

    async def watch(self, **wanted: Any) -> AsyncGenerator[RegistryEvent, None]:
        """The state, as events, then every change; resumes by itself until it is closed.

        `wanted` is what `requests.watch_request` takes. What was deleted while
        the hub was away is told when it is back. Raises CallFailed for what does
        not pass, such as a revoked token.
        """
        resumption = Resumption(watch_request(**wanted))
        async with aclosing(self._responses(resumption)) as responses:
            async for response in responses:
                if response is not None:
                    for event in resumption.receive(response):
                        yield event

    def fleet_cache(self) -> "AsyncFleetCache":
        """A local copy of the fleet, kept current by a task until it is closed."""
        return AsyncFleetCache(self)

    async def _responses(
        self, resumption: Resumption
    ) -> AsyncGenerator[WatchRegistryResponse | None, None]:
        """The responses of one connection after another; None stands for a break."""
        call = self._channel.unary_stream(
            METHODS["WatchRegistry"].path,
            WatchRegistryRequest.SerializeToString,
            WatchRegistryResponse.FromString,
        )
        backoff = Backoff(self._retry, self._random)
        while not self._closed:
            stream = call(resumption.connect(), metadata=self._target.metadata)
            try:
                async for response in stream:
                    backoff.reset()
                    yield response
            except grpc.RpcError as error:
                failed = call_failed(error)
                if self._closed:
                    return
                if ends_a_watch(failed):
                    raise failed from None
                if failed.code is grpc.StatusCode.OUT_OF_RANGE:
                    resumption.forget()
            except asyncio.CancelledError:
                # A closed channel cancels its calls; that is not the task's cancellation.
                if self._closed and not _is_cancelled():
                    return
                raise
            finally:
                stream.cancel()
            yield None
            await asyncio.sleep(backoff.pause_s())


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class AsyncFleetCache(FleetCopy):
    """A `FleetCopy` that a task keeps current; an async context manager."""

    def __init__(self, hub: AsyncHub) -> None:
        super().__init__()
        self._hub = hub
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._follow(), name="fleet-cache")

    async def __aenter__(self) -> Self:
        try:
            await self.wait_synced()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def wait_synced(self, timeout_s: float = 10.0) -> None:
        """Waits for the first whole state. Raises NotSynced, and why it never will come."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            raise NotSynced(f"no state from the hub within {timeout_s} s") from None
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        """Ceases to follow; what is known can still be asked. Idempotent."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _follow(self) -> None:
        try:
            async with aclosing(self._hub._responses(self._resumption)) as responses:
                async for response in responses:
                    if response is None:
                        self.disconnected()
                    else:
                        self.apply(response)
                    if self.freshness.synced:
                        self._news.set()
        except ClientError as failure:
            self.failed(failure)
            self._news.set()
        finally:
            self.disconnected()
