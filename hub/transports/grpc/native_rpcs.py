"""The RPCs of the contract as methods of the native gRPC server."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from types import CoroutineType
from typing import Any, Final

from google.protobuf.message import DecodeError

from hub.contract.errors import FieldViolation, ValidationFailed
from hub.contract.rpcs import RPCS, Rpc, rpc
from hub.service.access.access_control import BearerToken, ClientCertificate, call_credentials
from hub.service.dispatcher import Received
from hub.service.metrics.calls import RpcCall
from hub.service.presence import GOING_AWAY
from hub.transports.context import TransportContext
from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.method import Method, StreamMethod, UnaryMethod
from hub.transports.grpc.native.stream_call import StreamCall
from hub.transports.grpc.native_messages import (
    call_failed,
    encoded,
    in_time,
    missing,
    next_message,
    no_room,
)
from hub.transports.grpc.sidecar_stream import converse
from hub.transports.grpc.slots import StreamSlots
from hub.transports.peer import peer_address
from hub.transports.session.sidecar_session import SessionContext, SidecarSession

_CONNECT: Final = rpc("Connect")
# Services repeat the same few requests to these, whose handlers do not change them.
_REPEATED: Final = frozenset((rpc("GetEndpoint"), rpc("SelectEndpoint")))
_REMEMBERED: Final = 1_024
_REMEMBERED_BYTES: Final = 256


class RpcMethods:
    """Answers the contract's RPCs through the dispatcher."""

    def __init__(
        self, context: TransportContext, sessions: SessionContext, unidentified: StreamSlots
    ) -> None:
        """`unidentified` bounds the streams of sidecars that have not identified yet."""
        self._context = context
        self._sessions = sessions
        self._unidentified = unidentified
        self._streams: set[SidecarSession] = set()
        self._stopping = False

    def methods(self) -> dict[str, Method]:
        """The methods by path."""
        return {one.path: self._method(one) for one in RPCS}

    def close_sidecars(self) -> None:
        """Closes the sidecars' streams because the hub is stopping, and refuses new ones."""
        self._stopping = True
        for session in list(self._streams):
            session.close(GOING_AWAY)

    def address(self, call: Call) -> str:
        """The caller's address: the peer's, or the one that a trusted proxy forwards."""
        trusted = self._context.trusted_proxies
        if not trusted:
            return call.peer
        return peer_address(call.peer, trusted, call.head.text_metadata.get("x-forwarded-for", ""))

    def _method(self, called: Rpc) -> Method:
        if called is _CONNECT:
            return StreamMethod(self._connect)
        if called.server_streaming:
            return StreamMethod(self._streaming(called))
        unary = _Unary(self, self._context, called)
        return UnaryMethod(unary.answer, unary.answer_late, missing=missing)

    def _streaming(self, called: Rpc) -> Callable[[StreamCall], AsyncGenerator[bytes, None]]:
        async def handle(call: StreamCall) -> AsyncGenerator[bytes, None]:
            with self._context.calls.rpc(called, call.head.text_metadata) as record:
                try:
                    credentials = self.credentials(call)
                    account = call.charge_to(credentials.key)
                    if not account.open_stream():
                        self._context.calls.refusals.note("grpc", "streams_per_token", call.peer)
                        raise no_room(f"{account.streams} streams with this token are open")
                    try:
                        answer = self._context.dispatcher.dispatch(
                            called,
                            credentials,
                            lambda: _received_late(called, next_message(call)),
                            self._context.clock.now_ms(),
                        )
                        call.set_known()
                        async with aclosing(await answer) as replies:
                            # The coroutine is of no more use, and the stream may last for days.
                            del answer
                            async for reply in replies:
                                yield encoded(reply)
                    finally:
                        account.close_stream()
                except Exception as error:
                    raise call_failed(record.fail(error)) from None

        return handle

    async def _connect(self, call: StreamCall) -> AsyncGenerator[bytes, None]:
        with self._context.calls.rpc(_CONNECT, call.head.text_metadata) as record:
            try:
                if self._stopping:
                    raise GOING_AWAY.as_error()
                self._context.overload.require_connection("grpc")
                async for frame in converse(
                    self._sessions,
                    call,
                    self.address(call),
                    self._context.clock,
                    self._streams,
                    self._unidentified,
                    self._context.certificate(call.certificate),
                    call.set_known,
                ):
                    yield frame.SerializeToString()
            except Exception as error:
                raise call_failed(record.fail(error)) from None

    def credentials(self, call: Call) -> BearerToken | ClientCertificate:
        """The credentials of a call, read once for all calls with the same head.

        Raises InvalidToken.
        """
        certificate = self._context.certificate(call.certificate)
        known = call.head.note
        if type(known) is BearerToken or type(known) is ClientCertificate:
            return known
        authorization = call.head.text_metadata.get("authorization", "")
        credentials = call_credentials(authorization, certificate, self.address(call))
        call.head.note = credentials
        call.charge_to(credentials.key)
        return credentials


