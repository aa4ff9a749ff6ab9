"""What the gRPC door reads off a call, and how it ends one that fails."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_status import rpc_status

from hub.contract.errors import FieldViolation, HubError, ValidationFailed
from hub.transports.grpc.error_status import to_status

if TYPE_CHECKING:
    # grpc's classes take parameters in the type stubs alone.
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

# As long as a body may take over HTTP.
_MESSAGE_S: Final = 10.0


async def only_message(context: Context, within_s: float | None = None) -> bytes:
    """The request of a call that has one. Raises ValidationFailed where it does not come in time.

    Such calls are served as streams of requests, which look the same on the wire:
    for a unary handler grpc itself reads the message, with no deadline, and
    before anybody can look at the token. It has 10 s unless told otherwise.
    """
    within_s = _MESSAGE_S if within_s is None else within_s
    try:
        async with asyncio.timeout(within_s):
            message = await context.read()
    except TimeoutError:
        raise _missing(f"did not come within {within_s:g} s") from None
    if not isinstance(message, bytes):
        raise _missing("is missing")
    return message


def metadata(context: Context) -> dict[str, str]:
    """The call's metadata, but for binary values."""
    return {
        key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
    }


def peer(context: Context) -> str:
    """The caller's IP address, from grpc's "ipv4:1.2.3.4:5" or "ipv6:%5B::1%5D:5"."""
    kind, _, address = context.peer().partition(":")
    if kind not in ("ipv4", "ipv6"):
        return address
    host = address.rpartition(":")[0]
    return host.removeprefix("%5B").removesuffix("%5D").strip("[]")


async def abort(context: Context, error: HubError) -> None:
    """Ends a call with an error. Always raises."""
    await context.abort_with_status(rpc_status.to_status(to_status(error)))


def _missing(detail: str) -> ValidationFailed:
    return ValidationFailed([FieldViolation("message", "required", detail)])
