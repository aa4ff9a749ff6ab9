"""What the gRPC transport reads from a call, and how it ends a call that fails.

A domain error becomes a google.rpc.Status, the rich error model of gRPC. Each carries
ErrorInfo (reason, domain "llmhub", metadata), a validation error also BadRequest with one
violation per field, and a temporary error RetryInfo (https://google.aip.dev/193).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from hub.base.settings import Network
from hub.contract.errors import ERROR_DOMAIN, FieldViolation, HubError, ValidationFailed
from hub.service.access.peer_certificate import PeerCertificate
from hub.transports.context import TransportContext
from hub.transports.peer import peer_address


def to_status(error: HubError) -> status_pb2.Status:
    """The google.rpc.Status of a domain error."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason_name, domain=ERROR_DOMAIN, metadata=error.metadata
    )
    details: list[Message] = [info]
    if isinstance(error, ValidationFailed):
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field,
                        description=violation.detail,
                        reason=violation.error.upper(),
                    )
                    for violation in error.violations
                ]
            )
        )
    if error.retry_after_ms is not None:
        delay = Duration()
        delay.FromMilliseconds(error.retry_after_ms)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.code, message=error.message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


if TYPE_CHECKING:
    # grpc's classes take parameters only in the type stubs.
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

MESSAGE_S: Final = 10.0
"""Seconds that a message may take to arrive, the same as for a body over HTTP."""


async def only_message(context: Context, within_s: float | None = None) -> bytes:
    """The only request message of a call. Raises ValidationFailed if it is late.

    Such calls are served as streams of requests, which look the same on the wire. For a
    unary handler grpc itself reads the message, without a deadline and before the hub can
    check the token. The message must arrive within 10 s, or within `within_s` seconds.
    """
    within_s = MESSAGE_S if within_s is None else within_s
    try:
        async with asyncio.timeout(within_s):
            message = await context.read()
    except TimeoutError:
        raise missing(f"did not come within {within_s:g} s") from None
    if not isinstance(message, bytes):
        raise missing("is missing")
    return message


def metadata(context: Context) -> dict[str, str]:
    """The call's metadata, without binary values."""
    return {
        key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
    }


def caller_address(context: Context, headers: Mapping[str, str], trusted: Sequence[Network]) -> str:
    """The caller's address: the peer's, or the one that a trusted proxy forwards."""
    return peer_address(peer(context), trusted, headers.get("x-forwarded-for", ""))


def peer(context: Context) -> str:
    """The caller's IP address, from grpc's "ipv4:1.2.3.4:5" or "ipv6:%5B::1%5D:5"."""
    kind, _, address = context.peer().partition(":")
    if kind not in ("ipv4", "ipv6"):
        return address
    host = address.rpartition(":")[0]
    return host.removeprefix("%5B").removesuffix("%5D").strip("[]")


def certificate(context: Context, hub: TransportContext) -> PeerCertificate | None:
    """The client's certificate. Raises InvalidToken if it is revoked."""
    if hub.tls is None:
        return None
    pem = context.auth_context().get("x509_pem_cert", ())
    return hub.certificate(next(iter(pem), None))


async def abort(context: Context, error: HubError) -> None:
    """Ends a call with an error. Always raises."""
    await context.abort_with_status(rpc_status.to_status(to_status(error)))


def missing(detail: str) -> ValidationFailed:
    """The error of a call whose message does not arrive."""
    return ValidationFailed([FieldViolation("message", "required", detail)])
