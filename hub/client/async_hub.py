"""`AsyncHub`: the calls of services, and those of admins."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self

from hub.client._async_runtime import Flag, Stop, Worker
from hub.client.async_admin import AsyncAdmin
from hub.client.call_errors import CallFailed, ClientError, NotSynced
from hub.client.fleet_cache import FleetCopy
from hub.client.requests import select_request, watch_request
from hub.client.retry import Resumption
from hub.client.selection_session import SelectionSession
from llmhub.v1.endpoint_pb2 import (
    BACKEND_UNSPECIFIED,
    STATUS_UNSPECIFIED,
    Backend,
    Endpoint,
    Status,
)
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetResourcesRequest,
    GetSnapshotRequest,
    ListEndpointsRequest,
    ListModelAliasesRequest,
    ListModelsRequest,
    Outcome,
    ReleaseSelectionRequest,
    SelectEndpointResponse,
    Selection,
)
from llmhub.v1.resources_pb2 import HostResources, ModelSummary, RegistryEvent, Snapshot

_LEASE_TTL_S: float = 60.0


class AsyncHub(AsyncAdmin):
    """A hub, as its callers see it. Use it as a context manager.

    Missing `address`, `token` and `tls` come from LLM_HUB_ADDRESS, LLM_HUB_TOKEN and the
    files named by LLM_HUB_TLS_CA, LLM_HUB_TLS_CERT and LLM_HUB_TLS_KEY. `timeout_s` is the
    deadline of a call in seconds, including all its retries. `channel_options` are
    additional channel arguments of gRPC. Calls raise CallFailed.
    """

    # Reads.

    async def get_endpoint(self, endpoint_id: str) -> Endpoint:
        """One endpoint. Fails with ENDPOINT_NOT_FOUND."""
        response = await self.call("GetEndpoint", GetEndpointRequest(id=endpoint_id))
        found: Endpoint = response.endpoint
        return found

    def list_endpoints(
        self,
        *,
        model: str = "",
        backend: Backend = BACKEND_UNSPECIFIED,
        status: Status = STATUS_UNSPECIFIED,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Endpoint]:
        """The endpoints that match every filter, sorted by id, fetched as they are read."""
        request = ListEndpointsRequest(model=model, backend=backend, status=status, labels=labels)
        return self._items("ListEndpoints", request, "endpoints")

    def list_models(self) -> AsyncIterator[ModelSummary]:
        """Every model of the fleet, sorted by name, fetched as they are read."""
        return self._items("ListModels", ListModelsRequest(), "models")

    def list_aliases(self) -> AsyncIterator[ModelAlias]:
        """Every model alias, sorted by name, fetched as they are read."""
        return self._items("ListModelAliases", ListModelAliasesRequest(), "aliases")

    async def get_resources(self, agent_id: str) -> HostResources:
        """The last report of an agent's host. Fails with RESOURCES_NOT_FOUND."""
        response = await self.call("GetResources", GetResourcesRequest(agent_id=agent_id))
        found: HostResources = response.resources
        return found

    async def snapshot(self) -> Snapshot:
        """The whole fleet at one revision."""
        found: Snapshot = (await self.call("GetSnapshot", GetSnapshotRequest())).snapshot
        return found

    # Selections. The criteria are those of `requests.select_request`.

    async def select(self, model: str, **criteria: Any) -> Selection:
        """The endpoint that serves a model best.

        Fails with MODEL_UNKNOWN, NO_HEALTHY_ENDPOINT or NO_CAPACITY.
        """
        best: Selection = (await self.select_all(model, **criteria)).selections[0]
        return best

    async def select_all(self, model: str, **criteria: Any) -> SelectEndpointResponse:
        """At most `count` endpoints, best first; `explain` adds the other candidates."""
        request = select_request(model, **criteria)
        # The time in which the hub lets the call wait is not part of the call's own deadline.
        timeout_s = self._timeout_s + request.wait.ToMilliseconds() / 1000
        chosen: SelectEndpointResponse = await self.call("SelectEndpoint", request, timeout_s)
        return chosen

    async def release(self, lease_id: str, outcome: Outcome | None = None) -> None:
        """Ends a lease before its time, and says how its request ended.

        Fails with LEASE_NOT_FOUND.
        """
        request = ReleaseSelectionRequest(lease_id=lease_id, outcome=outcome)
        await self.call("ReleaseSelection", request)

    @asynccontextmanager
    async def lease(
        self, model: str, *, ttl_s: float = _LEASE_TTL_S, **criteria: Any
    ) -> AsyncIterator[Selection]:
        """Selects an endpoint and counts as load there until the block ends.

        If the block takes longer than `ttl_s` seconds, the lease expires before it ends.
        """
        selection = await self.select(model, lease_ttl_s=ttl_s, **criteria)
        try:
            yield selection
        finally:
            await self._release_at_last(selection.lease_id, None)

    @asynccontextmanager
    async def session(
        self, model: str, *, ttl_s: float = _LEASE_TTL_S, **criteria: Any
    ) -> AsyncIterator[SelectionSession]:
        """Like `lease`, and tells the hub how the block ended and how long it took.

        The block sends one request to the selected endpoint; see `SelectionSession`.
        """
        session = SelectionSession(await self.select(model, lease_ttl_s=ttl_s, **criteria))
        lease_id = session.selection.lease_id
        try:
            yield session
        except BaseException as error:
            await self._release_at_last(lease_id, session.outcome(error))
            raise
        else:
            await self._release_at_last(lease_id, session.outcome(None))

    async def _release_at_last(self, lease_id: str, outcome: Outcome | None) -> None:
        try:
            await self.release(lease_id, outcome)
        except CallFailed as failed:
            # An expired lease, or an unreachable hub, is not a failure of the block.
            if failed.reason not in {"LEASE_NOT_FOUND", ""}:
                raise

    # Watches.

    async def watch(
        self, *, resume: bool = True, **wanted: Any
    ) -> AsyncGenerator[RegistryEvent, None]:
        """The state, as events, then every change.

        `wanted` are the arguments of `requests.watch_request`. The watch resumes by itself
        until it is closed. Objects that were deleted while the hub was unreachable are
        reported as deleted once it is back. Without `resume` the watch ends with its
        connection. Raises CallFailed if a retry cannot help, such as for a revoked token,
        and without `resume` for every failure.
        """
        resumption = Resumption(watch_request(**wanted))
        async with aclosing(self._responses(resumption, Stop(), resume=resume)) as responses:
            async for response in responses:
                if response is not None:
                    for event in resumption.receive(response):
                        yield event

    def fleet_cache(self) -> "AsyncFleetCache":
        """A local copy of the fleet, updated in the background until it is closed."""
        return AsyncFleetCache(self)


class AsyncFleetCache(FleetCopy):
    """A `FleetCopy` that is updated in the background. Use it as a context manager."""

    def __init__(self, hub: AsyncHub) -> None:
        super().__init__()
        self._hub = hub
        self._stop = Stop()
        self._settled = Flag()
        self._worker = Worker(self._follow, "fleet-cache")

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
        """Waits for the first whole state, at most `timeout_s` seconds.

        Raises NotSynced, or the failure because of which no state will arrive.
        """
        if not await self._settled.wait(timeout_s):
            raise NotSynced(f"no state from the hub within {timeout_s} s")
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        """Stops the updates; the copy can still be read. Idempotent."""
        self._stop.cancel()
        await self._worker.join()

    async def _follow(self) -> None:
        try:
            responses = self._hub._responses(self._resumption, self._stop)
            async with aclosing(responses):
                async for response in responses:
                    if response is None:
                        self.disconnected()
                    else:
                        self.apply(response)
                    if self.freshness.synced:
                        self._settled.set()
        except ClientError as failure:
            self.failed(failure)
            self._settled.set()
        finally:
            self.disconnected()
