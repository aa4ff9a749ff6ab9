"""Health and reflection as methods of the native gRPC server. They need no token."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection_pb2

from hub.contract.errors import FieldViolation, HubError, ValidationFailed
from hub.service.overload.shedding import Overload
from hub.transports.grpc import health_service
from hub.transports.grpc.health_service import SERVICE_NAME, Health
from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.call_status import CallFailed, StatusCode
from hub.transports.grpc.native.method import Method, StreamHandler, StreamMethod, UnaryMethod
from hub.transports.grpc.native.stream_call import StreamCall
from hub.transports.grpc.native_messages import call_failed, in_time, missing, only_message
from hub.transports.grpc.reflection_service import V1_NAME, V1ALPHA_NAME, servicer
from hub.transports.grpc.slots import StreamSlots

_UNKNOWN: Final = HealthCheckResponse.SERVICE_UNKNOWN


def health_methods(
    health: Health, slots: StreamSlots, address: Callable[[Call], str]
) -> dict[str, Method]:
    """grpc.health.v1.Health. `slots` bounds watchers, and checks that wait for a message."""

    def check(_call: Call, message: bytes) -> bytes:
        try:
            status = health.status(_service(message))
        except HubError as error:
            raise call_failed(error) from None
        if status == _UNKNOWN:
            raise CallFailed(StatusCode.NOT_FOUND, "there is no such service")
        reply: bytes = HealthCheckResponse(status=status).SerializeToString()
        return reply

    async def check_late(call: Call, message: Awaitable[bytes]) -> bytes:
        try:
            with slots.held(address(call)):
                came = await in_time(message, health_service.CHECK_MESSAGE_S)
        except HubError as error:
            raise call_failed(error) from None
        return check(call, came)

    async def watch(call: StreamCall) -> AsyncGenerator[bytes, None]:
        async with aclosing(health.watch(_service(await only_message(call)))) as statuses:
            async for status in statuses:
                yield status.SerializeToString()

    return {
        # A failed check may restart the hub, so a check is answered even without room.
        f"/{SERVICE_NAME}/Check": UnaryMethod(check, check_late, always=True, missing=missing),
        f"/{SERVICE_NAME}/Watch": StreamMethod(_bounded(watch, slots, address)),
    }


def reflection_methods(
    services: Sequence[str],
    slots: StreamSlots,
    address: Callable[[Call], str],
    overload: Overload,
) -> dict[str, Method]:
    """Server reflection under both of its names.

    `slots` bounds how many are open. An overloaded hub refuses it, as it refuses other
    anonymous requests.
    """
    answers = servicer(services)

    async def requests(call: StreamCall) -> AsyncIterator[Any]:
        async for message in call:
            try:
                yield reflection_pb2.ServerReflectionRequest.FromString(message)
            except DecodeError:
                raise _not_encoded("ServerReflectionRequest") from None

    async def describe(call: StreamCall) -> AsyncGenerator[bytes, None]:
        overload.require_connection("grpc", address(call))
        async for response in answers.ServerReflectionInfo(requests(call), None):
            yield response.SerializeToString()

    method = StreamMethod(_bounded(describe, slots, address))
    return {f"/{name}/ServerReflectionInfo": method for name in (V1_NAME, V1ALPHA_NAME)}


def _bounded(
    stream: StreamHandler, slots: StreamSlots, address: Callable[[Call], str]
) -> StreamHandler:
    """Wraps a stream that needs no token so that it takes one of the slots."""

    async def handle(call: StreamCall) -> AsyncGenerator[bytes, None]:
        try:
            with slots.held(address(call)):
                async with aclosing(stream(call)) as replies:
                    async for reply in replies:
                        yield reply
        except HubError as error:
            raise call_failed(error) from None

    return handle


def _service(message: bytes) -> str:
    try:
        service: str = HealthCheckRequest.FromString(message).service
    except DecodeError:
        raise _not_encoded("HealthCheckRequest") from None
    return service


def _not_encoded(name: str) -> ValidationFailed:
    return ValidationFailed([FieldViolation("message", "invalid", f"is not an encoded {name}")])
