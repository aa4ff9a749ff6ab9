"""grpc.health.v1.Health: whether this hub serves, by service.

Not taken from grpcio-health-checking, whose watchers write under the lock that a change of
status needs: a watcher that does not read would block all others and the hub's stop.

The protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from hub.contract.errors import FieldViolation, HubError, ValidationFailed
from hub.transports.grpc.call_context import Context, abort, only_message
from hub.transports.grpc.reflection_service import ServerStream
from hub.transports.grpc.slots import CheckSlots
from llmhub.v1.admin_service_pb2 import DESCRIPTOR as ADMIN

SERVICE_NAME: Final[str] = DESCRIPTOR.services_by_name["Health"].full_name

_ADMIN_SERVICE: Final[str] = ADMIN.services_by_name["AdminService"].full_name
# How often watchers check the hub's readiness.
_POLL_S: Final = 1.0
CHECK_MESSAGE_S: Final = 5.0
"""Seconds that a check's message may take; clients send it together with the headers."""


class Health:
    """The status of the services; needs a running event loop.

    The service "", which is the whole hub, and the AdminService, whose changes need the
    store, have the status of `/readyz`. The others serve as long as the hub runs, because
    they answer from memory: without the store, an old answer is better than none.
    """

    def __init__(self, services: Iterable[str], why_not_ready: Callable[[], str | None]) -> None:
        """`services` are the full names of all services, without ""."""
        self._services = {"", *services}
        self._why_not_ready = why_not_ready
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Reports every service as not serving from now on, to watchers too."""
        self._stopping.set()

    def status(self, service: str) -> HealthCheckResponse.ServingStatus:
        """The status now; SERVICE_UNKNOWN if there is no such service."""
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        if self._stopping.is_set():
            return HealthCheckResponse.NOT_SERVING
        if service in ("", _ADMIN_SERVICE) and self._why_not_ready() is not None:
            return HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse.SERVING

    async def watch(self, service: str) -> AsyncGenerator[HealthCheckResponse]:
        """The status now and whenever it changes, until the hub stops."""
        sent = None
        while True:
            # The hub may stop while a status is being sent; the watcher must get that too.
            is_last = self._stopping.is_set()
            status = self.status(service)
            if status != sent:
                yield HealthCheckResponse(status=status)
                sent = status
            if is_last:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._stopping.wait()


def handlers(
    health: Health,
    *,
    checks: CheckSlots,
    address: Callable[[Context], str],
    watch_guard: Callable[[ServerStream], ServerStream],
) -> grpc.GenericRpcHandler:
    """Handlers of the service; `address` finds the address of a check's caller.

    `watch_guard` wraps a behaviour so that the number of running ones is bounded.
    """

    async def check(_requests: object, context: Context) -> AsyncIterator[HealthCheckResponse]:
        try:
            async with checks.waiting(address(context)):
                service = await _service(context, CHECK_MESSAGE_S)
            status = health.status(service)
            if status == HealthCheckResponse.SERVICE_UNKNOWN:
                await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
            with checks.replying(context.peer()):
                yield HealthCheckResponse(status=status)
        except HubError as error:
            await abort(context, error)

    async def watch(_requests: object, context: Context) -> AsyncIterator[HealthCheckResponse]:
        async with aclosing(health.watch(await _service(context))) as statuses:
            async for status in statuses:
                yield status

    return grpc.method_handlers_generic_handler(
        SERVICE_NAME, {"Check": _handler(check), "Watch": _handler(watch_guard(watch))}
    )


# Any: grpc's handlers take parameters only in the type stubs.
def _handler(behaviour: ServerStream) -> Any:
    return grpc.stream_stream_rpc_method_handler(
        behaviour, None, HealthCheckResponse.SerializeToString
    )


async def _service(context: Context, within_s: float | None = None) -> str:
    """The requested service. Raises ValidationFailed."""
    try:
        request = HealthCheckRequest.FromString(await only_message(context, within_s))
    except DecodeError:
        detail = "is not an encoded HealthCheckRequest"
        raise ValidationFailed([FieldViolation("message", "invalid", detail)]) from None
    service: str = request.service
    return service
