"""Runs the handlers of a connection's calls: at once if possible, otherwise in a task each."""

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Final

import structlog

from hub.transports.grpc.native.accounts import Share
from hub.transports.grpc.native.call import Call, CallContext
from hub.transports.grpc.native.call_head import CallHead, HttpRefused, call_head, timeout_s
from hub.transports.grpc.native.call_status import Bound, CallFailed, StatusCode, trailer_fields
from hub.transports.grpc.native.events import DataReceived, RequestReceived, StreamEnded
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.message_framing import only_message
from hub.transports.grpc.native.method import Method, Replies, StreamMethod, UnaryMethod
from hub.transports.grpc.native.stream import Stream
from hub.transports.grpc.native.stream_call import StreamCall

log = structlog.get_logger()

# A smaller reply is checked against the bounds only if others are queued.
_SMALL_REPLY_BYTES: Final = 65_536

Work = Coroutine[None, None, None]

_TRAILERS_ONLY: Final = ((b":status", b"200"), (b"content-type", b"application/grpc"))


class CallRunner:
    """The calls of one connection."""

    __slots__ = (
        "_accounted",
        "_awaiting_message",
        "_context",
        "_has_ample_room",
        "_late",
        "_limits",
        "_looked_at",
        "_loop",
        "_methods",
        "_refused",
        "_share",
        "_tasks",
        "now",
        "only_checks",
    )

    def __init__(
        self,
        context: CallContext,
        methods: Mapping[str, Method],
        limits: Limits,
        share: Share,
    ) -> None:
        self._context = context
        self._methods = methods
        self._limits = limits
        self._share = share
        self._loop = asyncio.get_running_loop()
        # Unary calls whose message is incomplete, oldest first.
        self._awaiting_message: dict[Call, UnaryMethod] = {}
        # Those of them that `end_turn` has already checked.
        self._looked_at: set[Call] = set()
        # The messages that late handlers are waiting for.
        self._late: dict[Call, tuple[UnaryMethod, asyncio.Future[bytes]]] = {}
        # Incomplete requests that are not gRPC.
        self._refused: dict[Stream, HttpRefused] = {}
        self._tasks: dict[Call, asyncio.Task[None]] = {}
        # The received bytes that each call holds.
        self._accounted: dict[Call, int] = {}
        self._has_ample_room = False
        self.now = 0.0
        """Seconds of the loop's clock, as of the last bytes."""
        self.only_checks = False
        """Whether only methods with `always` are served."""

    def begin_turn(self, events: int) -> None:
        """Looks once whether there is ample room for the calls that these events may begin."""
        self._has_ample_room = not self.only_checks and self._share.fits_easily(
            len(self._context.connection.streams),
            len(self._tasks) + events,
            kept_free=self._limits.calls_kept_free,
        )

    # Events of the connection.

    def on_request(self, event: RequestReceived) -> None:
        """Begins a call."""
        stream = event.stream
        if stream.closed:
            return
        try:
            if event.headers.size > self._limits.header_list_bytes:
                raise CallFailed(StatusCode.RESOURCE_EXHAUSTED, "the metadata is too large")
            head = call_head(event.headers, event.request)
            method = self._methods.get(head.path)
            if method is None:
                raise CallFailed(StatusCode.UNIMPLEMENTED, f"Method not found: {head.path}")
            if isinstance(method, UnaryMethod):
                if not method.always:
                    self._require_room()
                self._begin_unary(Call(self._context, stream, head), method, event)
            else:
                self._require_room(kept_free=self._limits.calls_kept_free)
                self._begin_stream(StreamCall(self._context, stream, head), method, event)
        except HttpRefused as refused:
            # Answered when it ends: the client may still break the protocol, or leave.
            self._refused[stream] = refused
            if event.ended or len(self._refused) > self._limits.refused_requests:
                self._refuse(stream)
        except CallFailed as failed:
            if isinstance(stream.call, Call):
                self._end_failed(stream.call, failed)
            else:
                trailers = trailer_fields(failed.code, failed.message, failed.metadata)
                self._context.connection.outbox.end(stream, (*_TRAILERS_ONLY, *trailers))

    def on_whole_request(self, event: RequestReceived, body: DataReceived) -> None:
        """Begins a call whose request has arrived at once, as nearly every unary call does."""
        stream = event.stream
        head = event.headers.meaning
        message = only_message(body.data, self._limits.message_bytes)
        # A head that was read before has no fault.
        if type(head) is not CallHead or message is None or stream.closed:
            self.on_request(event)
            self.on_data(body)
            return
        method = self._methods.get(head.path)
        if type(method) is not UnaryMethod:
            self.on_request(event)
            self.on_data(body)
            return
        call = stream.call = Call(self._context, stream, head)
        call.half_closed = True
        stream.payer = head.payer
        self._context.connection.release(stream, len(body.data))
        try:
            if not method.always:
                self._require_room()
            self._set_deadline(call, event)
            self._answer(call, method, message)
        except CallFailed as failed:
            self._end_failed(call, failed)

    def on_data(self, event: DataReceived) -> None:
        """Handles more of a call's body, or its end."""
        stream = event.stream
        call = stream.call
        if not isinstance(call, Call) or call.over:
            self._context.connection.release(stream, min(len(event.data), stream.held))
            if event.ended and stream in self._refused:
                self._refuse(stream)
            return
        try:
            method = self._awaiting_message.get(call)
            if method is not None and event.ended:
                message = call.only_message(event.data)
                if message is None:
                    call.receive(event.data, ended=True)
                    message = method.message_of(call)
                self._on_unary_message(call, method, message)
                return
            call.receive(event.data, ended=event.ended)
            if event.ended and call.cut_short:
                raise CallFailed(StatusCode.INTERNAL, "the request ends within a message")
            if event.ended and call in self._late:
                method, awaited = self._late.pop(call)
                awaited.set_result(method.message_of(call))
        except CallFailed as failed:
            self._end_failed(call, failed)
            return
        if isinstance(call, StreamCall):
            call.on_arrival()
        if call.buffered:
            self._account(call)

    def on_stream_ended(self, event: StreamEnded) -> None:
        """Ends a call whose stream was reset."""
        call = event.stream.call
        self._refused.pop(event.stream, None)
        if isinstance(call, Call):
            call.abandon()
            self._forget(call)

    def on_drained(self, stream: Stream) -> None:
        """Lets a call send again after the client has read."""
        if isinstance(stream.call, StreamCall):
            stream.call.on_drained()

    def end_turn(self) -> None:
        """Starts or bounds calls whose message is incomplete, once all input is handled."""
        for call, method in list(self._awaiting_message.items()):
            if call in self._looked_at:
                continue
            try:
                if method.always:
                    self._require_room()
            except CallFailed as failed:
                self._end_failed(call, failed)
                continue
            if method.late_handler is None:
                self._looked_at.add(call)
            else:
                del self._awaiting_message[call]
                message = self._loop.create_future()
                self._late[call] = method, message
                self._start(call, self._answer_later(call, method.late_handler(call, message)))

    def expire(self, now: float) -> None:
        """Ends unary calls whose message takes too long, and checks the bounds on held bytes."""
        for held in list(self._accounted):
            self._account(held)
        within_s = self._limits.half_open_s
        while self._refused:
            stream = next(iter(self._refused))
            if stream.started_at + within_s > now:
                break
            self._refuse(stream)
        while self._awaiting_message:
            call, method = next(iter(self._awaiting_message.items()))
            if call.stream.started_at + within_s > now:
                return
            self._end_failed(call, method.missing(f"did not come within {within_s:g} s"))

    def close(self) -> None:
        """Ends every call of a closed connection."""
        for call in (*self._awaiting_message, *self._tasks):
            call.abandon()
            self._forget(call)

    # Running calls.

    def _on_unary_message(self, call: Call, method: UnaryMethod, message: bytes) -> None:
        """Runs the handler when the request is complete."""
        del self._awaiting_message[call]
        if self._accounted:
            self._set_account(call, 0)
        if self._looked_at:
            self._looked_at.discard(call)
        self._answer(call, method, message)

    def _answer(self, call: Call, method: UnaryMethod, message: bytes) -> None:
        try:
            answer = method.handler(call, message)
        except CallFailed:
            raise
        except Exception:
            log.exception("a gRPC handler failed", path=call.head.path)
            raise CallFailed(StatusCode.UNKNOWN, "the server failed") from None
        if isinstance(answer, bytes):
            self._reply(call, answer)
        else:
            self._start(call, self._answer_later(call, answer))

    async def _answer_later(self, call: Call, answer: Awaitable[bytes]) -> None:
        self._reply(call, await answer)

    def _begin_unary(self, call: Call, method: UnaryMethod, event: RequestReceived) -> None:
        call.stream.call = call
        call.stream.payer = call.head.payer
        self._set_deadline(call, event)
        self._awaiting_message[call] = method
        if event.ended:
            self._on_unary_message(call, method, method.message_of(call))

    def _begin_stream(self, call: StreamCall, method: StreamMethod, event: RequestReceived) -> None:
        call.stream.call = call
        call.half_closed = event.ended
        self._set_deadline(call, event)
        self._start(call, self._answer_stream(call, method.handler(call)))

    def _set_deadline(self, call: Call, event: RequestReceived) -> None:
        within_s = timeout_s(event.timeout) if event.timeout else call.head.timeout_s
        if within_s is not None:
            call.deadline = self.now + within_s

    async def _answer_stream(self, call: StreamCall, messages: Replies) -> None:
        try:
            async for message in messages:
                if not self._fits_unsent(call, message):
                    raise self._context.refused(Bound.UNREAD_REPLIES)
                await call.send(message)
                del message  # It may be long until the next one.
        finally:
            await messages.aclose()
        call.finish()

    def _start(self, call: Call, work: Work) -> None:
        self._tasks[call] = self._loop.create_task(self._run(call, work))
        self._share.note_calls(len(self._tasks))

    async def _run(self, call: Call, work: Work) -> None:
        limit: asyncio.Timeout | None = None
        try:
            if call.deadline is None:
                await work
            else:
                async with asyncio.timeout_at(call.deadline) as limit:
                    await work
        except CallFailed as failed:
            call.fail(failed.code, failed.message, failed.metadata)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit is not None and limit.expired():
                call.fail(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            else:
                log.exception("a gRPC handler failed", path=call.head.path)
                call.fail(StatusCode.UNKNOWN, "the server failed")
        finally:
            self._end_task(call)
            self._set_account(call, 0)
            self._context.flush()

    def _reply(self, call: Call, message: bytes) -> None:
        if call.over:
            return
        if not self._fits_unsent(call, message):
            raise self._context.refused(Bound.UNREAD_REPLIES)
        call.reply(message)

    def _end_failed(self, call: Call, failed: CallFailed) -> None:
        call.fail(failed.code, failed.message, failed.metadata)
        self._forget(call)

    def _forget(self, call: Call) -> None:
        """Stops all work for a call that is over."""
        self._awaiting_message.pop(call, None)
        self._looked_at.discard(call)
        self._set_account(call, 0)
        task = self._end_task(call)
        if task is not None:
            # A task that is cancelled before it starts would leave its coroutine unawaited.
            self._loop.call_soon(task.cancel)

    def _end_task(self, call: Call) -> asyncio.Task[None] | None:
        self._late.pop(call, None)
        task = self._tasks.pop(call, None)
        if task is not None:
            self._share.note_calls(len(self._tasks))
        return task

    def _refuse(self, stream: Stream) -> None:
        """Answers a request that is not gRPC with a plain HTTP response."""
        refused = self._refused.pop(stream)
        outbox = self._context.connection.outbox
        head = (
            (b":status", b"%d" % refused.status),
            (b"content-type", b"text/plain; charset=utf-8"),
        )
        outbox.headers(stream, head)
        outbox.message(stream, refused.text.encode() + b"\n")
        outbox.end(stream, ())

    # Bounds.

    def _require_room(self, *, kept_free: int = 0) -> None:
        """Raises CallFailed if a bound leaves no room for another call."""
        connection, share = self._context.connection, self._share
        if self._has_ample_room and not connection.outbox.pending_bytes:
            return
        if self.only_checks:
            raise self._context.refused(Bound.CONNECTIONS)
        if not share.fits_streams(len(connection.streams)) or not share.fits_calls(
            len(self._tasks) + 1, kept_free=kept_free
        ):
            raise self._context.refused(Bound.CALLS)
        if connection.outbox.pending_bytes > self._limits.unsent_bytes:
            raise self._context.refused(Bound.UNREAD_REPLIES)

    def _fits_unsent(self, call: Call, message: bytes) -> bool:
        outbox, count = self._context.connection.outbox, len(message)
        pending = outbox.pending_bytes
        if not pending and count < _SMALL_REPLY_BYTES:
            return True
        if pending and pending + count > self._limits.unsent_bytes:
            return False
        return (call.stream.payer or outbox.payer).has_room(message)

    def _account(self, call: Call) -> None:
        """Updates the bytes that a call holds; ends the call if there are too many."""
        held = call.buffered
        total = self._share.received + held - self._accounted.get(call, 0)
        if total > self._share.received and (
            total > self._limits.received_bytes or not self._share.fits_received(total)
        ):
            self._end_failed(call, self._context.refused(Bound.RECEIVED_BYTES))
        else:
            self._set_account(call, held)

    def _set_account(self, call: Call, held: int) -> None:
        before = self._accounted.pop(call, 0)
        if held:
            self._accounted[call] = held
        if held != before:
            self._share.note_received(self._share.received + held - before)
