"""The client for programs without an event loop."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

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


class Hub:
    """A hub, seen by a caller; may be shared by threads, and used as a context manager.

    Without `address`, `token` and `tls`, LLM_HUB_ADDRESS, LLM_HUB_TOKEN and the files
    that LLM_HUB_TLS_CA, LLM_HUB_TLS_CERT and LLM_HUB_TLS_KEY name are used.
    `timeout_s` is a call's deadline, with all its retries. Calls raise CallFailed.
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
        self._closed = threading.Event()
        self._stops: WeakSet[_Stop] = WeakSet()
        if self._target.tls is None:
            self._channel = grpc.insecure_channel(self._target.address, self._target.options)
        else:
            self._channel = grpc.secure_channel(
                self._target.address, self._target.tls.credentials(), self._target.options
            )
        self._calls: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all calls and watches. Idempotent."""
        self._closed.set()
        for stop in list(self._stops):
            stop.stop()
        self._channel.close()

    def call(self, name: str, request: Message, timeout_s: float | None = None) -> Any:
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
        deadline = time.monotonic() + (timeout_s or self._timeout_s)
        backoff = Backoff(self._retry, self._random)
        while True:
            left_s = deadline - time.monotonic()
            try:
                return call(request, timeout=left_s, metadata=self._target.metadata)
            except grpc.RpcError as error:
                failed = call_failed(error)
            pause_s = backoff.before_retry_s(name, failed, deadline - time.monotonic())
            if pause_s is None or self._closed.wait(pause_s):
                raise failed

    # Questions.

    def get_endpoint(self, endpoint_id: str) -> Endpoint:
        """One endpoint."""
        found: Endpoint = self.call("GetEndpoint", GetEndpointRequest(id=endpoint_id)).endpoint
        return found

    def list_endpoints(
        self,
        *,
        model: str = "",
        backend: Backend = BACKEND_UNSPECIFIED,
        status: Status = STATUS_UNSPECIFIED,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[Endpoint]:
        """The endpoints that match every filter, sorted by id, fetched as they are read."""
        request = ListEndpointsRequest(
            page_size=_PAGE, model=model, backend=backend, status=status, labels=labels
        )
        while True:
            page = self.call("ListEndpoints", request)
            yield from page.endpoints
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_models(self) -> Iterator[ModelSummary]:
        """Every model of the fleet, sorted by name, fetched as they are read."""
        request = ListModelsRequest(page_size=_PAGE)
        while True:
            page = self.call("ListModels", request)
            yield from page.models
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def get_resources(self, agent_id: str) -> HostResources:
        """What an agent's host has left."""
        request = GetResourcesRequest(agent_id=agent_id)
        found: HostResources = self.call("GetResources", request).resources
        return found

    def snapshot(self) -> Snapshot:
        """The whole fleet at one revision."""
        found: Snapshot = self.call("GetSnapshot", GetSnapshotRequest()).snapshot
        return found

    # Selections. The criteria are those of `requests.select_request`.

    def select(self, model: str, **criteria: Any) -> Selection:
        """The endpoint that serves a model best."""
        best: Selection = self.select_all(model, **criteria).selections[0]
        return best

    def select_all(self, model: str, **criteria: Any) -> SelectEndpointResponse:
        """As many endpoints as `count` says, best first; `explain` tells about the others."""
        chosen: SelectEndpointResponse = self.call(
            "SelectEndpoint", select_request(model, **criteria)
        )
        return chosen

    def release(self, lease_id: str) -> None:
        """Ends a lease before its time."""
        self.call("ReleaseSelection", ReleaseSelectionRequest(lease_id=lease_id))

    @contextmanager
    def lease(
        self, model: str, *, ttl_s: float = _LEASE_TTL_S, **criteria: Any
    ) -> Iterator[Selection]:
        """Selects, counts as load there for the length of the block, and then no more.

        Where the block outlasts `ttl_s`, the lease ends before it.
        """
        selection = self.select(model, lease_ttl_s=ttl_s, **criteria)
        try:
            yield selection
        finally:
            try:
                self.release(selection.lease_id)
            except CallFailed as failed:
                # It ends by itself; that it has is no failure of the block.
                if failed.reason not in {"LEASE_NOT_FOUND", ""}:
                    raise

    # Watches.

    def watch(self, **wanted: Any) -> Iterator[RegistryEvent]:
        """The state, as events, then every change; resumes by itself until it is closed.

        `wanted` is what `requests.watch_request` takes. What was deleted while
        the hub was away is told when it is back. Raises CallFailed for what does
        not pass, such as a revoked token.
        """
        resumption = Resumption(watch_request(**wanted))
        for response in self._responses(resumption, _Stop()):
            if response is not None:
                yield from resumption.receive(response)

    def fleet_cache(self) -> "FleetCache":
        """A local copy of the fleet, kept current by a thread until it is closed."""
        return FleetCache(self)

    def _responses(
        self, resumption: Resumption, stop: "_Stop"
    ) -> Iterator[WatchRegistryResponse | None]:
        """The responses of one connection after another; None stands for a break."""
        self._stops.add(stop)
        call = self._channel.unary_stream(
            METHODS["WatchRegistry"].path,
            WatchRegistryRequest.SerializeToString,
            WatchRegistryResponse.FromString,
        )
        backoff = Backoff(self._retry, self._random)
        while not (stop.stopped.is_set() or self._closed.is_set()):
            stream = call(resumption.connect(), metadata=self._target.metadata)
            stop.watch(stream)
            try:
                for response in stream:
                    backoff.reset()
                    yield response
            except grpc.RpcError as error:
                failed = call_failed(error)
                if stop.stopped.is_set() or self._closed.is_set():
                    return
                if ends_a_watch(failed):
                    raise failed from None
                if failed.code is grpc.StatusCode.OUT_OF_RANGE:
                    resumption.forget()
            finally:
                stream.cancel()
            yield None
            stop.stopped.wait(backoff.pause_s())


class _Stop:
    """Ends a watch from another thread than the one that reads it."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._stream: Any = None

    def watch(self, stream: Any) -> None:
        """The watch goes on in this stream."""
        self._stream = stream
        if self.stopped.is_set():
            stream.cancel()

    def stop(self) -> None:
        """Ends the watch, also where it waits."""
        self.stopped.set()
        if self._stream is not None:
            self._stream.cancel()


class FleetCache(FleetCopy):
    """A `FleetCopy` that a thread keeps current; a context manager."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self._hub = hub
        self._stop = _Stop()
        self._thread = threading.Thread(target=self._follow, name="fleet-cache", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        try:
            self.wait_synced()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def wait_synced(self, timeout_s: float = 10.0) -> None:
        """Waits for the first whole state. Raises NotSynced, and why it never will come."""
        if not self._synced.wait(timeout_s):
            raise NotSynced(f"no state from the hub within {timeout_s} s")
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Ceases to follow; what is known can still be asked. Idempotent."""
        self._stop.stop()
        self._thread.join()

    def _follow(self) -> None:
        try:
            for response in self._hub._responses(self._resumption, self._stop):
                if response is None:
                    self.disconnected()
                else:
                    self.apply(response)
        except ClientError as failure:
            self.failed(failure)
        self.disconnected()