class _Unary:
    """Answers one unary RPC: at once if its handler does not wait."""

    __slots__ = ("_called", "_calls", "_dispatch", "_now_ms", "_remembered", "_repeated", "_rpcs")

    def __init__(self, rpcs: RpcMethods, context: TransportContext, called: Rpc) -> None:
        self._rpcs = rpcs
        self._called = called
        self._calls = context.calls
        self._dispatch = context.dispatcher.dispatch
        self._now_ms = context.clock.now_ms
        self._repeated = called in _REPEATED
        self._remembered: dict[bytes, Received] = {}

    def answer(self, call: Call, message: bytes) -> bytes | Awaitable[bytes]:
        """Answers a call whose message has arrived. Raises CallFailed."""
        record = self._calls.rpc(self._called, call.head.text_metadata)
        return self._run(call, record, lambda: self._received(message))

    def _received(self, message: bytes) -> Received:
        remembered = self._remembered.get(message)
        if remembered is not None:
            return remembered
        received = _received(self._called, message)
        if self._repeated and len(message) <= _REMEMBERED_BYTES:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[message] = received
        return received

    def answer_late(self, call: Call, message: Awaitable[bytes]) -> Coroutine[None, None, bytes]:
        """Authenticates the caller, then waits for the message."""
        return self._wait(call, message)

    async def _wait(self, call: Call, message: Awaitable[bytes]) -> bytes:
        record = self._calls.rpc(self._called, call.head.text_metadata)
        answer = self._run(call, record, lambda: _received_late(self._called, message))
        return answer if isinstance(answer, bytes) else await answer

    # Any: whatever the dispatcher's `read` may be.
    def _run(self, call: Call, record: RpcCall, read: Any) -> bytes | Awaitable[bytes]:
        # Not `with`: the record of a call that waits ends with its coroutine.
        record.__enter__()
        try:
            answer = self._dispatch(
                self._called, self._rpcs.credentials(call), read, self._now_ms(), encode=encoded
            )
        except Exception as error:
            failed = call_failed(record.fail(error))
            record.end()
            raise failed from None
        call.set_known()
        if type(answer) is CoroutineType:
            return _recorded(record, answer)
        record.end()
        reply: bytes = answer
        return reply


async def _recorded(record: RpcCall, answer: Coroutine[Any, Any, bytes]) -> bytes:
    try:
        reply = await answer
    except Exception as error:
        failed = call_failed(record.fail(error))
        record.end()
        raise failed from None
    except BaseException as error:
        record.__exit__(type(error), error, None)
        raise
    record.end()
    return reply


async def _received_late(called: Rpc, message: Awaitable[bytes]) -> Received:
    return _received(called, await in_time(message))


def _received(called: Rpc, message: bytes) -> Received:
    """The request of a call. Raises ValidationFailed."""
    try:
        return Received(called.request.FromString(message))
    except DecodeError:
        name = called.request.DESCRIPTOR.full_name
        violation = FieldViolation("message", "invalid", f"is not an encoded {name}")
        raise ValidationFailed([violation]) from None
