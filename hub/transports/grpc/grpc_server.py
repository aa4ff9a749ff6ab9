"""The gRPC transport: every RPC of the contract, served from its descriptor.

No servicer class is written by hand: each method's handler is made from its entry in
`hub.contract.rpcs`, and passes calls to `hub.service.dispatcher`.
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError, Message

from hub.base.address import join_host_port
from hub.base.settings import GrpcSettings
from hub.contract.errors import FieldViolation, HubError, ValidationFailed
from hub.contract.rpcs import RPCS, SERVICES, Rpc, rpc
from hub.service.access.access_control import call_credentials
from hub.service.access.certificates import PeerCertificate
from hub.service.dispatcher import Received, Reply
from hub.service.presence import GOING_AWAY
from hub.transports.context import TransportContext
from hub.transports.grpc import health_service, reflection_service, slots
from hub.transports.grpc.call_context import Context, abort, caller_address, metadata, only_message
from hub.transports.grpc.reflection_service import ServerStream
from hub.transports.grpc.sidecar_stream import converse
from hub.transports.grpc.slots import CheckSlots, StreamSlots
from hub.transports.session.sidecar_session import SessionContext, SidecarSession

if TYPE_CHECKING:
    # grpc's classes take parameters only in the type stubs.
    MethodHandler = grpc.RpcMethodHandler[Any, Any]
else:
    MethodHandler = grpc.RpcMethodHandler

_CONNECT = rpc("Connect")
# HTTP/2 pings detect a dead peer: without them a watcher behind a lost NAT entry would
# stay forever.
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_send_message_length", -1),
    # A client without calls reconnects by itself; one that never speaks must not stay.
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Against clients that open and reset streams faster than the server can look.
    ("grpc.max_concurrent_streams", 1_000),
)


_SERVICE_NAMES = tuple(service.full_name for service in SERVICES)
_MAX_CHECKS_WAITING = 1024
_MAX_CHECKS_WAITING_PER_PEER = 256
_MAX_CHECK_REPLIES = 1024
_MAX_CHECK_REPLIES_PER_CONNECTION = 16


class GrpcServer:
    """Serves the three services, health and reflection."""

    def __init__(
        self,
        settings: GrpcSettings,
        context: TransportContext,
        sessions: SessionContext,
    ) -> None:
        """`sessions` is the shared context of SidecarService.Connect's sessions."""
        self._settings = settings
        self._context = context
        self._sessions = sessions
        self._clock = context.clock
        self._open = slots.open_to_all(context.calls.refusals)
        self._checks = CheckSlots(
            waiting=_MAX_CHECKS_WAITING,
            waiting_per_peer=_MAX_CHECKS_WAITING_PER_PEER,
            replies=_MAX_CHECK_REPLIES,
            replies_per_connection=_MAX_CHECK_REPLIES_PER_CONNECTION,
        )
        self._unidentified = slots.unidentified(context.calls.refusals)
        self._health = health_service.Health(_SERVICE_NAMES, context.readiness.why_not_ready)
        self._streams: set[SidecarSession] = set()
        self._stopping = False
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError."""
        server = grpc.aio.server(
            options=(
                *_OPTIONS,
                ("grpc.max_receive_message_length", self._settings.max_message_bytes),
                ("grpc.max_allowed_incoming_connections", self._settings.max_connections),
            ),
            maximum_concurrent_rpcs=self._settings.max_concurrent_rpcs,
        )
        by_path = {one.path: self._method_handler(one) for one in RPCS}
        described = [*_SERVICE_NAMES, health_service.SERVICE_NAME]
        opened = self._bounded(self._open)
        server.add_generic_rpc_handlers(
            (
                _ByPath(by_path),
                health_service.handlers(
                    self._health,
                    checks=self._checks,
                    address=lambda context: self._address(metadata(context), context),
                    watch_guard=opened,
                ),
                *reflection_service.handlers(described, self._bounded(self._open, sheds=True)),
            )
        )
        _require_bindable(host, port)
        try:
            address = join_host_port(host, port)
            if self._context.tls is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, self._context.tls.grpc_credentials())
        except RuntimeError as error:
            raise OSError("gRPC cannot bind it") from error
        await server.start()
        self._server = server
        return int(bound)

    async def stop(self) -> None:
        """Stops accepting, closes sidecars' streams, and gives other calls a few seconds."""
        self._stopping = True
        for session in list(self._streams):
            session.close(GOING_AWAY)
        if self._server is not None:
            self._health.stop()
            await self._server.stop(self._context.grace_s)

    def _method_handler(self, called: Rpc) -> MethodHandler:
        # Requests stay bytes: for bytes that are not a message grpc would log a traceback
        # and answer UNKNOWN, for any caller.
        if called is _CONNECT:
            return grpc.stream_stream_rpc_method_handler(self._connect, None, _serialize)
        if called.server_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(called), None, _serialize)
        return grpc.stream_unary_rpc_method_handler(self._unary(called), None, _serialize)

    def _unary(self, called: Rpc) -> Callable[[object, Context], Awaitable[Reply]]:
        calls, dispatch = self._context.calls, self._dispatch

        async def handle(_requests: object, context: Context) -> Reply:
            headers = metadata(context)
            with calls.rpc(called, headers) as call:
                try:
                    reply: Reply = await dispatch(called, headers, context)
                except Exception as error:
                    await abort(context, call.fail(error))
                else:
                    return reply
            raise AssertionError("abort always raises")

        return handle

    def _streaming(self, called: Rpc) -> Callable[[object, Context], AsyncIterator[Reply]]:
        calls, dispatch = self._context.calls, self._dispatch

        async def handle(_requests: object, context: Context) -> AsyncIterator[Reply]:
            headers = metadata(context)
            with calls.rpc(called, headers) as call:
                try:
                    async with aclosing(await dispatch(called, headers, context)) as replies:
                        async for reply in replies:
                            yield reply
                except Exception as error:
                    await abort(context, call.fail(error))

        return handle

    # Any: the reply of a unary RPC, or a stream of them.
    def _dispatch(
        self, called: Rpc, headers: Mapping[str, str], context: Context
    ) -> Coroutine[Any, Any, Any]:
        """Answers a call. The dispatcher reads the message only after authentication."""
        credentials = call_credentials(
            headers.get("authorization", ""),
            self._certificate(context),
            self._address(headers, context),
        )
        answer: Coroutine[Any, Any, Any] = self._context.dispatcher.dispatch(
            called, credentials, lambda: _read(called, context), self._clock.now_ms()
        )
        return answer

    async def _connect(
        self, frames: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[Message]:
        headers = metadata(context)
        with self._context.calls.rpc(_CONNECT, headers) as call:
            try:
                if self._stopping:
                    raise GOING_AWAY.as_error()
                self._context.overload.require_connection("grpc")
                async for frame in converse(
                    self._sessions,
                    frames,
                    self._address(headers, context),
                    self._clock,
                    self._streams,
                    self._unidentified,
                    self._certificate(context),
                ):
                    yield frame
            except Exception as error:
                await abort(context, call.fail(error))

    def _bounded(
        self, slots: StreamSlots, *, sheds: bool = False
    ) -> Callable[[ServerStream], ServerStream]:
        """Wraps a stream that needs no token so that it takes one of the slots.

        With `sheds`, an overloaded hub refuses it, as it refuses other anonymous requests.
        """

        def bound(stream: ServerStream) -> ServerStream:
            async def handle(requests: Any, context: Any) -> AsyncIterator[Any]:
                try:
                    address = self._address(metadata(context), context)
                    if sheds:
                        self._context.overload.require_connection("grpc", address)
                    with slots.held(address):
                        async for reply in stream(requests, context):
                            yield reply
                except HubError as error:
                    await abort(context, error)

            return handle

        return bound

    def _certificate(self, context: Context) -> PeerCertificate | None:
        """The client's certificate. Raises InvalidToken if it is revoked."""
        if self._context.tls is None:
            return None
        pem = context.auth_context().get("x509_pem_cert", ())
        return self._context.certificate(next(iter(pem), None))

    def _address(self, headers: Mapping[str, str], context: Context) -> str:
        return caller_address(context, headers, self._context.trusted_proxies)


def _require_bindable(host: str, port: int) -> None:
    """Raises OSError with the reason if the address cannot be bound.

    grpc itself gives no reason: it writes to stderr and raises an error without a cause.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


class _ByPath(grpc.GenericRpcHandler):
    """Finds the handler of a path; grpc answers UNIMPLEMENTED if there is none."""

    def __init__(self, by_path: dict[str, MethodHandler]) -> None:
        self._by_path = by_path

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> MethodHandler | None:
        return self._by_path.get(handler_call_details.method)


async def _read(called: Rpc, context: Context) -> Received:
    """The request of a call. Raises ValidationFailed."""
    try:
        return Received(called.request.FromString(await only_message(context)))
    except DecodeError:
        name = called.request.DESCRIPTOR.full_name
        violation = FieldViolation("message", "invalid", f"is not an encoded {name}")
        raise ValidationFailed([violation]) from None


def _serialize(reply: Reply) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()
