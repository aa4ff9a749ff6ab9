"""The gRPC door: every RPC of the contract, served from its descriptor.

There is no servicer class to write by hand: a method's path leads to its entry
in `hub.contract.rpcs`, and from there the one way in, `hub.service.dispatcher`.
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError, Message

from hub.base.address import join_host_port
from hub.base.clock import Clock
from hub.base.settings import GrpcSettings, Network
from hub.contract.errors import FieldViolation, HubError, InvalidToken, ValidationFailed
from hub.contract.rpcs import RPCS, SERVICES, Rpc, rpc
from hub.service.dispatcher import Caller, Reply, Service
from hub.service.metrics.calls import Calls
from hub.service.presence import GOING_AWAY
from hub.transports.certificate import ServerTls
from hub.transports.grpc import health_service, reflection_service
from hub.transports.grpc.call_context import Context, abort, metadata, only_message, peer
from hub.transports.grpc.check_slots import CheckSlots
from hub.transports.grpc.live_streams import LiveStreams
from hub.transports.grpc.reflection_service import ServerStream
from hub.transports.grpc.sidecar_stream import converse
from hub.transports.grpc.stream_slots import StreamSlots
from hub.transports.peer import peer_address
from hub.transports.session.sidecar_session import Session, SessionContext

if TYPE_CHECKING:
    # grpc's classes take parameters in the type stubs alone.
    MethodHandler = grpc.RpcMethodHandler[Any, Any]
else:
    MethodHandler = grpc.RpcMethodHandler

_CONNECT = rpc("Connect")
# Unary calls of one connection are multiplexed, so a stuck peer is found by
# HTTP/2 pings: without them a watcher behind a dead NAT entry would stay for ever.
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_send_message_length", -1),
)


_SERVICE_NAMES = tuple(service.full_name for service in SERVICES)
_MAX_OPEN_STREAMS = 256
_MAX_OPEN_STREAMS_PER_PEER = 64
_MAX_CHECKS_WAITING = 1024
_MAX_CHECKS_WAITING_PER_PEER = 256
_MAX_CHECK_REPLIES = 1024
_MAX_CHECK_REPLIES_PER_CONNECTION = 16
_MAX_UNIDENTIFIED = 1024
_MAX_UNIDENTIFIED_PER_PEER = 64


class GrpcDoor:
    """Serves the three services, health and reflection."""

    def __init__(
        self,
        settings: GrpcSettings,
        service: Service,
        sessions: SessionContext,
        calls: Calls,
        clock: Clock,
        *,
        ready: Callable[[], str | None],
        identify_timeout_s: float,
        grace_s: float,
        trusted_proxies: Sequence[Network] = (),
        tls: ServerTls | None = None,
    ) -> None:
        """`ready` returns None, or why the hub is not ready.

        When the door stops, running calls get `grace_s` seconds to end.
        """
        self._grace_s = grace_s
        self._tls = tls
        self._trusted_proxies = trusted_proxies
        self._identify_timeout_s = identify_timeout_s
        self._settings = settings
        self._service = service
        self._sessions = sessions
        self._calls = calls
        self._clock = clock
        # Nobody need say who he is for health and reflection, and a sidecar has yet to.
        self._open = StreamSlots(in_all=_MAX_OPEN_STREAMS, per_peer=_MAX_OPEN_STREAMS_PER_PEER)
        self._checks = CheckSlots(
            waiting=_MAX_CHECKS_WAITING,
            waiting_per_peer=_MAX_CHECKS_WAITING_PER_PEER,
            replies=_MAX_CHECK_REPLIES,
            replies_per_connection=_MAX_CHECK_REPLIES_PER_CONNECTION,
        )
        self._unidentified = StreamSlots(
            in_all=_MAX_UNIDENTIFIED, per_peer=_MAX_UNIDENTIFIED_PER_PEER
        )
        self._health = health_service.Health(_SERVICE_NAMES, ready)
        self._streams: set[Session] = set()
        self._live = LiveStreams(clock)
        self._stopping = False
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        server = grpc.aio.server(
            options=(
                *_OPTIONS,
                ("grpc.max_receive_message_length", self._settings.max_message_bytes),
            ),
            maximum_concurrent_rpcs=self._settings.max_concurrent_rpcs,
        )
        by_path = {one.path: self._method_handler(one) for one in RPCS}
        described = [*_SERVICE_NAMES, health_service.SERVICE_NAME]
        opened = self._bounded(self._open)
        server.add_generic_rpc_handlers(
            (
                _Dispatch(by_path),
                health_service.handlers(
                    self._health,
                    checks=self._checks,
                    address=lambda context: self._address(metadata(context), context),
                    watch_guard=opened,
                ),
                *reflection_service.handlers(described, opened),
            )
        )
        _require_bindable(host, port)
        try:
            address = join_host_port(host, port)
            if self._tls is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, self._tls.grpc_credentials())
        except RuntimeError as error:
            raise OSError("gRPC cannot bind it") from error
        await server.start()
        self._server = server
        return int(bound)

    async def stop(self) -> None:
        """Stops accepting, tells sidecars, and gives running calls a few seconds to end."""
        self._stopping = True
        for session in list(self._streams):
            session.close(GOING_AWAY)
        if self._server is not None:
            self._health.stop()
            await self._server.stop(self._grace_s)

    def close_token(self, token_id: str) -> None:
        """Ends the server streams that were opened with a token that is gone."""
        self._live.close_token(token_id)

    def _method_handler(self, called: Rpc) -> MethodHandler:
        # Requests come as bytes: grpc would log a traceback for those that are no
        # message, whoever sent them, and answer UNKNOWN.
        if called is _CONNECT:
            return grpc.stream_stream_rpc_method_handler(self._connect, None, _serialize)
        if called.server_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(called), None, _serialize)
        return grpc.stream_unary_rpc_method_handler(self._unary(called), None, _serialize)

    def _unary(self, called: Rpc) -> Callable[[object, Context], Awaitable[Reply]]:
        service, calls = self._service, self._calls

        async def handle(_requests: object, context: Context) -> Reply:
            told = metadata(context)
            with calls.rpc(called, told) as call:
                try:
                    request, caller, now = await self._admitted(called, told, context)
                    return await service.carry_out(called, request, caller, now)
                except Exception as error:
                    await abort(context, call.fail(error))
            raise AssertionError("abort always raises")

        return handle

    def _streaming(self, called: Rpc) -> Callable[[object, Context], AsyncIterator[Reply]]:
        service, calls = self._service, self._calls

        async def handle(_requests: object, context: Context) -> AsyncIterator[Reply]:
            told = metadata(context)
            with calls.rpc(called, told) as call:
                try:
                    request, caller, now = await self._admitted(called, told, context)
                    replies = service.execute(called, request, caller, now)
                    assert isinstance(replies, AsyncIterator)
                    async with aclosing(self._live.guard(caller.principal, replies)) as live:
                        async for reply in live:
                            yield reply
                except Exception as error:
                    await abort(context, call.fail(error))

        return handle

    async def _connect(
        self, frames: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[Message]:
        told = metadata(context)
        with self._calls.rpc(_CONNECT, told) as call:
            try:
                if self._stopping:
                    raise GOING_AWAY.as_error()
                async for frame in converse(
                    self._sessions,
                    frames,
                    self._address(told, context),
                    self._clock,
                    self._identify_timeout_s,
                    self._streams,
                    self._unidentified,
                ):
                    yield frame
            except Exception as error:
                await abort(context, call.fail(error))

    def _bounded(self, slots: StreamSlots) -> Callable[[ServerStream], ServerStream]:
        """Makes of a stream that is open to all one that takes one of the slots."""

        def bound(stream: ServerStream) -> ServerStream:
            async def handle(requests: Any, context: Any) -> AsyncIterator[Any]:
                try:
                    with slots.held(self._address(metadata(context), context)):
                        async for reply in stream(requests, context):
                            yield reply
                except HubError as error:
                    await abort(context, error)

            return handle

        return bound

    async def _admitted(
        self, called: Rpc, told: Mapping[str, str], context: Context
    ) -> tuple[Message, Caller, int]:
        """The request of a call, who calls, and when.

        The message is waited for only once its caller is known and admitted. Raises HubError.
        """
        now_ms = self._clock.now_ms()
        caller = self._caller(told, context, now_ms)
        self._service.admit_or_raise(called, caller, now_ms)
        return _request(called, await only_message(context)), caller, now_ms

    def _caller(self, told: Mapping[str, str], context: Context, now_ms: int) -> Caller:
        """Who calls, by its bearer token (RFC 6750). Raises InvalidToken."""
        scheme, _, token = told.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidToken("metadata `authorization: Bearer <token>` is missing")
        principal = self._service.tokens.authenticate(token.strip(), now_ms)
        return Caller(principal, self._address(told, context), "grpc")

    def _address(self, told: Mapping[str, str], context: Context) -> str:
        """Where the caller is: the peer, or what a trusted proxy says of it."""
        forwarded = told.get("x-forwarded-for", "")
        return peer_address(peer(context), self._trusted_proxies, forwarded)


def _require_bindable(host: str, port: int) -> None:
    """Raises OSError where the address cannot be bound, and says why.

    grpc itself would not: it writes to stderr and raises an error without a cause.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


class _Dispatch(grpc.GenericRpcHandler):
    """Finds the handler of a path; grpc answers UNIMPLEMENTED where there is none."""

    def __init__(self, by_path: dict[str, MethodHandler]) -> None:
        self._by_path = by_path

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> MethodHandler | None:
        return self._by_path.get(handler_call_details.method)


def _request(called: Rpc, encoded: bytes) -> Message:
    """The request of a call. Raises ValidationFailed."""
    try:
        return called.request.FromString(encoded)
    except DecodeError:
        name = called.request.DESCRIPTOR.full_name
        violation = FieldViolation("message", "invalid", f"is not an encoded {name}")
        raise ValidationFailed([violation]) from None


def _serialize(reply: Reply) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()
